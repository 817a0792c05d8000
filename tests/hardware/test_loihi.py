"""Loihi's integers at their edges: the wrap of the current, and what a layer can receive at most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neuroaccel import engine
from neuroaccel.graph import Conv2d, Flatten, Input, Neuron, Output, SumPool2d, ValueGrid, chain
from neuroaccel.hardware.lava.loihi import arithmetic, program, quantise
from neuroaccel.hardware.lava.match import Found
from neuroaccel.program import LIF
from tests.graphs.parts import neuron


def test_the_wrap_leaves_plus_two_to_the_23_as_it_is_and_moves_the_others() -> None:
    """u in (−2²³, 2²³], as Lava wraps: a state of 24 bits could not hold the upper end."""
    made = program(Found("CubaLIF"))
    values = {"decay_u": 0.0, "decay_v": 0.0, "threshold": float(2**23)}
    population = Neuron(made, {k: np.float32(v) for k, v in values.items()}, (5,), arithmetic=arithmetic(made))
    entering = Input((5,), "analog", grid=ValueGrid(0, -(2**18), 2**18))
    graph = chain({"x": entering, "n": population, "y": Output()})
    x = np.array([[[2**17 - 1, 2**17, 2**17 + 1, 1 - 2**17, -(2**17)]]])
    states = engine.run(graph, x, record=True, arithmetic="integer").trace.states["n"]
    assert states["u"].ravel().tolist() == [2**23 - 64, 2**23, 64 - 2**23, 64 - 2**23, 2**23]
    assert states["v"].ravel().tolist() == [2**23 - 64, 2**23 - 1, 64 - 2**23, 64 - 2**23, 2**23 - 1]  # v saturates


def test_the_largest_current_counts_every_value_that_a_pool_adds_up() -> None:
    weight = np.array([1.0, -1.0], np.float32).reshape(1, 2, 1, 1)
    layers = {
        "x": Input((2, 4, 4)),
        "c": Conv2d(weight),
        "p": SumPool2d((2, 2), (2, 2)),
        "f": Flatten(),
        "n": neuron(LIF(0.5, 1.0), 4),
        "y": Output(),
    }
    graph = chain(layers)
    made, report = quantise(graph)
    largest = int(np.abs(made.nodes["c"].weight).sum()) * 4  # type: ignore[attr-defined]
    assert report["n"].largest_current == largest == 2 * 254 * 4
    x = np.ones((1, 1, 2, 4, 4))
    x[:, :, 1] = 0  # only what the positive weight brings: half of the bound, for the bound takes both signs
    currents = engine.run(made, x, record=True, arithmetic="integer").trace.currents["n"]
    assert currents.max() == largest // 2
    assert not report["n"].may_wrap
    assert quantise(replace(graph, nodes={**layers, "x": Input((2, 4, 4), "count", 65)}))[1]["n"].may_wrap
