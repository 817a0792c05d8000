"""Networks of layers: sequential or general graphs, state threaded through, any layer recorded on request."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neuroaccel.errors import GraphError, NeuroaccelError, StateError
from neuroaccel.graph import Edge, Graph, Trace
from neuroaccel.graph.clocks import Clock, spread, standing, waits
from neuroaccel.graph.graph import execution_order
from neuroaccel.graph.nodes import LATE_PORTS
from neuroaccel.network.blocks import spans
from neuroaccel.network.call import FEEDBACK, Part, finished, one
from neuroaccel.network.clocks import Keep, Window, like, mixed
from neuroaccel.network.nodes import Held, InputPort, OutputPort, module_of
from neuroaccel.program.language import INPUT
from neuroaccel.synapses import Add, Delay, Flatten, PlasticLinear, Readout, Recurrent, over_time
from neuroaccel.synapses.over_state import masked_reset

NetworkState = dict[str, Any]


class Network(nn.Module):
    """Layers and the edges between them.

    Arguments:
        layers: modules in a row (a list), or name → module. Layers of this package take ``[T, N, ...]``; any other
            torch module is applied over T·N.
        edges: (source, target) pairs or :class:`~neuroaccel.graph.Edge`; ``input`` and ``output`` are the ports.
            Without edges the layers follow one another. Several edges into a layer add up in the order of their names.
            An edge with ``recurrent=True`` delivers what its source gave one tick earlier.

    Raises:
        GraphError: an edge that leads nowhere, or a cycle without a recurrent edge or Delay.

    >>> import torch
    >>> from neuroaccel import Network
    >>> from neuroaccel.neurons import LIF
    >>> from neuroaccel.synapses import Linear
    >>> net = Network([Linear(3, 4), LIF(), Linear(4, 2), LIF()])
    >>> spikes, state = net(torch.ones(5, 1, 3))
    >>> tuple(spikes.shape)
    (5, 1, 2)
    """

    def __init__(
        self,
        layers: Sequence[nn.Module] | Mapping[str, nn.Module],
        edges: Iterable[Edge | tuple[str, str]] | None = None,
    ) -> None:
        super().__init__()
        named = dict(layers) if isinstance(layers, Mapping) else {str(i): m for i, m in enumerate(layers)}
        if not any(isinstance(m, InputPort) for m in named.values()):
            named = {"input": InputPort(), **named, "output": OutputPort()}
        if edges is None:
            names = list(named)
            edges = list(itertools.pairwise(names))
        self.edges = tuple(e if isinstance(e, Edge) else Edge(*e) for e in edges)
        self.names = tuple(named)
        self.layers = nn.ModuleDict({self._key(name): module for name, module in named.items()})
        for e in self.edges:
            for end in (e.source, e.target):
                if end not in named:
                    raise GraphError(f"edge '{e.name}': there is no layer '{end}'; layers are {', '.join(named)}")
        for name, module in named.items():
            if not self.into(name) and not isinstance(module, InputPort) and not hasattr(module, "emits_alone"):
                raise GraphError(f"layer '{name}': nothing enters it")
        self._set_clocks()
        place = {name: at for at, name in enumerate(self.order)}
        back = {e.target for e in self.edges if not e.recurrent and place[e.source] >= place[e.target]}
        # What learns at the end of a tick waits for nothing in it: it closes no cycle.
        self.opening = {name for name in back if not isinstance(self[name], PlasticLinear)}
        self._by_tick = bool(back) or any(e.recurrent for e in self.edges)
        self._shapes: dict[tuple[Any, ...], dict[str, torch.Size]] = {}
        self.spans = spans(self)

    def _set_clocks(self) -> None:
        """The order of a tick, and on which clock every layer runs; what makes a clock runs before what is on it."""

        def latches(name: str) -> bool:
            return isinstance(self[name], (Delay, Held))

        def part(name: str) -> tuple[object, ...]:
            layer = self[name]
            if isinstance(layer, Window):
                return ("window", layer.width, layer.stride)
            return ("keep",) if isinstance(layer, Keep) else ("input",) if isinstance(layer, InputPort) else ()

        order = execution_order(self.names, self.edges, latches)
        entering, clock = spread(order, self.edges, part)
        self.clock_in: dict[str, Clock] = {name: entering[name] or () for name in order}
        self.clock: dict[str, Clock] = {name: clock[name] or () for name in order}
        late = waits(order, self.clock, [name for name in order if isinstance(self[name], (Window, Keep))])
        self.order = execution_order(self.names, (*self.edges, *late), latches) if late else order
        reads = {name for name in order if isinstance(self[name], Readout)}
        passes = {
            name
            for name in order
            if isinstance(self[name], (OutputPort, Add, Flatten)) or getattr(self[name], "passes", False)
        }
        self.stands = standing(self.order, self.edges, self.clock, reads, passes)

    @staticmethod
    def _key(name: str) -> str:
        return f"layer_{name}".replace(".", "·")

    def __getitem__(self, name: str) -> nn.Module:
        return self.layers[self._key(name)]

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(n for n in self.names if isinstance(self[n], InputPort))

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(n for n in self.names if isinstance(self[n], OutputPort))

    @classmethod
    def from_graph(cls, graph: Graph) -> Network:
        """The torch executor of a graph; it computes what the graph says bit for bit and can be trained on.

        Raises:
            UnsupportedNode: a node that torch cannot run, by name.
        """
        return cls({name: module_of(graph, name) for name in graph.nodes}, graph.edges)

    def into(self, name: str, port: str | None = None) -> list[Edge]:
        """Edges that enter a layer (a port of it), in the order of their names."""
        found = [e for e in self.edges if e.target == name and (port is None or e.port == port)]
        return sorted(found, key=lambda e: e.name)

    def forward(self, x: Tensor | Mapping[str, Tensor], state: NetworkState | None = None) -> tuple[Any, NetworkState]:
        """A sequence of ticks.

        Arguments:
            x: ``[T, N, ...]``, or input name → tensor where there are several.
            state: from the sequence before; ``None`` is fresh.

        Returns:
            ``[T, N, ...]`` of the output (output name → tensor where there are several), and the state after. An
            output on a slower clock is 0 at ticks at which that does not run, a Readout's its running value.
        """
        values, state = self.run(x, state, None)
        return self._result(values), state

    def step(self, x: Tensor | Mapping[str, Tensor], state: NetworkState | None = None) -> tuple[Any, NetworkState]:
        """One tick: ``[N, ...]`` in, ``[N, ...]`` out."""
        one = {n: v.unsqueeze(0) for n, v in x.items()} if isinstance(x, Mapping) else x.unsqueeze(0)
        y, state = self.forward(one, state)
        return ({n: v[0] for n, v in y.items()} if isinstance(y, dict) else y[0]), state

    def trace(
        self, x: Tensor | Mapping[str, Tensor], state: NetworkState | None = None
    ) -> tuple[Any, NetworkState, Trace]:
        """Like :meth:`forward`, with every neuron layer's currents, states and emissions as a :class:`Trace`."""
        values, state, record = self.emissions(x, state)
        return self._result(values), state, record

    def emissions(
        self, x: Tensor | Mapping[str, Tensor], state: NetworkState | None = None
    ) -> tuple[dict[str, Tensor], NetworkState, Trace]:
        """What every layer emits, ``[T, N, ...]`` by name, the state after, and the trace of :meth:`trace`.

        Layers in a :class:`Scope` are ``scope/layer``, with as many ticks more as it makes steps.
        """
        history: dict[str, dict[str, Tensor]] = {}
        values, state = self.run(x, state, history)

        def numpy(t: Tensor) -> Any:
            return t.detach().cpu().numpy()

        record = Trace(
            outputs={n: numpy(values[n]) for n in self.outputs},
            spikes={n: numpy(values[n]) for n in history},
            states={n: {k: numpy(v) for k, v in h.items() if k != INPUT} for n, h in history.items()},
            currents={n: numpy(h[INPUT]) for n, h in history.items()},
        )
        return values, state, record

    def reset(self, state: NetworkState, done: Tensor) -> NetworkState:
        """Fresh state for the samples where ``done`` ([N], bool) holds, the others as they are."""
        out: NetworkState = {}
        for key, value in state.items():
            if key == FEEDBACK:
                out[key] = {n: masked_reset(v, done, 0.0) for n, v in value.items()}
            else:
                layer: Any = self[key]
                out[key] = layer.reset(value, done)
        return out

    def _result(self, values: Mapping[str, Tensor]) -> Any:
        outputs = self.outputs
        return values[outputs[0]] if len(outputs) == 1 else {n: values[n] for n in outputs}

    def _feed(self, x: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        given = dict(x) if isinstance(x, Mapping) else {self.inputs[0]: x}
        if set(given) != set(self.inputs):
            raise GraphError(f"inputs {sorted(given)} given, the network takes {sorted(self.inputs)}")
        if len({tuple(v.shape[:2]) for v in given.values()}) != 1:
            raise GraphError("all inputs need the same number of ticks and samples")
        return given

    def run(
        self, x: Tensor | Mapping[str, Tensor], state: NetworkState | None, history: dict[str, dict[str, Tensor]] | None
    ) -> tuple[dict[str, Tensor], NetworkState]:
        """What every layer emits, and the state after; a ``history`` is filled with what neuron layers hold."""
        given = self._feed(x)
        before: NetworkState = dict(state) if state is not None else {}
        self._check_batch(given, before)
        state, keep = dict(before), history is not None
        if not self._by_tick:
            part = Part(self, given, state, {}, keep)
            part.whole()
        else:
            feedback = dict(state.get(FEEDBACK) or self._silence(given))
            parts = []
            for t in range(next(iter(given.values())).shape[0]):
                moment = {n: v[t : t + 1] for n, v in given.items()}
                parts.append(Part(self, moment, state, feedback, keep))
                parts[-1].tick()
            state[FEEDBACK] = feedback
            part = one(parts)
        values, histories = finished(part, before)
        if history is not None:
            history.update(histories)
        return values, state

    def mix(self, on: Tensor, new: NetworkState, old: NetworkState) -> NetworkState:
        """A state with the samples where ``on`` ([N], bool) holds from ``new`` and the others from ``old``."""
        out: NetworkState = {}
        for key, value in new.items():
            if key == FEEDBACK:
                out[key] = {n: torch.where(like(on, v), v, old[key][n]) for n, v in value.items()}
            else:
                out[key] = mixed(self[key], on, value, old.get(key))
        return out

    def standing(self, path: str, key: str, example: Tensor, state: Mapping[str, Any] | None) -> Tensor:
        """What a neuron layer's state ``key`` is before anything runs, ``[N, ...]`` for an example ``[1, N, ...]``.

        Arguments:
            path: the layer's name; ``scope/name`` of one in a Scope.
            key: the state's name, or that of the current, which is 0.
            example: gives the shape.
            state: the network's, ``None`` is fresh.
        """
        name, _, rest = path.partition("/")
        layer: Any = self[name]
        held = (state or {}).get(name)
        if rest:
            found: Tensor = layer.net.standing(rest, key, example, held)
            return found
        if key == INPUT:
            return torch.zeros_like(example[0])
        if isinstance(layer, Recurrent):
            layer, held = layer.neuron, None if held is None else held[0]
        values: dict[str, Tensor] = layer.fresh(example[0]) if held is None else held
        return values[key]

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Evaluation mode without gradients, undone afterwards."""
        modes = {m: m.training for m in self.modules()}
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    def ports(self, name: str) -> tuple[str, ...]:
        """The ports that a layer reads."""
        found: tuple[str, ...] = getattr(self[name], "ports", ("in",))
        return found

    def _check_batch(self, given: Mapping[str, Tensor], state: NetworkState) -> None:
        if unknown := sorted({*state} - {FEEDBACK, *self.names}):
            raise StateError(f"the state holds {', '.join(unknown)}, which this network does not have")
        samples = next(iter(given.values())).shape[1]
        for name, value in state.get(FEEDBACK, {}).items():
            if value.shape[0] != samples:
                raise StateError(
                    f"the state holds {value.shape[0]} samples for '{name}', the input {samples}; "
                    "reset the state before changing the batch size"
                )

    def shapes(self, x: Tensor | Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        """What every layer emits for such an input, without T and N."""
        given = {n: torch.zeros((1, 1, *v.shape[2:]), device=v.device) for n, v in self._feed(x).items()}
        values: dict[str, Tensor] = {}
        with self.quiet():
            self._spread(given, values)
        return {n: tuple(v.shape[2:]) for n, v in values.items()}

    def _spread(self, given: Mapping[str, Tensor], values: dict[str, Tensor]) -> None:
        """Run every layer on what is known of its input until all layers have given something."""
        while len(values) < len(self.names):
            before = len(values)
            for name in self.order:
                if name in values:
                    continue
                layer: Any = self[name]
                known = {e.port: values[e.source] for e in reversed(self.into(name)) if e.source in values}
                if isinstance(layer, InputPort):
                    values[name] = layer(given[name])
                elif hasattr(layer, "emits_alone"):
                    values[name] = layer.emits_alone(next(iter(given.values())))
                elif known and set(now := [p for p in self.ports(name) if p not in LATE_PORTS]) <= set(known):
                    values[name] = self._tried(name, [known[port] for port in now])
            if len(values) == before:
                missing = ", ".join(n for n in self.names if n not in values)
                raise GraphError(f"no input reaches {missing}")

    def _tried(self, name: str, inputs: Sequence[Tensor]) -> Tensor:
        """What a layer makes of one tick; where it does not take it, an error that names the layer and the shape."""
        layer: Any = self[name]
        try:
            if getattr(layer, "on_sequences", False):
                y: Tensor = layer(*inputs, None)[0]
                return y
            return over_time(layer, inputs[0])
        except (RuntimeError, ValueError, IndexError) as error:
            if isinstance(error, NeuroaccelError):
                raise
            shape = tuple(inputs[0].shape[2:])
            raise GraphError(f"layer '{name}' does not take an input of shape {shape}: {error}") from error

    def known_shapes(self, given: Mapping[str, Tensor]) -> dict[str, torch.Size]:
        """:meth:`shapes`, computed once for inputs of the same shape."""
        key = tuple(sorted((n, tuple(v.shape[2:])) for n, v in given.items()))
        if key not in self._shapes:
            self._shapes[key] = {n: torch.Size(s) for n, s in self.shapes(given).items()}
        return self._shapes[key]

    def _silence(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What recurrent edges and opened cycles deliver at the first tick: zeros."""
        shapes, first = self.known_shapes(given), next(iter(given.values()))
        needed = {e.source for e in self.edges if e.recurrent} | self.opening
        return {n: first.new_zeros((first.shape[1], *shapes[n])) for n in sorted(needed)}
