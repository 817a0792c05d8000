"""A block of a spiking decision transformer: one token per tick, its keys and values in a cache.

Every token passes a scope of T micro-steps in which one layer gives queries, keys and values as spikes, gated per head
by a phase code; their counts are what the attention over the last K tokens (a band, as the cache is) works on; a router
weighs the heads by what they say. The exact form holds phases and router in tables and has no softmax.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from neuroaccel.graph import (
    Add,
    Attention,
    Constant,
    Edge,
    Flatten,
    Graph,
    Input,
    LayerNorm,
    Linear,
    Memory,
    Multiply,
    Node,
    Output,
    Reshape,
    Scope,
    Select,
    Softmax,
    Table,
    WeightGrid,
)
from neuroaccel.program import LIF
from tests.graphs.parts import neuron, weights

MICRO_STEPS, WIDTH, HEADS, BAND, PERIOD = 4, 8, 2, 3, 6


def _micro_steps() -> Graph:
    """One micro-step: spikes of the token → q, k, v spikes, each head let through where its phase is 1."""
    per_head = WIDTH // HEADS
    nodes: dict[str, Node] = {
        "token": Input((WIDTH,)),
        "phase": Input((HEADS,)),
        "project": Linear(weights(11, 3 * WIDTH, WIDTH), grid=WeightGrid(5)),
        "qkv": neuron(LIF(0.5, 0.5), 3 * WIDTH),
        "by_head": Reshape((3, HEADS, per_head)),
        "phase_by_head": Reshape((1, HEADS, 1)),
        "gated": Multiply(),
        "flat": Flatten(),
        "spikes": Output(),
    }
    edges = (
        Edge("token", "project"),
        Edge("project", "qkv"),
        Edge("qkv", "by_head"),
        Edge("by_head", "gated"),
        Edge("phase", "phase_by_head"),
        Edge("phase_by_head", "gated", "gate"),
        Edge("gated", "flat"),
        Edge("flat", "spikes"),
    )
    return Graph(nodes, edges)


def _block(how: Mapping[str, Node], router: tuple[str, ...]) -> Graph:
    heads, steps = np.arange(HEADS), np.arange(MICRO_STEPS)
    offsets = PERIOD * (MICRO_STEPS * heads[None, :] + steps[:, None])
    # Entry (head, micro-step, tick in the period): 1 where the sine of the head's phase is positive.
    tick = np.arange(PERIOD) + steps[:, None] / MICRO_STEPS
    phases = np.stack([np.sin(2 * np.pi * (h + 1) * tick / PERIOD + 0.3) > 0 for h in heads])
    pick = {f"pick_{port}": Select(tuple(range(i * WIDTH, (i + 1) * WIDTH))) for i, port in enumerate("qkv")}
    nodes: dict[str, Node] = {
        "token": Input((MICRO_STEPS, WIDTH)),
        "step": Input((MICRO_STEPS, HEADS), "count", PERIOD - 1),
        "offset": Constant(offsets.astype(np.float32)),
        "position": Add(),
        "phase": Table(phases.reshape(-1).astype(np.float32)),
        "micro_steps": Scope(
            _micro_steps(), MICRO_STEPS, input="slice", state="reset", output="sum", port_names=("token", "phase")
        ),
        **pick,
        "keys": Memory(BAND),
        "values": Memory(BAND),
        **how,
        "by_head": Reshape((HEADS, WIDTH // HEADS)),
        "weigh": Multiply(),
        "concat": Flatten(),
        "mix": Linear(weights(14, WIDTH, WIDTH), grid=WeightGrid(5) if "norm" not in how else None),
        "lif": neuron(LIF(0.5, 1.0), WIDTH),
        "out": Output(),
    }
    after = "norm" if "norm" in how else "attention"
    steps_of_router = (after, *router, "gates")
    edges = (
        Edge("step", "position"),
        Edge("offset", "position"),
        Edge("position", "phase"),
        Edge("token", "micro_steps", "token"),
        Edge("phase", "micro_steps", "phase"),
        *(Edge("micro_steps", name) for name in pick),
        Edge("pick_k", "keys"),
        Edge("pick_v", "values"),
        Edge("pick_q", "attention", "q"),
        Edge("keys", "attention", "k"),
        Edge("values", "attention", "v"),
        *((Edge("attention", "norm"),) if after == "norm" else ()),
        *(Edge(a, b) for a, b in itertools.pairwise(steps_of_router)),
        Edge(after, "by_head"),
        Edge("by_head", "weigh"),
        Edge("gates", "weigh", "gate"),
        Edge("weigh", "concat"),
        Edge("concat", "mix"),
        Edge("mix", "lif"),
        Edge("lif", "out"),
    )
    return Graph(nodes, edges, metadata={"context": BAND})


def build() -> Graph:
    """An SNN-DT block that is exact: counts instead of softmax, phases and router gates from tables."""
    logits = np.arange(-64, 65) / 32
    sigmoid = np.round(256 / (1 + np.exp(-logits))) / 256
    mean = np.kron(np.eye(HEADS), np.ones(WIDTH // HEADS))
    exact: dict[str, Node] = {
        "attention": Attention(HEADS, "counts"),
        "head_sums": Linear(mean.astype(np.float32), grid=WeightGrid(0)),
        "route": Linear(weights(12, HEADS, HEADS, q=0, largest=2, living=1.0), grid=WeightGrid(0)),
        "alpha": Table(sigmoid.astype(np.float32), low=-64),
        "gates": Reshape((HEADS, 1)),
    }
    return _block(exact, ("head_sums", "route", "alpha"))


def build_softmax() -> Graph:
    """The sibling as published designs have it: softmax attention, LayerNorm, a softmax router; close, not exact."""
    close: dict[str, Node] = {
        "attention": Attention(HEADS, "softmax"),
        "norm": LayerNorm(np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)),
        "route": Linear(weights(13, HEADS, WIDTH)),
        "alpha": Softmax(),
        "gates": Reshape((HEADS, 1)),
    }
    return _block(close, ("route", "alpha"))
