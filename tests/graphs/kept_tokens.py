"""Temporal pruning: ticks that a mask drops, per sample, with their gaps passed on."""

from __future__ import annotations

from neuroaccel.graph import Attention, Edge, Graph, Input, Keep, Linear, Memory, Node, Output, Readout, WeightGrid
from neuroaccel.program import LIF
from tests.graphs.parts import neuron, weights

WIDTH, HEADS, BAND = 6, 2, 4


def build() -> Graph:
    """HTP tokens with gaps: a first mask drops ticks before the token layer, a second, later one drops kept tokens
    before the attention; each neuron behind a Keep catches up over the gap."""
    nodes: dict[str, Node] = {
        "events": Input((10,)),
        "frames": Input((1,)),
        "tokens": Input((1,)),
        "keep_frames": Keep(),
        "embed": Linear(weights(31, WIDTH, 10), grid=WeightGrid(5)),
        "embedded": neuron(LIF(0.5, 0.5), WIDTH),
        "keep_mask": Keep(),
        "keep_tokens": Keep(),
        "keys": Memory(BAND),
        "attention": Attention(HEADS, "counts", shift=1),
        "mix": Linear(weights(32, 4, WIDTH), grid=WeightGrid(5)),
        "lif": neuron(LIF(0.9, 1.0), 4),
        "readout": Readout("spike_count"),
        "class": Output(),
    }
    edges = (
        Edge("events", "keep_frames"),
        Edge("frames", "keep_frames", "mask"),
        Edge("keep_frames", "embed"),
        Edge("embed", "embedded"),
        Edge("tokens", "keep_mask"),  # the second mask lives on the first one's clock
        Edge("frames", "keep_mask", "mask"),
        Edge("embedded", "keep_tokens"),
        Edge("keep_mask", "keep_tokens", "mask"),
        Edge("keep_tokens", "keys"),
        Edge("keep_tokens", "attention", "q"),
        Edge("keys", "attention", "k"),
        Edge("keys", "attention", "v"),
        Edge("attention", "mix"),
        Edge("mix", "lif"),
        Edge("lif", "readout"),
        Edge("readout", "class"),
    )
    return Graph(nodes, edges, dt=0.005)
