"""One call of a network: its layers in order, each on the ticks of its clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neuroaccel.errors import GraphError
from neuroaccel.graph import Edge
from neuroaccel.graph.clocks import Clock
from neuroaccel.network.blocks import NEURON, block_of
from neuroaccel.network.clocks import History, Keep, Rows, Window, gated, joined, like, mixed, run_on, run_readout
from neuroaccel.network.nodes import Held, InputPort
from neuroaccel.network.scope import Inside, Scope
from neuroaccel.neurons import Neuron
from neuroaccel.program.language import INPUT
from neuroaccel.synapses import Delay, PlasticLinear, Readout, Recurrent

if TYPE_CHECKING:
    from neuroaccel.network.network import Network

FEEDBACK = "feedback"


class Part:
    """Some ticks of a call: all of them, or one where something feeds back.

    ``values`` holds rows of every layer (of those that stand, and of base clocks, every tick), ``histories`` those of
    neuron layers and ``insides`` what happened in scopes, where they are wanted.
    """

    def __init__(
        self, net: Network, given: Mapping[str, Tensor], state: dict[str, Any], feedback: dict[str, Tensor], keep: bool
    ) -> None:
        self.net, self.given, self.state, self.feedback, self.keep = net, given, state, feedback, keep
        self.like = next(iter(given.values()))
        self.ticks, self.samples = self.like.shape[:2]
        self.values: dict[str, Tensor] = {}
        self.rows: dict[Clock, Rows] = {(): Rows()}
        self.histories: dict[str, History] = {}
        self.insides: dict[str, Inside] = {}

    def whole(self) -> None:
        """Every layer, in order."""
        done: set[str] = set()
        for name in self.net.order:
            if name not in done and not self._span(name, done):
                self.layer(name)

    def _span(self, name: str, done: set[str]) -> bool:
        """Run the layers from ``name`` on as one, where one operator does."""
        names = self.net.spans.get(name)
        if names is None or self.keep or self.rows[()].on is not None:
            return False
        x, neuron = self.arriving(name, "in"), names[NEURON]
        block = block_of(self.net, names, x)
        if block is None:
            return False
        self.values[names[-1]], self.state[neuron] = block.run(x, self.state.get(neuron))
        done.update(names)
        return True

    def tick(self) -> None:
        """One tick, in which something feeds back: what opens a cycle emits in its turn and takes in at the end."""
        net = self.net
        opening = [name for name in net.order if name in net.opening and isinstance(net[name], (Delay, Held))]
        for name in net.order:
            layer: Any = net[name]
            if name in opening:
                rows = self.rows[net.clock[name]]
                self.values[name] = gated(rows.gather(layer.peek(self.state.get(name), self.feedback[name])), rows.on)
            elif isinstance(layer, PlasticLinear):
                self._react(name, layer)
            else:
                self.layer(name)
        for name in opening:
            inputs = [self.arriving(name, port) for port in net.ports(name)]
            if len(inputs[0]):
                _, after, _ = run_on(net[name], inputs, self.state.get(name), self.rows[net.clock[name]], False)
                self.state[name] = after
        for name in net.order:
            layer = net[name]
            if isinstance(layer, PlasticLinear):
                self._learn(name, layer)
        for name, before in self.feedback.items():
            rows = self.rows[() if name in net.stands else net.clock[name]]
            if len(self.values[name]):
                new = self.values[name][0]
                self.feedback[name] = new if rows.on is None else torch.where(like(rows.on[0], new), new, before)

    def _react(self, name: str, layer: PlasticLinear) -> None:
        """One tick's product of a synapse that learns at the end of the tick."""
        x, on = self.arriving(name, "in"), self.rows[self.net.clock_in[name]].on
        if len(x):
            self.values[name] = gated(layer.react(x[0], self.state.get(name)).unsqueeze(0), on)
        else:
            self._silent(name, layer, [x])

    def _learn(self, name: str, layer: PlasticLinear) -> None:
        x, third, post = (self.arriving(name, port) for port in layer.ports)
        on, before = self.rows[self.net.clock_in[name]].on, self.state.get(name)
        if len(x):
            after = layer.learn(x[0], third[0], post[0], before)
            self.state[name] = after if on is None else mixed(layer, on[0], after, before)

    def arriving(self, name: str, port: str) -> Tensor:
        """What enters a port, on the rows of the layer: edges add up in the order of their names."""
        total: Tensor | None = None
        for e in self.net.into(name, port):
            value = self._brought(e)
            total = value if total is None else total + value
        if total is None:
            raise GraphError(f"layer '{name}': nothing enters its port '{port}'")
        return total

    def _brought(self, e: Edge) -> Tensor:
        net = self.net
        clock = net.clock[e.source]
        every = e.recurrent or e.source in net.stands or clock == ()
        value = self.feedback[e.source].unsqueeze(0) if e.recurrent else self.values[e.source]
        if e.target in net.stands:
            return value if every else self.rows[clock].spread(value, self.ticks)
        return self.rows[net.clock_in[e.target]].gather(value) if every else value

    def layer(self, name: str) -> None:
        """Run one layer."""
        net = self.net
        layer: Any = net[name]
        if isinstance(layer, InputPort):
            self.values[name] = layer(self.given[name])
            return
        if hasattr(layer, "emits_alone"):
            self.values[name] = layer.emits_alone(self.like)
            return
        inputs = [self.arriving(name, port) for port in net.ports(name)]
        rows = self.rows[net.clock_in[name]]
        state = self.state.get(name)
        after: Any = None
        if name in net.stands and isinstance(layer, Readout):
            self.values[name], after = run_readout(layer, inputs[0], state, rows.runs(self.ticks, self.like))
        elif name in net.stands:
            self.values[name], after, _ = run_on(layer, inputs, state, Rows(), False)
        elif len(inputs[0]) == 0:
            self._silent(name, layer, inputs)
        elif isinstance(layer, Window):
            self.values[name], behind, after = layer.run(inputs[0], state, rows)
            self.rows[net.clock[name]] = behind
        elif isinstance(layer, Scope):
            self.values[name], after, inside = layer.run(inputs, state, rows.on, self.keep)
            if inside is not None:
                self.insides[name] = inside
        else:
            if isinstance(layer, Keep):
                rows = Keep.rows(inputs[1], rows)
                self.rows[net.clock[name]] = rows
            self.values[name], after, history = run_on(layer, inputs, state, rows, self.keep)
            if history is not None and self.keep:
                self.histories[name] = history
        if after is not None:
            self.state[name] = after

    def _silent(self, name: str, layer: Any, inputs: Sequence[Tensor]) -> None:
        """A layer whose clock does not run in these ticks gives no rows."""
        net, x = self.net, inputs[0]
        if isinstance(layer, (Window, Keep)):
            self.rows[net.clock[name]] = self.rows[net.clock_in[name]]
        shape = net.known_shapes(self.given)[name]
        self.values[name] = x.new_zeros((0, self.samples, *shape))
        if self.keep and isinstance(layer, (Neuron, Recurrent)):
            neuron = layer.neuron if isinstance(layer, Recurrent) else layer
            keys = (*neuron.spec.program.state_names, INPUT)
            self.histories[name] = {key: self.values[name] for key in keys}
        elif self.keep and isinstance(layer, Scope):
            with layer.net.quiet():
                _, _, inside = layer.run([v.new_zeros((1, *v.shape[1:])) for v in inputs], None, None, True)
            assert inside is not None
            self.insides[name] = (
                {key: v[:0] for key, v in inside[0].items()},
                {key: {k: v[:0] for k, v in each.items()} for key, each in inside[1].items()},
            )


def one(parts: Sequence[Part]) -> Part:
    """Parts of one tick each as a part of all of them."""
    first = parts[0]
    if len(parts) == 1:
        return first
    given = {name: torch.cat([p.given[name] for p in parts]) for name in first.given}
    total = Part(first.net, given, first.state, first.feedback, first.keep)
    total.values = {name: torch.cat([p.values[name] for p in parts]) for name in first.values}
    total.rows = {clock: joined([p.rows[clock] for p in parts], total.like) for clock in first.rows}
    total.histories = {
        name: {key: torch.cat([p.histories[name][key] for p in parts]) for key in each}
        for name, each in first.histories.items()
    }
    total.insides = {
        name: (
            {key: torch.cat([p.insides[name][0][key] for p in parts]) for key in values},
            {
                key: {k: torch.cat([p.insides[name][1][key][k] for p in parts]) for k in each}
                for key, each in histories.items()
            },
        )
        for name, (values, histories) in first.insides.items()
    }
    return total


def finished(part: Part, before: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, History]]:
    """Rows at their ticks: what every layer emits and what neuron layers hold, one entry per tick of the call.

    Arguments:
        part: all ticks of the call.
        before: the network's state before the call.
    """
    net, ticks = part.net, part.ticks

    def rows_of(name: str) -> Rows:
        return Rows() if name in net.stands else part.rows[net.clock[name]]

    values = {name: rows_of(name).spread(v, ticks) for name, v in part.values.items()}
    histories: dict[str, History] = {}
    for name, each in part.histories.items():
        rows = rows_of(name)
        histories[name] = {
            key: rows.spread(v, ticks)
            if key == INPUT
            else rows.standing(v, net.standing(name, key, part.like.new_zeros((1, *v.shape[1:])), before), ticks)
            for key, v in each.items()
        }
    for name, (emitted, inner) in part.insides.items():
        rows = rows_of(name)
        for key, v in emitted.items():
            values[f"{name}/{key}"] = rows.spread(v, ticks).flatten(0, 1)
        for key, each in inner.items():
            histories[f"{name}/{key}"] = {
                k: _inside(part, name, key, k, v, before).flatten(0, 1) for k, v in each.items()
            }
    return values, histories


def _inside(part: Part, name: str, key: str, k: str, v: Tensor, before: Mapping[str, Any]) -> Tensor:
    """What a neuron layer in a scope holds, ``[R, steps, N, ...]`` → ``[T, steps, N, ...]``."""
    scope: Any = part.net[name]
    rows = part.rows[part.net.clock[name]]
    if k == INPUT or rows.at is None:
        return rows.spread(v, part.ticks)
    zeros = part.like.new_zeros((1, *v.shape[2:]))
    stood: Tensor = scope.net.standing(key, k, zeros, before.get(name) if scope.carries else None)
    stood = stood.expand(part.ticks, *v.shape[2:])
    if scope.carries:
        stood = rows.standing(v[:, -1], stood[0], part.ticks)
    return stood.unsqueeze(1).repeat(1, v.shape[1], *[1] * (v.dim() - 2)).index_copy(0, rows.at, v)
