"""The Spiking Decision Transformer as a Graph, one token per tick, and its weights on the grids that make it exact.

With the counts attention every node is exact: the graph in any executor, the module's parallel pass and its cached step
give the same spikes and logits, bit for bit, once the module is :func:`snapped`. The nodes of a token:

    token → embed → Scope(LIF) ─────────────┬──────────────────────── spikes [T, d]
    step  → phase (table) ────┐             │
    Scope(project → qkv LIF → × phase), summed → Select q, k, v → Memory k, v → Attention → level (table)
      → × α (sums → route → table) → mix ─┐ │
    Scope(mix LIF → widen → LIF → narrow → LIF) → the next block, or, summed, the head
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.routing import LEVELS, ROUTE_BITS, Router
from neuroaccel.decision.spiking import STREAM_GRID, TOKEN_GRID, SpikingBlock, SpikingDT
from neuroaccel.errors import GraphError, UnsupportedNode
from neuroaccel.graph import nodes as n
from neuroaccel.graph.graph import Edge, Graph
from neuroaccel.graph.signal import WHOLE
from neuroaccel.neurons import LIF, Neuron

Array = NDArray[np.float32]
FINEST = 40


def snapped(model: SpikingDT, bound: float = 0.0) -> SpikingDT:
    """A copy whose weights lie on their grids, so that its graph computes the same to the last bit.

    Every synapse has its target for itself, so its grid 2^-q is the finest for which every neuron's
    Σ\\|k\\|·(largest input) + \\|k_bias\\| stays below 2^24 (docs/contracts.md, section 4). Twice changes nothing.

    Arguments:
        model: stays as it is.
        bound: of a head that shall learn while it runs (:class:`~neuroaccel.graph.Plastic`).
    """
    result = copy.deepcopy(model)
    with torch.no_grad():
        for layer, most, frac in _inputs(result):
            q = _grid(layer, most, frac, bound if layer is result.head else 0.0)
            layer.weight.copy_(_rounded(layer.weight, q))
            if layer.bias is not None:
                layer.bias.copy_(_rounded(layer.bias, q + frac))
        for module in result.modules():
            if isinstance(module, Router) and module.exact:
                weight, bias = module.whole()
                module.linear.weight.copy_(weight / (1 << ROUTE_BITS))
                module.linear.bias.copy_(bias / module.unit)
    return result


def head_grid(model: SpikingDT, bound: float = 0.0) -> int:
    """Exponent q of the head's grid 2^-q, with weights that may grow to ``bound``."""
    return _grid(*_inputs(model)[-1], bound)


def _inputs(model: SpikingDT) -> list[tuple[nn.Linear, int, int]]:
    """Every synapse on a grid, its input's largest \\|integer\\| and the exponent of the input's grid."""
    c = model.config
    spiking = c.stream == "spiking"
    stream = (1, 0) if spiking else (STREAM_GRID.high, STREAM_GRID.frac)
    found = [(model.embed, TOKEN_GRID.high, TOKEN_GRID.frac)]
    for block in model.blocks:
        assert isinstance(block, SpikingBlock)
        found += [(block.project, *stream)]
        if block.exact:
            found += [(block.mix, *_mixed(block))]
        found += [(block.widen, *stream), (block.narrow, *((1, 0) if spiking else (c.micro_steps, 0)))]
    return [*found, (model.head, *((c.micro_steps, 0) if spiking else stream))]


def _mixed(block: SpikingBlock) -> tuple[int, int]:
    """What enters W_o: levels of 1/16, times gates of 1/16."""
    return ((LEVELS - 1) ** 2, 8) if block.router is not None else (LEVELS - 1, 4)


def _grid(layer: nn.Linear, most: int, frac: int, bound: float = 0.0) -> int:
    """The finest grid for which no sum can reach 2^24 of its units, with weights that may grow to ``bound``."""
    weight = layer.weight.detach().double().cpu().numpy()
    bias = _bias(layer).double().cpu().numpy()
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise GraphError("a weight is not finite; expected finite numbers to put on a grid")

    weight = np.maximum(np.abs(weight), bound)

    def top(q: int) -> float:
        total = np.rint(np.ldexp(weight, q)).sum(1) * most + np.abs(np.rint(np.ldexp(bias, q + frac)))
        return float(total.max())

    q = FINEST
    while top(q) >= WHOLE:
        q -= 1
    return q


def _bias(layer: nn.Linear) -> Tensor:
    """What a synapse adds, zeros where it has no bias."""
    return layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.detach()


def _rounded(values: Tensor, q: int) -> Tensor:
    return torch.ldexp(torch.ldexp(values.double(), torch.tensor(q)).round(), torch.tensor(-q)).to(values.dtype)


def graph_inputs(model: SpikingDT, x: Tensor, steps: Tensor) -> dict[str, Array]:
    """What :func:`to_graph`'s Inputs take for token vectors: ``[B, L, token_size]``, ``[B, L]`` → ``[L, B, ...]``."""
    given = {"token": x.detach().transpose(0, 1).contiguous().numpy()}
    if model.phase is not None or model.config.attention == "softmax":
        given["step"] = steps.transpose(0, 1)[..., None].to(torch.float32).contiguous().numpy()
    return given


class _Builder:
    """Nodes and edges as they come; a block's have its number in front."""

    def __init__(self) -> None:
        self.nodes: dict[str, n.Node] = {}
        self.edges: list[Edge] = []

    def add(self, name: str, node: n.Node, *sources: str, **ports: str) -> str:
        self.nodes[name] = node
        self.edges += [Edge(source, name) for source in sources]
        self.edges += [Edge(source, name, port) for port, source in ports.items()]
        return name

    def graph(self, metadata: Mapping[str, object] | None = None) -> Graph:
        return Graph(self.nodes, tuple(self.edges), metadata=metadata or {})


def _array(values: Tensor) -> Array:
    return np.ascontiguousarray(values.detach().cpu().numpy().astype(np.float32))


def _linear(layer: nn.Linear, most: int, frac: int, inside: float = 1.0, bound: float = 0.0) -> n.Linear:
    """A synapse on its grid; its inputs in the graph are those of the module over ``inside``, a power of two."""
    q = _grid(layer, most, frac, bound)
    weight, bias = _array(_rounded(layer.weight, q)), _array(_rounded(_bias(layer), q + frac))
    change = max(
        float(np.abs(weight - _array(layer.weight)).max()),
        float(np.abs(bias - _array(_bias(layer))).max()),
    )
    grid = n.WeightGrid(q - int(np.log2(inside)), change)
    return n.Linear(weight * np.float32(inside), None if layer.bias is None else bias, grid)


def _close(layer: nn.Linear, inside: float = 1.0) -> n.Linear:
    return n.Linear(_array(layer.weight) * np.float32(inside), None if layer.bias is None else _array(layer.bias))


def _population(layer: Neuron, *shape: int) -> n.Neuron:
    spec = layer.effective_spec()
    parameters = {name: np.asarray(value, np.float32) for name, value in spec.values.items()}
    return n.Neuron(spec.program, parameters, shape, None, tuple(sorted(spec.learnable)), spec.surrogate, spec.slope)


def to_graph(model: SpikingDT, plastic: n.Plastic | None = None) -> Graph:
    """The model as a graph: one token per tick, three ticks per decision, in the order return, state, action.

    Inputs ``token`` (analog ``[token_size]``, on its grid) and, where the phase code or the softmax attention asks for
    it, ``step`` (count ``[1]``, the environment's timestep); Output ``logits`` (before the tanh of continuous actions).
    A fresh state begins an episode. What :func:`graph_inputs` gives fits.

    Arguments:
        model: its weights are put on their grids; the graph of a model is that of the snapped one.
        plastic: a rule by which the head goes on learning. The Input ``third`` (``[1]``, multiples of 2^-8 up to ±1, at
            every tick) is its third factor; y is 1 at state tokens for the actions whose logit is above 0.

    Returns:
        A valid graph, exact with the counts attention, close with softmax.

    Raises:
        UnsupportedNode: a model with a learned vector of the timestep.
    """
    c = model.config
    if c.timestep:
        reason = "its learned vectors are real numbers on no grid; a model with the phase code has a graph instead"
        raise UnsupportedNode("timestep", "the graph", reason)
    b = _Builder()
    b.add("token", n.Input((c.token_size,), "analog", grid=TOKEN_GRID))
    if model.phase is not None or c.attention == "softmax":
        b.add("step", n.Input((1,), "count", max(c.max_steps - 1, 1)))
    gate = _phase(b, model) if model.phase is not None else None
    mask = ""
    if c.attention == "softmax":
        b.add("one", n.Table(np.ones(1, np.float32)), "step")
        mask = b.add("there", n.Flatten(), b.add("tokens", n.Memory(c.band), "one"))
    here = b.add("embed", _linear(model.embed, TOKEN_GRID.high, TOKEN_GRID.frac), "token")
    if model.after_embed is not None:
        inner = _Builder()
        inner.add("in", n.Input((c.width,), "analog"))
        inner.add("lif", _population(model.after_embed, c.width), "in")
        inner.add("out", n.Output(), "lif")
        here = b.add("embed_spikes", n.Scope(inner.graph(), c.micro_steps, "repeat", "reset", "all"), here)
    for block in model.blocks:
        assert isinstance(block, SpikingBlock)
        here = _block(b, block, c, here, gate, mask)
    head = _linear(model.head, *_inputs(model)[-1][1:], bound=0.0 if plastic is None else plastic.bound)
    if plastic is not None:
        _plastic(b, model, head, plastic, here)
    elif model.after_embed is None:
        b.add("head", _gridded(head, c.width), here)
    else:
        b.add("head", head, here)
    b.add("logits", n.Output(), "head")
    notes = {"decision": c.model_dump(mode="json")}
    return b.graph(notes).validate()


def _phase(b: _Builder, model: SpikingDT) -> str:
    """The step as the phase code of all heads and micro-steps, spread over the features of q, k and v: [T, 3d]."""
    c = model.config
    assert model.phase is not None
    heads, features = c.heads, c.width // c.heads
    table = model.phase.table().detach().permute(1, 2, 0)  # [T, H, max_steps]
    size = c.micro_steps * heads
    offsets = np.arange(size, dtype=np.float32) * np.float32(c.max_steps)
    b.add("steps", n.Select((0,) * size), "step")
    b.add("offset", n.Constant(offsets))
    b.add("position", n.Add(), "steps", "offset")
    b.add("phase", n.Table(_array(table.reshape(-1))), "position")
    b.add("phase_by_step", n.Reshape((c.micro_steps, heads)), "phase")
    spread = tuple(int(h) for h in np.tile(np.repeat(np.arange(heads), features), 3))
    return b.add("phase_gate", n.Select(spread, axis=1), "phase_by_step")


def _plastic(b: _Builder, model: SpikingDT, head: n.Linear, rule: n.Plastic, here: str) -> None:
    """A head that learns: its post-synaptic values are spikes of actions, and only those at state tokens count."""
    c = model.config
    if model.after_embed is None:
        raise GraphError("the head of an analog stream reads a rounded one in a scope and cannot learn there")
    b.add("third", n.Input((1,), "analog", grid=n.ValueGrid(8, -256, 256)))
    b.add("is_state", n.Select((c.token_size - 2,)), "token")
    b.add("head", replace(head, plastic=rule), here, third="third")
    b.add("actions", _population(LIF(beta=0.0, threshold=0.0), c.actions), "head")
    b.add("chosen", n.Multiply(), "actions", gate="is_state")
    b.edges.append(Edge("chosen", "head", "post"))


def _gridded(layer: n.Linear, size: int) -> n.Scope:
    """A synapse that reads the analog stream on its grid: what enters a scope is rounded by its Input."""
    inner = _Builder()
    inner.add("in", n.Input((size,), "analog", grid=STREAM_GRID))
    inner.add("linear", layer, "in")
    inner.add("out", n.Output(), "linear")
    return n.Scope(inner.graph(), 1, "repeat", "reset", "last")


def _block(b: _Builder, block: SpikingBlock, c: DecisionConfig, here: str, gate: str | None, mask: str) -> str:
    d, T, name = c.width, c.micro_steps, f"block{block.index}."
    counts = _queries_keys_values(b, block, c, here, gate)
    for i, part in enumerate("qkv"):
        b.add(name + part, n.Select(tuple(range(i * d, (i + 1) * d))), counts)
    b.add(name + "keys", n.Memory(c.band), name + "k")
    b.add(name + "values", n.Memory(c.band), name + "v")
    ports = {"q": name + "q", "k": name + "keys", "v": name + "values"}
    if block.exact:
        y = b.add(name + "attention", n.Attention(c.heads, "counts"), **ports)
        shift = int(block.shift)
        # ⌊x·2^-shift⌋, and 15 from where the table ends.
        levels = np.arange((LEVELS - 1 << shift) + 1) >> shift
        y = b.add(name + "level", n.Table(levels.astype(np.float32)), y)
    else:
        scale = 1 / (T * T * (d // c.heads) ** 0.5)
        y = b.add(name + "attention", n.Attention(c.heads, "softmax", scale=scale), mask=mask, **ports)
    y = _route(b, block, c, y)
    if block.exact:
        most, frac = _mixed(block)
        mix = _linear(block.mix, most, frac, 2.0**-frac)
    else:
        mix = _close(block.mix, 1 / T)
    current = b.add(name + "mix", mix, y)
    widen, narrow = _layers(block, c)
    inner = _Builder()
    if block.after_mix is None:
        here = b.add(name + "after_attention", n.Add(), here, current)
        inner.add("in", n.Input((d,), "analog", grid=STREAM_GRID))
        inner.add("widen", widen, "in")
        inner.add("hidden", _population(block.after_widen, c.hidden * d), "widen")
        inner.add("out", n.Output(), "hidden")
        hidden = b.add(name + "hidden", n.Scope(inner.graph(), T, "repeat", "reset", "sum"), here)
        return b.add(name + "out", n.Add(), here, b.add(name + "narrow", narrow, hidden))
    assert block.after_narrow is not None
    b.add(name + "current", n.Reshape((1, d)), current)
    b.add(name + "currents", n.Select((0,) * T), name + "current")
    inner.add("spikes", n.Input((d,)))
    inner.add("current", n.Input((d,), "analog"))
    inner.add("mix", _population(block.after_mix, d), "spikes", "current")
    inner.add("widen", widen, "mix")
    inner.add("hidden", _population(block.after_widen, c.hidden * d), "widen")
    inner.add("narrow", narrow, "hidden")
    inner.add("after", _population(block.after_narrow, d), "narrow", "mix")
    inner.add("out", n.Output(), "after")
    last = block.index == c.layers - 1
    scope = n.Scope(inner.graph(), T, "slice", "reset", "sum" if last else "all", ("spikes", "current"))
    return b.add(name + "out", scope, spikes=here, current=name + "currents")


def _layers(block: SpikingBlock, c: DecisionConfig) -> tuple[n.Linear, n.Linear]:
    if block.spiking:
        return _linear(block.widen, 1, 0), _linear(block.narrow, 1, 0)
    return _linear(block.widen, STREAM_GRID.high, STREAM_GRID.frac), _linear(block.narrow, c.micro_steps, 0)


def _queries_keys_values(b: _Builder, block: SpikingBlock, c: DecisionConfig, here: str, gate: str | None) -> str:
    """The scope that gives the counts of q, k and v, [3d]; the phase gates their spikes."""
    d, inner = c.width, _Builder()
    if block.spiking:
        inner.add("spikes", n.Input((d,)))
        project = _linear(block.project, 1, 0)
    else:
        inner.add("spikes", n.Input((d,), "analog", grid=STREAM_GRID))
        project = _linear(block.project, STREAM_GRID.high, STREAM_GRID.frac)
    ports = {"spikes": here}
    if gate is not None:
        inner.add("phase", n.Input((3 * d,)))
        ports["phase"] = gate
    inner.add("project", project, "spikes")
    last = inner.add("qkv", _population(block.qkv, 3 * d), "project")
    if gate is not None:
        last = inner.add("gated", n.Multiply(), last, gate="phase")
    inner.add("out", n.Output(), last)
    name = f"block{block.index}."
    if not block.spiking and gate is not None:
        # A scope feeds all its ports alike: the stream is repeated outside.
        b.add(name + "stream", n.Reshape((1, d)), here)
        ports["spikes"] = b.add(name + "streams", n.Select((0,) * c.micro_steps), name + "stream")
    how = "slice" if block.spiking or gate is not None else "repeat"
    return b.add(name + "counts", n.Scope(inner.graph(), c.micro_steps, how, "reset", "sum", tuple(ports)), **ports)  # type: ignore[arg-type]


def _route(b: _Builder, block: SpikingBlock, c: DecisionConfig, y: str) -> str:
    """Every head's output times its gate, [d]; sixteenths of sixteenths where it is exact."""
    if block.router is None:
        return y
    name, features = f"block{block.index}.", c.width // c.heads
    ones = np.kron(np.eye(c.heads), np.ones(features)).astype(np.float32)
    if not block.router.exact:
        # ours: the sigmoid of the softmax variant as σ(z) = the first of softmax(z, 0).
        weight = np.zeros((2 * c.heads, c.heads), np.float32)
        bias = np.zeros(2 * c.heads, np.float32)
        weight[0::2] = _array(block.router.linear.weight) / np.float32(features * c.micro_steps)
        bias[0::2] = _array(block.router.linear.bias)
        b.add(name + "sums", n.Linear(ones), y)
        b.add(name + "route", n.Linear(weight, bias), name + "sums")
        b.add(name + "pairs", n.Reshape((c.heads, 2)), name + "route")
        b.add(name + "softmax", n.Softmax(), name + "pairs")
        b.add(name + "flat", n.Flatten(), name + "softmax")
        spread = tuple(int(2 * h) for h in np.repeat(np.arange(c.heads), features))
        b.add(name + "gates", n.Select(spread), name + "flat")
    else:
        weight_whole, bias_whole = (_array(t) for t in block.router.whole())
        grid = n.WeightGrid(0)
        b.add(name + "sums", n.Linear(ones, None, grid), y)
        b.add(name + "route", n.Linear(weight_whole, bias_whole, grid), name + "sums")
        b.add(name + "alpha", n.Table(_array(block.router.table), block.router.low), name + "route")
        spread = tuple(int(h) for h in np.repeat(np.arange(c.heads), features))
        b.add(name + "gates", n.Select(spread), name + "alpha")
    return b.add(name + "weighed", n.Multiply(), y, gate=name + "gates")
