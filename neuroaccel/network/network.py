"""Networks of layers: sequential or general graphs, state threaded through, any layer recorded on request."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuroaccel.errors import GraphError, NeuroaccelError, StateError
from neuroaccel.graph import Edge, Graph, Trace
from neuroaccel.graph.graph import execution_order
from neuroaccel.network.nodes import Held, InputPort, OutputPort, module_of
from neuroaccel.neurons import Neuron
from neuroaccel.program.language import INPUT
from neuroaccel.synapses import Delay, Recurrent, over_time
from neuroaccel.synapses.over_state import masked_reset

NetworkState = dict[str, Any]
FEEDBACK = "feedback"


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
            if not self._into(name) and not isinstance(module, InputPort) and not hasattr(module, "emits_alone"):
                raise GraphError(f"layer '{name}': nothing enters it")
        self.order = execution_order(self.names, self.edges, lambda n: isinstance(self[n], (Delay, Held)))
        place = {name: at for at, name in enumerate(self.order)}
        self._opening = {e.target for e in self.edges if not e.recurrent and place[e.source] >= place[e.target]}
        self._by_tick = bool(self._opening) or any(e.recurrent for e in self.edges)
        self._shapes: dict[tuple[Any, ...], dict[str, torch.Size]] = {}

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

    def _into(self, name: str, port: str | None = None) -> list[Edge]:
        found = [e for e in self.edges if e.target == name and (port is None or e.port == port)]
        return sorted(found, key=lambda e: e.name)

    def forward(self, x: Tensor | Mapping[str, Tensor], state: NetworkState | None = None) -> tuple[Any, NetworkState]:
        """A sequence of ticks.

        Arguments:
            x: ``[T, N, ...]``, or input name → tensor where there are several.
            state: from the sequence before; ``None`` is fresh.

        Returns:
            ``[T, N, ...]`` of the output (output name → tensor where there are several), and the state after.
        """
        values, state = self._run(x, state, None)
        return self._result(values), state

    def step(self, x: Tensor, state: NetworkState | None = None) -> tuple[Any, NetworkState]:
        """One tick: ``[N, ...]`` in, ``[N, ...]`` out."""
        y, state = self.forward(x.unsqueeze(0), state)
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
        """What every layer emits, ``[T, N, ...]`` by name, the state after, and the trace of :meth:`trace`."""
        history: dict[str, dict[str, Tensor]] = {}
        values, state = self._run(x, state, history)

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

    def _run(
        self, x: Tensor | Mapping[str, Tensor], state: NetworkState | None, history: dict[str, dict[str, Tensor]] | None
    ) -> tuple[dict[str, Tensor], NetworkState]:
        given = self._feed(x)
        state = dict(state) if state is not None else {}
        self._check_batch(given, state)
        if not self._by_tick:
            return self._whole(given, state, history), state
        ticks = next(iter(given.values())).shape[0]
        feedback = dict(state.get(FEEDBACK) or self._silence(given))
        series: dict[str, list[Tensor]] = {n: [] for n in self.names}
        kept: dict[str, list[dict[str, Tensor]]] = {}
        for t in range(ticks):
            values: dict[str, Tensor] = {}
            moment: dict[str, dict[str, Tensor]] | None = None if history is None else {}
            for name in self.order:
                layer = self[name]
                if name in self._opening and isinstance(layer, (Delay, Held)):
                    values[name] = layer.peek(state.get(name), feedback[name])
                else:
                    self._layer(name, {n: v[t : t + 1] for n, v in given.items()}, values, feedback, state, moment)
            for name in self.order:
                layer = self[name]
                if name in self._opening and isinstance(layer, (Delay, Held)):
                    _, state[name] = layer(self._arriving(name, "in", values, feedback), state.get(name))
            for name in feedback:
                feedback[name] = values[name][0]
            for name in self.names:
                series[name].append(values[name])
            for name, h in (moment or {}).items():
                kept.setdefault(name, []).append(h)
        state[FEEDBACK] = feedback
        if history is not None:
            history.update({n: {k: torch.cat([h[k] for h in hs]) for k in hs[0]} for n, hs in kept.items()})
        return {n: torch.cat(v) for n, v in series.items()}, state

    def _whole(
        self, given: Mapping[str, Tensor], state: NetworkState, history: dict[str, dict[str, Tensor]] | None
    ) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        for name in self.order:
            self._layer(name, given, values, {}, state, history)
        return values

    def _arriving(self, name: str, port: str, values: Mapping[str, Tensor], feedback: Mapping[str, Tensor]) -> Tensor:
        total: Tensor | None = None
        for e in self._into(name, port):
            value = feedback[e.source].unsqueeze(0) if e.recurrent else values[e.source]
            total = value if total is None else total + value
        if total is None:
            raise GraphError(f"layer '{name}': nothing enters its port '{port}'")
        return total

    def _layer(
        self,
        name: str,
        given: Mapping[str, Tensor],
        values: dict[str, Tensor],
        feedback: Mapping[str, Tensor],
        state: NetworkState,
        history: dict[str, dict[str, Tensor]] | None,
    ) -> None:
        layer: Any = self[name]
        if isinstance(layer, InputPort):
            values[name] = layer(given[name])
            return
        if hasattr(layer, "emits_alone"):
            values[name] = layer.emits_alone(next(iter(given.values())))
            return
        x = self._arriving(name, "in", values, feedback)
        if not getattr(layer, "on_sequences", False):
            values[name] = over_time(layer, x)
            return
        if history is not None and isinstance(layer, (Neuron, Recurrent)):
            values[name], after, history[name] = layer.trace(x, state.get(name))
        else:
            ports = [self._arriving(name, p, values, feedback) for p in getattr(layer, "more_ports", ())]
            values[name], after = layer(x, *ports, state.get(name))
        if after is not None:
            state[name] = after

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
        modes = {m: m.training for m in self.modules()}
        self.eval()
        values: dict[str, Tensor] = {}
        try:
            with torch.no_grad():
                self._spread(given, values)
        finally:
            for module, mode in modes.items():
                module.training = mode
        return {n: tuple(v.shape[2:]) for n, v in values.items()}

    def _spread(self, given: Mapping[str, Tensor], values: dict[str, Tensor]) -> None:
        """Run every layer on what is known of its input until all layers have given something."""
        while len(values) < len(self.names):
            before = len(values)
            for name in self.order:
                if name in values:
                    continue
                layer: Any = self[name]
                known = [e for e in self._into(name) if e.source in values]
                if isinstance(layer, InputPort) or hasattr(layer, "emits_alone"):
                    self._layer(name, given, values, {}, {}, None)
                elif known and {"in", *getattr(layer, "more_ports", ())} <= {e.port for e in known}:
                    inputs = {p: values[next(e.source for e in known if e.port == p)] for p in {e.port for e in known}}
                    values[name] = self._tried(name, inputs)
            if len(values) == before:
                missing = ", ".join(n for n in self.names if n not in values)
                raise GraphError(f"no input reaches {missing}")

    def _tried(self, name: str, inputs: Mapping[str, Tensor]) -> Tensor:
        """What a layer makes of one tick; where it does not take it, an error that names the layer and the shape."""
        layer: Any = self[name]
        try:
            if getattr(layer, "on_sequences", False):
                more = [inputs[p] for p in getattr(layer, "more_ports", ())]
                y: Tensor = layer(inputs["in"], *more, None)[0]
                return y
            return over_time(layer, inputs["in"])
        except (RuntimeError, ValueError, IndexError) as error:
            if isinstance(error, NeuroaccelError):
                raise
            shape = tuple(inputs["in"].shape[2:])
            raise GraphError(f"layer '{name}' does not take an input of shape {shape}: {error}") from error

    def _silence(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What recurrent edges and opened cycles deliver at the first tick: zeros."""
        key = tuple(sorted((n, tuple(v.shape[2:])) for n, v in given.items()))
        if key not in self._shapes:
            self._shapes[key] = {n: torch.Size(s) for n, s in self.shapes(given).items()}
        first = next(iter(given.values()))
        needed = {e.source for e in self.edges if e.recurrent} | self._opening
        return {n: first.new_zeros((first.shape[1], *self._shapes[key][n])) for n in sorted(needed)}
