"""Loihi's integer arithmetic: a network's weights, thresholds and decays on its grids, and its neurons as programs.

A layer's real values times one scale are its integers: weights are even and 8 bits wide with their sign, currents are
shifted left by 6, membranes count 1/(64·scale). Decays are k/4096 and their products are rounded towards zero.

Source: lava-nc 0.10.0, ``lava/proc/lif/models.py`` (PyLifModelBitAcc) and ``lava/proc/dense/models.py``; Davies et al.,
"Loihi: a neuromorphic manycore processor with on-chip learning", IEEE Micro 38 (2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import GraphError, UnsupportedNode
from neuroaccel.graph import (
    Add,
    Conv1d,
    Conv2d,
    Delay,
    Dendrite,
    Edge,
    Flatten,
    Graph,
    Input,
    Linear,
    Neuron,
    Node,
    Output,
    Probe,
    Readout,
    Reshape,
    Select,
    SumPool2d,
    Synapse,
    infer,
)
from neuroaccel.hardware.lava.match import Found, find
from neuroaccel.program import Arithmetic, Assign, Emit, Fire, Fixed, Parameter, Program, State, resolve

WHO = "Loihi's fixed point"
LARGEST_WEIGHT = 254
LARGEST_THRESHOLD = 2**17 - 1
LARGEST_LEAK = 4095 << 7  # Loihi's bias: 12-bit mantissa beside its sign, 3-bit exponent
LARGEST_CURRENT = 2**17 - 1  # shifted left by 6 it fills 24 bits
UNITY = 4096
SHIFT = 6
LIMIT = 2**23
PASSES = (Add, Flatten, Reshape, Probe, Delay, Select, SumPool2d)

WEIGHT = Fixed(8, frac=-1, overflow="error")
SYNAPSE = Arithmetic(weight=WEIGHT, accumulator=Fixed(32, overflow="error"))
DECAY = Fixed(13, frac=12, signed=False, overflow="error")
LEVEL = Fixed(25, overflow="error")


def program(found: Found) -> Program:
    """The program of a LIF, IF, CubaLIF or LI in Loihi's integers, in the order of Lava's bit-accurate model.

    ``u = (decay_u·u) + 64·i``, wrapped into (−2²³, 2²³]; ``v = (decay_v·v) + u (+ bias)``, saturated at ±(2²³ − 1).
    """
    states = [State("v")]
    parameters = [Parameter("decay_v", 0.0, 1.0)]
    body = [Assign("t", "shift", ("i", float(SHIFT)))]
    drive = "w"
    if found.kind == "CubaLIF":
        states.insert(0, State("u"))
        parameters.insert(0, Parameter("decay_u", 0.0, 1.0))
        body += [Assign("u", "mul", ("decay_u", "u")), Assign("t", "add", ("u", "t"))]
        drive = "u"
    body += [  # as Lava wraps: +2^23 stays, −2^23 becomes +2^23
        Assign("over", "gt", ("t", float(LIMIT))),
        Assign("less", "sub", ("t", float(2 * LIMIT))),
        Assign("w", "select", ("over", "less", "t")),
        Assign("under", "le", ("w", float(-LIMIT))),
        Assign("more", "add", ("t", float(2 * LIMIT))),
        Assign(drive, "select", ("under", "more", "w")),
        Assign("v", "mul", ("decay_v", "v")),
        Assign("sum", "add", ("v", drive)),
    ]
    leak: tuple[str, ...] = ()
    if found.leak:
        parameters.append(Parameter("bias"))
        body.append(Assign("sum", "add", ("sum", "bias")))
        leak = ("bias",)
    body += [
        Assign("sum", "max", ("sum", float(1 - LIMIT))),
        Assign("v", "min", ("sum", float(LIMIT - 1))),
    ]
    if found.kind == "LI":
        return Program("LI", tuple(states), tuple(parameters), tuple(body), emit=Emit("state", "v"), leak=leak)
    parameters.append(Parameter("threshold", 0.0, None))
    goal: str | float = 0.0
    if found.reset == "to_value":
        parameters.append(Parameter("v_reset"))
        goal = "v_reset"
    on_fire = Assign("v", "sub", ("v", "threshold")) if found.reset == "subtract" else Assign("v", "copy", (goal,))
    if found.delay:
        states.append(State("r"))
        if found.reset == "subtract":
            body += [Assign("m", "mul", ("threshold", "r")), Assign("v", "sub", ("v", "m"))]
        else:
            body.append(Assign("v", "select", ("r", goal, "v")))
        body.append(Assign("r", "copy", (0.0,)))
        on_fire = Assign("r", "copy", (1.0,))
    return Program(
        found.kind,
        tuple(states),
        tuple(parameters),
        tuple(body),
        Fire("v", found.tie, "threshold"),
        (on_fire,),
        leak=leak,
    )


def arithmetic(made: Program) -> Arithmetic:
    """The preset of a neuron: 24-bit states (25 where u's wrap leaves +2²³ as it is), decays of 12 bits."""
    formats = {"decay_u": DECAY, "decay_v": DECAY, "threshold": LEVEL, "v_reset": LEVEL, "bias": LEVEL}
    bits = 25 if "u" in made.state_names else 24
    return Arithmetic(
        state=Fixed(bits, rounding="toward_zero", overflow="saturate"),
        parameters={name: formats[name] for name in made.parameter_names},
    )


@dataclass(frozen=True)
class Layer:
    """What quantisation did to one neuron layer.

    Arguments:
        scale: integer weight per real weight; a membrane's integer is 64·scale times its real value.
        limited_by: what set the scale: weights, bias, threshold, reset, leak, or nothing (all are 0).
        weight_change: largest distance that a weight or bias moved, in real units.
        threshold_change: the same for the threshold.
        decay_change: the same for a decay per tick.
        largest_current: largest |sum| that can arrive, in integers; above 131071 the current wraps.
    """

    scale: float
    limited_by: str
    weight_change: float
    threshold_change: float
    decay_change: float
    largest_current: int

    @property
    def may_wrap(self) -> bool:
        return self.largest_current > LARGEST_CURRENT


def quantise(graph: Graph) -> tuple[Graph, dict[str, Layer]]:
    """A graph in Loihi's integers.

    Arguments:
        graph: a graph of binary or count inputs, synapses and LIF, IF, CubaLIF (``decay`` form) or LI neurons.

    Returns:
        the integer graph, and for every neuron layer what it changed.

    Raises:
        UnsupportedNode: a node that Loihi's arithmetic does not hold.
        GraphError: a parameter that would have to be clipped, naming the layer.
    """
    signals = infer(graph)
    for name, node in graph.nodes.items():
        if isinstance(node, Dendrite):
            raise UnsupportedNode(name, WHO, "no product of two currents in whole numbers; export it in floats")
        if not isinstance(node, (Input, Output, Readout, Neuron, Linear, Conv1d, Conv2d, *PASSES)):
            raise UnsupportedNode(name, WHO, f"no {node.kind} in whole numbers; lower it to synapses and neurons")
        if isinstance(node, Synapse):
            if node.arithmetic is not None:
                raise UnsupportedNode(name, WHO, "it already carries an integer arithmetic")
            if node.plastic is not None:
                raise UnsupportedNode(name, WHO, "its weights learn; freeze them before export")
            source = [signals[e.source] for e in graph.into(name, "in")]
            if any(s.kind == "analog" for s in source):
                raise UnsupportedNode(name, WHO, "its input is analog; feed it spikes or counts")
    fed = {name: _synapses_into(graph, name) for name, node in graph.nodes.items() if isinstance(node, Neuron)}
    owner: dict[str, str] = {}
    for neuron, synapses in fed.items():
        for synapse in synapses:
            if owner.setdefault(synapse, neuron) != neuron:
                raise UnsupportedNode(
                    synapse, WHO, f"it feeds '{owner[synapse]}' and '{neuron}', which have scales of their own; copy it"
                )
    for name, node in graph.nodes.items():
        if isinstance(node, Synapse) and name not in owner:
            raise UnsupportedNode(name, WHO, "no neuron reads its current; put an LI neuron behind it")
    nodes: dict[str, Node] = dict(graph.nodes)
    report: dict[str, Layer] = {}
    for neuron, synapses in fed.items():
        report[neuron] = _quantise_layer(graph, neuron, synapses, nodes)
    metadata = {**graph.metadata, "loihi_scale": {name: layer.scale for name, layer in report.items()}}
    made = Graph(nodes, graph.edges, graph.timing, graph.dt, metadata).validate()
    return made, report


def _synapses_into(graph: Graph, neuron: str) -> dict[str, int]:
    """Synapses whose current reaches a neuron, through sums, reshapes and delays, and how many of their values add."""
    found: dict[str, int] = {}
    waiting: list[tuple[Edge, int]] = [(e, 1) for e in graph.into(neuron)]
    while waiting:
        edge, times = waiting.pop(0)
        source, node = edge.source, graph.nodes[edge.source]
        if isinstance(node, Synapse):
            found[source] = found.get(source, 0) + times
        elif isinstance(node, PASSES):
            window = node.kernel[0] * node.kernel[1] if isinstance(node, SumPool2d) else 1
            waiting += [(e, times * window) for e in graph.into(source)]
        else:
            raise UnsupportedNode(
                neuron, WHO, f"{node.kind} '{source}' enters it without weights; put a Linear or Conv between them"
            )
    return found


def _clip(layer: str, what: str, value: float, allowed: str) -> GraphError:
    return GraphError(f"Loihi's fixed point, layer '{layer}': {what} is {value:g}, {allowed}; nothing is clipped")


def _within(layer: str, what: str, value: NDArray[Any], low: int, high: int, hint: str) -> None:
    """Refuse what would have to be clipped."""
    for bad in value[(value < low) | (value > high)][:1]:
        raise _clip(layer, what, float(bad), f"allowed is {low} to {high} ({hint})")


def _quantise_layer(graph: Graph, name: str, synapses: Mapping[str, int], nodes: dict[str, Node]) -> Layer:
    node = graph.nodes[name]
    assert isinstance(node, Neuron)
    found = find(node.program)
    if found is None or node.arithmetic is not None:
        raise UnsupportedNode(
            name, WHO, f"it holds IF, LIF and CubaLIF (decay form, gain 1) and LI in floats, not '{node.program.name}'"
        )
    values = {k: v.astype(np.float64) for k, v in resolve(node.program, node.parameters).items()}
    layers = [graph.nodes[s] for s in synapses]
    scale, limited_by = _scale(layers, values, found)
    weight_change, largest = 0.0, 0
    signals = infer(graph)
    for synapse, layer in zip(synapses, layers, strict=True):
        assert isinstance(layer, Synapse)
        weight = 2 * np.rint(layer.weight.astype(np.float64) * scale / 2)
        _within(synapse, "a weight", weight, -256, LARGEST_WEIGHT, "8 bits with sign, even")
        weight_change = max(weight_change, float(np.max(np.abs(weight / scale - layer.weight), initial=0.0)))
        bias, constant = None, 0
        if layer.bias is not None:
            bias = np.rint(layer.bias.astype(np.float64) * scale)
            weight_change = max(weight_change, float(np.max(np.abs(bias / scale - layer.bias), initial=0.0)))
            constant = int(np.max(np.abs(bias), initial=0))
            bias = bias.astype(np.float32)
        arriving = sum(signals[e.source].maximum or 1 for e in graph.into(synapse, "in"))
        rows = np.abs(weight).reshape(weight.shape[0], -1).sum(axis=1)
        largest += (int(rows.max(initial=0)) * arriving + constant) * synapses[synapse]
        nodes[synapse] = replace(
            layer, weight=weight.astype(np.float32), bias=bias, grid=None, arithmetic=SYNAPSE, weight_bits=8
        )
    made = program(found)
    integers, changes = _parameters(name, values, found, scale)
    nodes[name] = replace(node, program=made, parameters=integers, arithmetic=arithmetic(made), learnable=())
    return Layer(scale, limited_by, weight_change, changes["threshold"], changes["decay"], largest)


def _scale(layers: list[Node], values: Mapping[str, NDArray[Any]], found: Found) -> tuple[float, str]:
    """The largest scale at which nothing clips, and what set it."""
    most: dict[str, float] = {}

    def bound(what: str, limit: float, value: NDArray[Any] | None) -> None:
        largest = 0.0 if value is None else float(np.max(np.abs(value), initial=0.0))
        if largest > 0:
            most[what] = min(most.get(what, np.inf), limit / largest)

    for layer in layers:
        assert isinstance(layer, Synapse)
        bound("weights", LARGEST_WEIGHT, layer.weight)
        bound("bias", LARGEST_CURRENT, layer.bias)
    if found.kind != "LI":
        bound("threshold", LARGEST_THRESHOLD, values["threshold"])
    if found.reset == "to_value":
        bound("reset", LARGEST_THRESHOLD, values["v_reset"])
    if found.leak:
        bound("leak", LARGEST_LEAK / (1 << SHIFT), values["c"])
    if not most:
        return 1.0, "nothing"
    limited_by = min(most, key=lambda k: most[k])
    return most[limited_by], limited_by


def _parameters(
    name: str, values: Mapping[str, NDArray[Any]], found: Found, scale: float
) -> tuple[dict[str, NDArray[np.float32]], dict[str, float]]:
    """The program's parameters in integers (decays as k/4096), and how far they moved."""
    out: dict[str, NDArray[np.float32]] = {}
    changes = {"threshold": 0.0, "decay": 0.0}

    def decay(target: str, source: str, high: int) -> None:
        beta = values.get(source, np.float64(1.0))
        kept = np.rint(UNITY * beta)
        # Lava keeps 12 bits of what is lost: dv in 0..4095, and du + 1 in 1..4096
        _within(name, f"4096·{source}", np.atleast_1d(kept), high - UNITY + 1, high, f"{target}, 12 bits")
        out[target] = (kept / UNITY).astype(np.float32)
        changes["decay"] = max(changes["decay"], float(np.max(np.abs(kept / UNITY - beta))))

    decay("decay_v", "beta", UNITY)
    if found.kind == "CubaLIF":
        decay("decay_u", "beta_syn", UNITY - 1)
    if found.kind != "LI":
        threshold = np.rint(values["threshold"] * scale)
        _within(name, "the threshold", np.atleast_1d(threshold), 0, LARGEST_THRESHOLD, "17 bits")
        lost = np.atleast_1d((threshold == 0) & (values["threshold"] > 0))
        if lost.any():
            raise _clip(
                name, "the smallest threshold", float(np.min(values["threshold"])), f"at scale {scale:g} it rounds to 0"
            )
        changes["threshold"] = float(np.max(np.abs(threshold / scale - values["threshold"])))
        out["threshold"] = (threshold * (1 << SHIFT)).astype(np.float32)
    if found.reset == "to_value":
        level = np.rint(values["v_reset"] * scale)
        out["v_reset"] = (level * (1 << SHIFT)).astype(np.float32)
    if found.leak:
        out["bias"] = mantissas(np.rint(values["c"] * scale * (1 << SHIFT)))[2].astype(np.float32)
    return out, changes


def mantissas(bias: NDArray[Any]) -> tuple[NDArray[np.int64], int, NDArray[np.int64]]:
    """A bias as Lava keeps it: 13-bit mantissas with one exponent of 3 bits, and their value."""
    exponent = 0
    while exponent < 7 and np.max(np.abs(np.rint(bias / (1 << exponent))), initial=0) > 4095:
        exponent += 1
    mantissa = np.rint(bias / (1 << exponent)).astype(np.int64)
    return mantissa, exponent, mantissa << exponent
