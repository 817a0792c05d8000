"""Grids: what a target can receive stays below 2^24, whatever brings it, and no grid is coarser than it must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuroaccel.graph import (
    Conv2d,
    Edge,
    Flatten,
    Graph,
    Input,
    Linear,
    Neuron,
    Output,
    Plastic,
    SumPool2d,
    ValueGrid,
    WeightGrid,
    chain,
    infer,
)
from neuroaccel.graph.snap import snap
from neuroaccel.program import LIF
from tests.graphs.parts import neuron

RNG = np.random.default_rng(0)


def population(*shape: int) -> Neuron:
    return neuron(LIF(0.5, 1.0), *shape)


def most(node: Any, window: int = 1) -> float:
    """The largest sum that one target can receive, in whole multiples of its grid."""
    assert node.grid is not None
    weight = np.abs(node.weight.astype(np.float64))
    if node.plastic is not None:
        weight = np.maximum(weight, node.plastic.bound)
    total = weight.reshape(len(weight), -1).sum(axis=1)
    if node.bias is not None:
        total = total + np.abs(node.bias.astype(np.float64))
    return float(total.max() * 2.0**node.grid.q * window)


def random(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def test_a_bias_counts_as_much_as_the_weights() -> None:
    bias = np.array([3000.0, -0.5], np.float32)
    snapped = snap(chain({"x": Input((4,)), "w": Linear(random(2, 4), bias), "n": population(2), "y": Output()}))
    assert 2**23 <= most(snapped.nodes["w"]) < 2**24
    assert infer(snapped)["w"].exact


def test_a_learning_rule_may_move_every_weight_to_its_bound() -> None:
    head = Linear(random(2, 4) / 100, plastic=Plastic(0.9, 0.1, bound=5.0), grid=WeightGrid(20))
    nodes = {
        "x": Input((4,)),
        "m": Input((1,), "analog", grid=ValueGrid(4, -16, 16)),
        "w": head,
        "n": population(2),
        "y": Output(),
    }
    edges = (Edge("x", "w"), Edge("w", "n"), Edge("m", "w", "third"), Edge("n", "w", "post"), Edge("n", "y"))
    nodes["w"] = Linear(np.round(head.weight * 2**20).astype(np.float32) / 2**20, plastic=head.plastic, grid=head.grid)
    snapped = snap(Graph(nodes, edges).validate())
    assert 2**23 <= most(snapped.nodes["w"]) < 2**24


@pytest.mark.parametrize("window", [2, 4])
def test_a_pool_behind_a_synapse_adds_its_values_up(window: int) -> None:
    layers = {
        "x": Input((1, 8, 8)),
        "c": Conv2d(random(3, 1, 1, 1)),
        "p": SumPool2d((window, window), (window, window)),
        "f": Flatten(),
        "n": population(3 * (8 // window) ** 2),
        "y": Output(),
    }
    snapped = snap(chain(layers))
    assert 2**23 <= most(snapped.nodes["c"], window**2) < 2**24
