"""The nodes of a graph: frozen dataclasses with numpy arrays and static shapes.

Shapes are without batch and time. A node adds up the edges that enter its port ``in``; other ports take one edge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from neuroaccel.program import Arithmetic, Program

if TYPE_CHECKING:
    from neuroaccel.graph.graph import Graph

Array = NDArray[np.float32]
EdgeKind = Literal["binary", "count", "analog"]
Pair = tuple[int, int]
LATE_PORTS = ("third", "post")


@dataclass(frozen=True)
class ValueGrid:
    """Grid of an analog edge: values are rounded to whole multiples of 2^-frac and clipped to [low, high] multiples."""

    frac: int
    low: int
    high: int


@dataclass(frozen=True)
class WeightGrid:
    """Grid of the weights that feed one target: every weight and bias is k·2^-q.

    Arguments:
        q: exponent of the grid.
        largest_change: largest distance that snapping moved a weight or bias.
    """

    q: int
    largest_change: float = 0.0


@dataclass(frozen=True)
class Plastic:
    """A three-factor rule on a synapse: E = λ·E + x·y;  Δw = rate·m·E, rounded to the grid, clipped to ±bound.

    ``m`` is the third factor, one value that arrives at the synapse's port ``third``; ``y`` is what arrives at port
    ``post``, in the shape of the synapse's output. Both are read at the end of the tick, when every node has run, and
    the new weights hold from the next tick on: so ``y`` may come from the neurons that the synapse itself drives.
    docs/contracts.md states the order of the operations. A weight beyond the bound stays where it is until it moves.

    Arguments:
        trace_decay: λ, from 0 to 1.
        rate: of any sign; 0 learns nothing.
        bound: the largest weight that learning reaches, at least one step of the grid.
    """

    trace_decay: float
    rate: float
    bound: float

    def limit(self, q: int) -> float:
        """The bound, rounded down to the grid 2^-q."""
        return math.ldexp(math.floor(math.ldexp(self.bound, q)), -q)


@dataclass(frozen=True, eq=False)
class Node:
    """Base of all nodes. ``ports`` are the inputs that must be fed, ``optional_ports`` those that may."""

    ports: ClassVar[tuple[str, ...]] = ("in",)
    optional_ports: ClassVar[tuple[str, ...]] = ()

    @property
    def kind(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, eq=False)
class Input(Node):
    """Where values enter: ``shape``, the kind of its edge, its largest count, and the grid of analog values."""

    ports: ClassVar[tuple[str, ...]] = ()
    shape: tuple[int, ...]
    edge: EdgeKind = "binary"
    maximum: int = 1
    grid: ValueGrid | None = None


@dataclass(frozen=True, eq=False)
class Output(Node):
    """A named result."""


@dataclass(frozen=True, eq=False)
class Constant(Node):
    """The same values at every tick (a table of positions, a bias current)."""

    ports: ClassVar[tuple[str, ...]] = ()
    value: Array


@dataclass(frozen=True, eq=False)
class Synapse(Node):
    """Base of the nodes whose weights turn events into currents.

    Arguments:
        weight, bias: the arrays; a bias is part of the sum.
        grid: the grid that weight and bias lie on, ``None`` if they were not snapped.
        arithmetic: integer arithmetic, ``None`` for floating point.
        plastic: a learning rule; the weights then belong to the session's state.
        weight_bits: stored width of one weight.
        unfolded_nominal: products per tick of the layer as it was before a pool was folded in (0: not folded).
    """

    optional_ports: ClassVar[tuple[str, ...]] = LATE_PORTS
    weight: Array
    bias: Array | None = None
    grid: WeightGrid | None = None
    arithmetic: Arithmetic | None = None
    plastic: Plastic | None = None
    weight_bits: int = 32
    unfolded_nominal: int = 0


@dataclass(frozen=True, eq=False)
class Linear(Synapse):
    """y[..., o] = Σ_i weight[o, i]·x[..., i] + bias[o], over the last axis."""


@dataclass(frozen=True, eq=False)
class Conv1d(Synapse):
    """torch's cross-correlation: weight [out, in/groups, K], input [in, L]."""

    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Conv2d(Synapse):
    """torch's cross-correlation: weight [out, in/groups, Ky, Kx], input [in, H, W]."""

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Dendrite(Node):
    """Nonlinear dendritic integration: y = W·x; z = V·x; i = (y·z + y) + b, each rounded; dense, or conv if ``stride``.

    Source: NSPDI-SNN, arXiv 2508.21566 (the current's equation).
    """

    weight: Array
    gate: Array
    bias: Array | None = None
    grid: WeightGrid | None = None
    gate_grid: WeightGrid | None = None
    stride: Pair | None = None
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    weight_bits: int = 32
    arithmetic: Arithmetic | None = None


@dataclass(frozen=True, eq=False)
class Pool2d(Node):
    """Base of the poolings over [C, H, W]; padding counts as zero (and, for the average, as part of the window)."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)


@dataclass(frozen=True, eq=False)
class SumPool2d(Pool2d):
    """Sum over the window."""


@dataclass(frozen=True, eq=False)
class AvgPool2d(Pool2d):
    """Mean over the window."""


@dataclass(frozen=True, eq=False)
class MaxPool2d(Pool2d):
    """Spike-OR over the window; its input must be binary."""


@dataclass(frozen=True, eq=False)
class Flatten(Node):
    """Merge the axes ``start`` to ``end`` (both included, counted without batch) into one."""

    start: int = 0
    end: int = -1


@dataclass(frozen=True, eq=False)
class Reshape(Node):
    """The same values in C-order under another shape."""

    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Select(Node):
    """Entries ``indices`` along ``axis``."""

    indices: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True, eq=False)
class Add(Node):
    """The sum of its edges, in the order of their names."""


@dataclass(frozen=True, eq=False)
class Multiply(Node):
    """The product of what arrives at ``in`` and at ``gate``; a gate's size-1 axes are repeated."""

    ports: ClassVar[tuple[str, ...]] = ("in", "gate")


@dataclass(frozen=True, eq=False)
class Table(Node):
    """values[x − low], x whole and clipped to the table: a nonlinearity that is exact."""

    values: Array
    low: int = 0


@dataclass(frozen=True, eq=False)
class Delay(Node):
    """What arrived ``ticks`` ticks ago, zero before; ``ticks`` is one whole number or one per element."""

    ticks: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Neuron(Node):
    """A population that runs a neuron program.

    Arguments:
        program: the arithmetic of one tick.
        parameters: name → float32 array, 0-d or of the layer's shape.
        shape: the population's shape.
        arithmetic: integer arithmetic, ``None`` for floating point.
        learnable, surrogate, slope, detach_reset: training fields, carried so that a graph can be trained on.
    """

    program: Program
    parameters: Mapping[str, Array]
    shape: tuple[int, ...]
    arithmetic: Arithmetic | None = None
    learnable: tuple[str, ...] = ()
    surrogate: str = "atan"
    slope: float = 2.0
    detach_reset: bool = True

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Readout(Node):
    """A decision with a running value: spike_count, or the mean, max or last of what arrives."""

    how: Literal["spike_count", "mean_membrane", "max_membrane", "last_membrane"] = "spike_count"


@dataclass(frozen=True, eq=False)
class Attention(Node):
    """Heads of attention of one query over K keys; ports q [D], k [K, D], v [K, D] → [D].

    ``softmax``: softmax(scale·q·k)·v (close). ``counts``: (q·k)·v·2^-shift on whole numbers, without softmax (exact).
    A key at which what arrives at the optional port ``mask``, [K] and binary, is 0 takes no part; where no key takes
    part the result is 0. Without a mask a row of zeros is a key like any other to a softmax, and nothing to counts.

    Arguments:
        heads: the D features are that many groups in a row, each with an attention of its own.
        how: ``softmax`` or ``counts``.
        shift: of counts, at least 0.
        scale: of the softmax; None is 1/√(D/heads).
    """

    ports: ClassVar[tuple[str, ...]] = ("q", "k", "v")
    optional_ports: ClassVar[tuple[str, ...]] = ("mask",)
    heads: int
    how: Literal["softmax", "counts"] = "counts"
    shift: int = 0
    scale: float | None = None


@dataclass(frozen=True, eq=False)
class LayerNorm(Node):
    """(x − mean)/√(var + ε)·weight + bias over the last axis (close)."""

    weight: Array
    bias: Array
    epsilon: float = 1e-5


@dataclass(frozen=True, eq=False)
class Softmax(Node):
    """exp(x)/Σ exp(x) over the last axis (close)."""


@dataclass(frozen=True, eq=False)
class Memory(Node):
    """The last ``capacity`` values, this tick's the last of them, zero where there were none: [..] → [capacity, ..]."""

    capacity: int


@dataclass(frozen=True, eq=False)
class Window(Node):
    """Turns ticks into one: [..] → [width, ..], oldest first, once every ``stride`` ticks.

    It and what stands behind it runs at its tick width − 1 for the first time and then every ``stride``. At the other
    ticks these nodes do not run: states stand, and they give 0, but for a Readout and what only passes it on (Output,
    Probe, Flatten, Reshape, Select, Add), which give its running value (0 before its first tick). So everything keeps
    one row per tick of the graph, whatever its clock.
    """

    width: int
    stride: int


@dataclass(frozen=True, eq=False)
class Keep(Node):
    """Drops the ticks at which ``mask`` is 0, per sample, and passes on the gap to the neurons behind it.

    At a dropped tick nothing behind it runs and everything gives 0, or a Readout's running value, as with a Window.
    Delays, Memories, Windows, recurrent edges and pipelined synapses behind it count the ticks that are kept. Neurons
    alone know of the others: over a gap they make gap − 1 silent steps (i = 0, no bias; a spike in them resets but is
    not sent) and then the kept one. The gap is in ticks of the graph, or of the last Window before: Keeps in a row add
    up. A neuron's recorded state at a dropped tick is that after the silent step. A Scope stands still over a gap.
    """

    ports: ClassVar[tuple[str, ...]] = ("in", "mask")


@dataclass(frozen=True, eq=False)
class Probe(Node):
    """Marks where a session may stop or resume; passes its input on. ``threshold``: confidence at which it stops."""

    threshold: float = 1.0


@dataclass(frozen=True, eq=False)
class Scope(Node):
    """A graph with a clock of its own: ``ticks`` steps of it for every tick of the parent.

    Arguments:
        graph: the inner graph, one Input per port.
        ticks: inner steps per outer tick.
        input: ``slice`` feeds entry t of the first axis at step t, ``repeat`` feeds the same value each step.
        state: ``carry`` keeps inner state from tick to tick, ``reset`` starts fresh.
        output: ``all`` stacks the steps, ``last`` or ``sum`` of them (added in their order).
        port_names: the inner graph's Inputs, in their order.
    """

    graph: Graph
    ticks: int
    input: Literal["slice", "repeat"] = "repeat"
    state: Literal["carry", "reset"] = "reset"
    output: Literal["all", "last", "sum"] = "last"
    port_names: tuple[str, ...] = field(default=("in",))


def ports_of(node: Node) -> tuple[str, ...]:
    """The ports that must be fed (a scope has one per input of its graph)."""
    return node.port_names if isinstance(node, Scope) else node.ports
