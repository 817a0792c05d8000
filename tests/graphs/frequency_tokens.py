"""Tokens that span the whole frequency axis and a short window of time."""

from __future__ import annotations

from neuroaccel.graph import (
    Add,
    Constant,
    Edge,
    Flatten,
    Graph,
    Input,
    Linear,
    Node,
    Output,
    Readout,
    Scope,
    WeightGrid,
    Window,
    chain,
)
from neuroaccel.program import LI, LIF
from tests.graphs.parts import neuron, weights

CHANNELS, WIDTH, STRIDE, TOKENS, FEATURES, STEPS = 20, 4, 3, 5, 8, 4


def _encode_token() -> Graph:
    """A simulation step of one token: its constant current through two layers of neurons."""
    return chain(
        {
            "in": Input((FEATURES,), "analog"),
            "lif1": neuron(LIF(0.5, 0.5), FEATURES),
            "linear": Linear(weights(61, FEATURES, FEATURES), grid=WeightGrid(5)),
            "lif2": neuron(LIF(0.5, 0.5), FEATURES),
            "spikes": Output(),
        }
    )


def _over_tokens() -> Graph:
    """Token by token: S simulation steps each, then a neuron that carries what it saw from token to token."""
    return chain(
        {
            "in": Input((FEATURES,), "analog"),
            "simulate": Scope(_encode_token(), STEPS, output="sum"),
            "mix": Linear(weights(62, 3, FEATURES), grid=WeightGrid(5)),
            "li": neuron(LI(0.9), 3),
            "readout": Readout("mean_membrane"),
            "decision": Output(),
        }
    )


def build() -> Graph:
    """An FFTP encoder: w ticks of all channels make a token every s ticks, embedded without bias; all tokens of a
    recording meet in a second window, get their learned positions, and pass a scope one after the other."""
    nodes: dict[str, Node] = {
        "cochlea": Input((CHANNELS,)),
        "window": Window(WIDTH, STRIDE),
        "flatten": Flatten(),
        "embed": Linear(weights(63, FEATURES, WIDTH * CHANNELS), grid=WeightGrid(5)),
        "tokens": Window(TOKENS, TOKENS),
        "position": Constant(weights(64, TOKENS, FEATURES)),
        "placed": Add(),
        "encoder": Scope(_over_tokens(), TOKENS, input="slice"),
        "class": Output(),
    }
    edges = (
        Edge("cochlea", "window"),
        Edge("window", "flatten"),
        Edge("flatten", "embed"),
        Edge("embed", "tokens"),
        Edge("tokens", "placed"),
        Edge("position", "placed"),
        Edge("placed", "encoder"),
        Edge("encoder", "class"),
    )
    return Graph(nodes, edges, dt=0.01)
