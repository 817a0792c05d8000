"""The algorithm book from recorded emissions, by dense convolutions of masks in torch.

Shares nothing with the engine's counting: fan-outs are never computed, every product is found by convolving the mask of
inputs that are not 0 with the mask of weights that are not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from neuroaccel.errors import InputError, UnsupportedNode
from neuroaccel.graph import Graph
from neuroaccel.graph import nodes as n
from neuroaccel.graph.clocks import Clock, clocks
from neuroaccel.ledger.assemble import assemble
from neuroaccel.ledger.book import Book
from neuroaccel.program import resolve

Values = Mapping[str, Tensor | NDArray[np.generic]]
Counts = NDArray[np.int64]
Raw = dict[str, dict[str, Counts]]


def count_from_emissions(
    graph: Graph, emissions: Values, states: Mapping[str, Values] | None = None, *, ticks: int | None = None
) -> Book:
    """Count every operation of a run whose values were recorded.

    Arguments:
        graph: the lowered graph that ran.
        emissions: node → what it emitted at every tick, ``[T, N, *shape]``; every node but Outputs. Nodes of a scope
            are ``scope/node`` with ``ticks`` times as many ticks.
        states: neuron → state → its value after every tick, ``[T, N, *shape]`` (as in a Trace).
        ticks: T, if it is not that of the emissions.

    Returns:
        The book, checked.

    Raises:
        InputError: emissions or states of a node are missing or have another shape.
        GraphError: a node has no counting rule.
        UnsupportedNode: a node whose weights change.
        ImbalanceError: the books do not balance.
    """
    recorded = {name: torch.as_tensor(value) for name, value in emissions.items()}
    after = {k: {s: torch.as_tensor(v) for s, v in each.items()} for k, each in (states or {}).items()}
    raw = _Counter(graph, recorded, after).raw()
    if ticks is None:
        ticks = int(recorded[graph.inputs[0]].shape[0])
    return assemble(graph, raw, ticks=ticks)


def _per_sample(values: Tensor) -> Counts:
    """Sum of ``[T, N, ...]`` over everything but N, as int64."""
    flat = values.flatten(2) if values.dim() > 2 else values.unsqueeze(2)
    if flat.dtype.is_floating_point:
        flat = flat.round()
    counts: Counts = flat.to(torch.int64).sum(dim=(0, 2)).numpy()
    return counts


def _later(values: Tensor, ticks: int = 1) -> Tensor:
    """The same values ``ticks`` ticks later, zero before."""
    out = torch.zeros_like(values)
    if ticks < len(values):
        out[ticks:] = values[: len(values) - ticks]
    return out


def _apply(node: n.Node, x: Tensor, weight: Tensor) -> Tensor:
    """A synapse's products, summed per output: ``x`` [T, N, *in] → [T, N, *out]; one tick at a time bounds memory."""
    if isinstance(node, n.Linear) or (isinstance(node, n.Dendrite) and node.stride is None):
        return F.linear(x, weight)
    if isinstance(node, n.Conv1d):
        return torch.stack(
            [F.conv1d(t, weight, None, node.stride, node.padding, node.dilation, node.groups) for t in x]
        )
    if isinstance(node, (n.Conv2d, n.Dendrite)):
        stride = node.stride or (1, 1)
        return torch.stack([F.conv2d(t, weight, None, stride, node.padding, node.dilation, node.groups) for t in x])
    raise TypeError(f"{node.kind} has no weights")


class _Counter:
    """Counts of one graph; scopes get a counter of their own.

    With Windows or Keeps every sample has ticks of its own: it gets a counter to itself, in which a node has rows for
    the ticks that it runs on. ``dropped`` says that ticks of the whole graph may be missing.
    """

    def __init__(
        self,
        graph: Graph,
        emissions: Mapping[str, Tensor],
        states: Mapping[str, Mapping[str, Tensor]],
        dropped: bool = False,
    ):
        self.graph, self.emissions, self.states, self.dropped = graph, emissions, states, dropped
        self.clock = {name: clock for name, clock in clocks(graph).items()}
        self.running: dict[Clock, Tensor | None] = {(): None, None: None}
        self._touched: dict[str, Tensor] = {}
        self._biased: dict[str, Tensor] = {}

    def raw(self) -> Raw:
        samples = next((v.shape[1] for v in self.emissions.values()), 1)
        if any(self.clock.values()) and samples > 1:
            return _samples([self._one(n).raw() for n in range(samples)])
        out: Raw = {}
        for name in self.graph.order:
            node = self.graph.nodes[name]
            if isinstance(node, n.Synapse) and node.plastic is not None and not isinstance(node, n.Linear):
                raise UnsupportedNode(
                    name, "dense counting", "its weights learn, and only those of a Linear do; set plastic to None"
                )
            if isinstance(node, n.Output):
                continue
            if isinstance(node, (n.Window, n.Keep)):
                self._decide(name, node)
            if isinstance(node, n.Scope):
                out |= self._scope(name, node)
            runs = len(self.emitted(name)) > 0
            if isinstance(node, n.Synapse) and runs:
                out[name] = self._synapse(name, node)
            elif isinstance(node, n.Dendrite) and runs:
                out[name] = self._dendrite(name, node)
            elif isinstance(node, n.Attention) and runs:
                out[name] = self._attention(name, node)
            elif isinstance(node, n.Neuron) and runs:
                out[name] = self._neuron(name, node)
            else:
                out[name] = {}
            out[name]["events_out"] = _per_sample(self.emitted(name) != 0)
            if self.dropped or self._drops(name):
                out[name]["ticks_run"] = np.full(samples, len(self.emitted(name)), np.int64)
                if not runs:
                    out[name]["nominal"] = np.zeros(samples, np.int64)
        return out

    def _one(self, sample: int) -> _Counter:
        part = slice(sample, sample + 1)
        states = {k: {s: v[:, part] for s, v in each.items()} for k, each in self.states.items()}
        return _Counter(self.graph, {k: v[:, part] for k, v in self.emissions.items()}, states, self.dropped)

    def _drops(self, name: str) -> bool:
        return any(part[0] == "keep" for part in self.clock[name] or ())

    def _entering(self, name: str, port: str = "in") -> Clock:
        """The clock of what enters a port."""
        found = [self.clock[e.source] for e in self.graph.into(name, port)]
        return next((clock for clock in found if clock is not None), None)

    def _decide(self, name: str, node: n.Window | n.Keep) -> None:
        """On which ticks of the graph a clock runs, from what the mask was or how many ticks a window has seen."""
        before = self.running[self._entering(name)]
        on = before if before is not None else torch.ones(len(self.emissions[name]), dtype=torch.bool)
        if isinstance(node, n.Keep):
            on = on.clone()
            on[on.clone()] = self.arrived(name, "mask").flatten() != 0
        else:
            seen = torch.cumsum(on, 0)
            on = on & (seen >= node.width) & ((seen - node.width) % node.stride == 0)
        self.running[self.clock[name]] = on

    def _rows(self, clock: Clock, values: Tensor) -> Tensor:
        """Those of the values of all ticks of the graph at which a clock runs."""
        on = self.running[clock]
        return values if on is None else values[on]

    def emitted(self, name: str) -> Tensor:
        """What a node emitted at the ticks that it ran on; ``InputError`` if nobody recorded it."""
        node = self.graph.nodes[name]
        if isinstance(node, n.Output) and name not in self.emissions:
            return self.arrived(name)
        if name not in self.emissions:
            raise InputError(f"ledger: no emissions of {node.kind} '{name}' were recorded")
        return self._rows(self.clock[name], self.emissions[name])

    def _brought(self, name: str, port: str, what: Callable[[str], Tensor]) -> list[Tensor]:
        """What the edges into a port bring, on the rows of what enters it; a constant is there at every tick."""
        found, clock = [], self._entering(name, port)
        for e in self.graph.into(name, port):
            value = _later(what(e.source)) if e.recurrent else what(e.source)
            found.append(self._rows(clock, value) if self.clock[e.source] is None else value)
        return found

    def arrived(self, name: str, port: str = "in") -> Tensor:
        """What reached a port at every tick: edges add up in the order of their names."""
        values = self._brought(name, port, self.emitted)
        total = values[0]
        for v in values[1:]:
            total = total + v
        return total

    def _delivered(self, name: str, mask: Tensor) -> Tensor:
        """A synapse's mask as it leaves: one tick later where synapses carry a tick."""
        return _later(mask) if self.graph.latches(name) else mask

    def _synapse(self, name: str, node: n.Synapse) -> dict[str, Counts]:
        if node.plastic is not None:
            return self._plastic(name, node)
        x, weight = self.arrived(name), torch.as_tensor(node.weight)
        mask, living = (x != 0).float(), (weight != 0).float()
        products = _apply(node, mask, living)
        self._touched[name] = self._delivered(name, products > 0.5)
        inside = torch.ones_like(mask)
        return {
            "products": _per_sample(products),
            "zero_input": _per_sample(_apply(node, 1 - mask, living)),
            "pruned": _per_sample(_apply(node, inside, 1 - living)),
            "nominal": _per_sample(_apply(node, inside, torch.ones_like(living))),
        }

    def _plastic(self, name: str, node: n.Synapse) -> dict[str, Counts]:
        """The learning again, tick by tick, from what was recorded; every tick counts with the weights it begins with.

        What entered, the third factor and the post-synaptic values say all.
        """
        x, m, y = (self.arrived(name, port).to(torch.float32).numpy() for port in ("in", *n.LATE_PORTS))
        out, inputs = node.weight.shape
        ticks, samples = x.shape[:2]
        shape = (*x.shape[:-1], out)
        x, y, m = x.reshape(ticks, samples, -1, inputs), y.reshape(ticks, samples, -1, out), m.reshape(ticks, samples)
        places = x.shape[2]
        learning = Learning(node, samples)
        counts = {key: np.zeros(samples, np.int64) for key in ("products", "zero_input", "pruned", "learning_updates")}
        touched = np.zeros((ticks, samples, places, out), np.bool_)
        for t in range(ticks):
            living, mask = (learning.weight != 0).astype(np.int64), (x[t] != 0).astype(np.int64)
            done = np.einsum("noi,npi->npo", living, mask)
            touched[t] = done > 0
            counts["products"] += done.sum(axis=(1, 2))
            counts["zero_input"] += np.einsum("noi,npi->n", living, 1 - mask)
            counts["pruned"] += places * (1 - living).sum(axis=(1, 2))
            counts["learning_updates"] += learning.tick(x[t], m[t], y[t])
        self._touched[name] = self._delivered(name, torch.from_numpy(touched.reshape(shape)))
        return {**counts, "nominal": np.full(samples, node.weight.size * places * ticks, np.int64)}

    def _dendrite(self, name: str, node: n.Dendrite) -> dict[str, Counts]:
        mask = (self.arrived(name) != 0).float()
        inside = torch.ones_like(mask)
        hit, alive = [], []
        counts = dict.fromkeys(("products", "zero_input", "pruned", "nominal"), np.zeros(mask.shape[1], np.int64))
        for array in (node.weight, node.gate):
            living = (torch.as_tensor(array) != 0).float()
            products = _apply(node, mask, living)
            hit.append(products > 0.5)
            alive.append(_apply(node, inside, living) > 0.5)
            counts["products"] = counts["products"] + _per_sample(products)
            counts["zero_input"] = counts["zero_input"] + _per_sample(_apply(node, 1 - mask, living))
            counts["pruned"] = counts["pruned"] + _per_sample(_apply(node, inside, 1 - living))
            counts["nominal"] = counts["nominal"] + _per_sample(_apply(node, inside, torch.ones_like(living)))
        both, possible = hit[0] & hit[1], alive[0] & alive[1]
        self._touched[name] = self._delivered(name, hit[0] | hit[1])
        return {
            "products": counts["products"],
            "interactions": _per_sample(both),
            "zero_input": counts["zero_input"] + _per_sample(possible & ~both),
            "pruned": counts["pruned"] + _per_sample(~possible),
            "nominal": counts["nominal"] + _per_sample(torch.ones_like(both)),
        }

    def _attention(self, name: str, node: n.Attention) -> dict[str, Counts]:
        q, k, v = (self.arrived(name, p).double() for p in ("q", "k", "v"))
        T, N, D = q.shape
        heads = (T, N, -1, node.heads, D // node.heads)
        q, k, v = q.reshape(T, N, 1, node.heads, -1), k.reshape(heads), v.reshape(heads)
        first = (q != 0) & (k != 0)
        # A softmax leaves no score at 0, whatever a float makes of it.
        score = torch.ones_like((q * k).sum(-1)) if node.how == "softmax" else (q * k).sum(-1)
        second = (score != 0)[..., None] & (v != 0)
        nominal = 2 * first[0, 0].numel() * T
        gated = np.zeros(N, np.int64)
        if self.graph.into(name, "mask"):
            living = (self.arrived(name, "mask") != 0)[..., None, None]
            first, second = first & living, second & living
            gated = 2 * D * _per_sample(~living)
        done = _per_sample(first) + _per_sample(second)
        every = np.full(N, nominal, np.int64)
        return {"products": done, "gated": gated, "zero_input": every - done - gated, "nominal": every}

    def _neuron(self, name: str, node: n.Neuron) -> dict[str, Counts]:
        emitted = self.emitted(name)
        driven = self.touched_at(name) | self.biased_at(name)
        values = resolve(node.program, node.parameters)
        for leak in node.program.leak:
            driven = driven | torch.as_tensor(np.broadcast_to(values[leak] != 0, node.shape).copy())
        fire = node.program.fire
        if fire is not None:
            left, right = (self._at_start(name, node, side, values) for side in (fire.left, fire.right))
            driven = driven | (left >= right)
        if node.program.emit.kind != "state":
            driven = driven | (emitted != 0)
        return {"updates_driven": _per_sample(driven), "spikes": _per_sample(emitted != 0)}

    def _at_start(self, name: str, node: n.Neuron, side: str, values: Mapping[str, NDArray[np.float32]]) -> Tensor:
        """A state or parameter as it stands when each tick begins."""
        if side not in node.program.state_names:
            return torch.as_tensor(values[side])
        if side not in self.states.get(name, {}):
            raise InputError(f"ledger: state '{side}' of Neuron '{name}' was not recorded")
        after = self.states[name][side]
        fresh = next(s.fresh for s in node.program.states if s.name == side)
        start = torch.empty_like(after)
        start[1:] = after[:-1]
        start[0] = torch.as_tensor(values[fresh] if isinstance(fresh, str) else fresh).to(after.dtype)
        return self._rows(self.clock[name], start)

    def touched_at(self, name: str, port: str = "in") -> Tensor:
        """Which elements of a port a living event reaches at every tick."""
        masks = self._brought(name, port, self.touched)
        total = masks[0]
        for m in masks[1:]:
            total = total | m
        return total

    def touched(self, name: str) -> Tensor:
        """Which elements of what a node sends on were reached; events that cancel are events all the same."""
        if name in self._touched:
            return self._touched[name]
        node = self.graph.nodes[name]
        if isinstance(node, n.Synapse):
            self._synapse(name, node)
        elif isinstance(node, n.Dendrite):
            self._dendrite(name, node)
        elif isinstance(node, (n.Add, n.Probe, n.Output)):
            self._touched[name] = self.touched_at(name)
        elif isinstance(node, n.Keep):
            before, now = self._entering(name), self.running[self.clock[name]]
            assert now is not None
            self._touched[name] = self.touched_at(name)[self._rows(before, now)]
        elif isinstance(node, n.Multiply):
            self._touched[name] = self.touched_at(name) & self.touched_at(name, "gate")
        elif isinstance(node, n.Delay):
            self._touched[name] = _delayed(self.touched_at(name), np.asarray(node.ticks))
        elif rule := _MOVES.get(type(node)):
            self._touched[name] = rule(node, self.touched_at(name))
        else:
            self._touched[name] = self.emitted(name) != 0
        return self._touched[name]

    def biased_at(self, name: str, port: str = "in") -> Tensor:
        """Which elements of a port carry a bias that is not 0, ``[1, 1, *shape]``: a constant drive of every tick."""
        masks = [self.biased(e.source) for e in self.graph.into(name, port)]
        total = masks[0]
        for m in masks[1:]:
            total = total | m
        return total

    def biased(self, name: str) -> Tensor:
        """The same for what a node sends on; only synapses have biases, neurons and tables send none on."""
        if name in self._biased:
            return self._biased[name]
        node = self.graph.nodes[name]
        if isinstance(node, (n.Synapse, n.Dendrite)):
            found = _bias(node, self.emitted(name).shape[2:])
        elif isinstance(node, n.Multiply):
            found = self.biased_at(name) | self.biased_at(name, "gate")
        elif isinstance(node, (n.Add, n.Probe, n.Output, n.Delay, n.Keep)):
            found = self.biased_at(name)
        elif rule := _MOVES.get(type(node)):
            found = rule(node, self.biased_at(name))
        else:
            found = torch.zeros((1, 1, *self.emitted(name).shape[2:]), dtype=torch.bool)
        self._biased[name] = found
        return found

    def _scope(self, name: str, node: n.Scope) -> Raw:
        """Counts of the inner nodes. With fresh state per outer tick, outer ticks are so many more samples."""
        head, dropped = f"{name}/", self.dropped or self._drops(name)
        samples = self.emissions[name].shape[1]

        def fold(v: Tensor) -> Tensor:
            ticks = len(self.emissions[name])
            rows = self._rows(self.clock[name], v.reshape(ticks, len(v) // max(ticks, 1), *v.shape[1:]))
            if node.state == "carry":
                return rows.flatten(0, 1)
            return rows.transpose(0, 1).flatten(1, 2)

        inner = {k.removeprefix(head): fold(v) for k, v in self.emissions.items() if k.startswith(head)}
        states = {
            k.removeprefix(head): {s: fold(v) for s, v in each.items()}
            for k, each in self.states.items()
            if k.startswith(head)
        }
        counted = _Counter(node.graph, inner, states, dropped)
        if all(v.numel() == 0 for v in inner.values()):  # the scope has not run
            columns = ("events_out", "ticks_run", "nominal")
            return {head + k: dict.fromkeys(columns, np.zeros(samples, np.int64)) for k in _inside(node.graph)}
        return {
            head + k: {c: v.reshape(-1, samples).sum(axis=0) for c, v in each.items()}
            for k, each in counted.raw().items()
        }


class Learning:
    """A plastic Linear's weights and traces, ``[N, out, in]``, moved by the rule of docs/contracts.md."""

    def __init__(self, node: n.Synapse, samples: int) -> None:
        assert node.plastic is not None
        assert node.grid is not None
        self.weight = np.repeat(node.weight[None], samples, axis=0)
        self.trace = np.zeros_like(self.weight)
        self.decay, self.rate = np.float32(node.plastic.trace_decay), np.float32(node.plastic.rate)
        self.steps, self.limit = node.grid.q, np.float32(node.plastic.limit(node.grid.q))

    def tick(self, x: NDArray[np.float32], m: NDArray[np.float32], y: NDArray[np.float32]) -> Counts:
        """Learn from ``x`` [N, places, in], ``m`` [N] and ``y`` [N, places, out]; how many changes were computed."""
        faded = self.decay * self.trace
        faded[np.abs(faded) < 2.0**-100] = 0
        for place in range(x.shape[1]):
            faded = faded + y[:, place, :, None] * x[:, place, None, :]
        self.trace = faded
        gain = (self.rate * m)[:, None, None]
        change = np.ldexp(np.rint(np.ldexp(gain * faded, self.steps)), -self.steps)
        new = np.clip(self.weight + change, -self.limit, self.limit)
        self.weight = np.where((change != 0) & (gain != 0), new, self.weight)
        moved: Counts = ((gain != 0) & (faded != 0)).sum(axis=(1, 2)).astype(np.int64)
        return moved


def _inside(graph: Graph, prefix: str = "") -> list[str]:
    """All nodes but Outputs, those of scopes as ``scope/node``."""
    found = [prefix + name for name, node in graph.nodes.items() if not isinstance(node, n.Output)]
    for name, node in graph.nodes.items():
        if isinstance(node, n.Scope):
            found += _inside(node.graph, f"{prefix}{name}/")
    return found


def _samples(parts: list[Raw]) -> Raw:
    """Counts of single samples, one behind the other."""
    columns = {name: {c for part in parts for c in part.get(name, {})} for part in parts for name in part}
    none = np.zeros(1, np.int64)
    return {
        name: {c: np.concatenate([p[name].get(c, none) for p in parts]) for c in of} for name, of in columns.items()
    }


def _bias(node: n.Synapse | n.Dendrite, shape: torch.Size) -> Tensor:
    """Outputs whose bias is not 0, ``[1, 1, *shape]``."""
    if node.bias is None:
        return torch.zeros((1, 1, *shape), dtype=torch.bool)
    mask = torch.as_tensor(node.bias != 0)
    last = isinstance(node, n.Linear) or (isinstance(node, n.Dendrite) and node.stride is None)
    return (mask if last else mask.reshape(-1, *(1,) * (len(shape) - 1))).expand(1, 1, *shape)


def _delayed(mask: Tensor, ticks: NDArray[np.int32]) -> Tensor:
    if ticks.ndim == 0:
        return _later(mask, int(ticks))
    out = torch.zeros_like(mask)
    for d in np.unique(ticks):
        at = torch.as_tensor(ticks == d)
        out[:, :, at] = _later(mask, int(d))[:, :, at]
    return out


def _pool(node: n.Node, mask: Tensor) -> Tensor:
    assert isinstance(node, n.Pool2d)
    return torch.stack([F.max_pool2d(t.float(), node.kernel, node.stride, node.padding) for t in mask]) > 0


def _flatten(node: n.Node, mask: Tensor) -> Tensor:
    assert isinstance(node, n.Flatten)
    shift = [axis + 2 if axis >= 0 else axis for axis in (node.start, node.end)]
    return mask.flatten(*shift)


def _reshape(node: n.Node, mask: Tensor) -> Tensor:
    assert isinstance(node, n.Reshape)
    return mask.reshape(*mask.shape[:2], *node.shape)


def _select(node: n.Node, mask: Tensor) -> Tensor:
    assert isinstance(node, n.Select)
    return mask.index_select(node.axis + 2 if node.axis >= 0 else node.axis, torch.tensor(node.indices))


_MOVES: dict[type[n.Node], Callable[[n.Node, Tensor], Tensor]] = {
    n.SumPool2d: _pool,
    n.AvgPool2d: _pool,
    n.MaxPool2d: _pool,
    n.Flatten: _flatten,
    n.Reshape: _reshape,
    n.Select: _select,
}
