"""Spikes, emissions and states of the kernels are those of the reference, bit for bit, for every known program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.neurons import LIF, Neuron
from neuroaccel.program import NeuronSpec
from neuroaccel.program.language import Assign, Emit, Fire, Parameter, Program, State
from tests.conftest import LONG, examples
from tests.kernels.neurons import NAMES, PROGRAMS, draw_input, draw_spec, forced, spread_of_programs

# Compiling all of them takes minutes the first time.
CHOSEN = spread_of_programs(len(PROGRAMS) if LONG else 30)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.contiguous().view(torch.int32), b.contiguous().view(torch.int32))


def compare(layer: Neuron, x: torch.Tensor, pieces: int = 1) -> float:
    """Assert that both implementations agree, over a sequence cut into pieces; the mean emission."""
    with pytest.MonkeyPatch.context() as patch:
        forced(patch, "torch")
        expected, end = layer(x)
        forced(patch, "numba")
        state, found = None, []
        for part in x.tensor_split(pieces):
            y, state = layer(part, state)
            found.append(y)
    assert same_bits(torch.cat(found), expected)
    for name, value in end.items():
        assert same_bits(state[name], value), name
    return float(expected.abs().mean())


@pytest.mark.parametrize("at", CHOSEN, ids=[NAMES[k] for k in CHOSEN])
def test_a_known_program_equals_the_reference(at: int) -> None:
    rng = np.random.default_rng(at)
    emitted = 0.0
    for coarse in (True, False):
        for shape in ((), (5,)):
            spec = draw_spec(rng, at, shape, coarse)
            emitted += compare(Neuron(spec), draw_input(rng, (37, 3, *(shape or (2, 4))), coarse), pieces=2)
    assert emitted > 0


@settings(max_examples=examples(40, 2000))
@given(
    at=st.sampled_from(spread_of_programs(12)),
    seed=st.integers(0, 2**32 - 1),
    ticks=st.integers(1, 40),
    samples=st.integers(1, 5),
    shape=st.sampled_from([(), (1,), (7,), (2, 3, 3), (700,), (2100,)]),
)
def test_any_shape_and_length_equals_the_reference(
    at: int, seed: int, ticks: int, samples: int, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(seed)
    coarse = bool(rng.random() < 0.5)
    compare(Neuron(draw_spec(rng, at, shape, coarse)), draw_input(rng, (ticks, samples, *shape), coarse))


def test_denormal_and_infinite_and_undefined_values_equal_the_reference() -> None:
    x = torch.tensor([0.0, -0.0, 2.0**-101, -(2.0**-99), 1e-45, 3e38, -3e38, float("inf"), 1.0])
    sequence = torch.stack([x.roll(k) for k in range(len(x))]).unsqueeze(1)
    for options in ({}, {"reset": "subtract", "tie": "ge"}, {"reset": "zero", "reset_delay": 1}):
        layer = LIF(beta=0.9, **options)
        with pytest.MonkeyPatch.context() as patch:
            forced(patch, "torch")
            expected, end = layer(sequence)
            forced(patch, "numba")
            found, state = layer(sequence)
        assert torch.equal(found, expected)
        assert np.array_equal(state["v"].numpy(), end["v"].numpy(), equal_nan=True)


def every_operation() -> Program:
    """A neuron of one's own that uses each operation of the language, and names that Python does not allow."""
    do = Assign
    body = (
        do("lambda", "mul", ("beta", "v")),
        do("if", "neg", ("i",)),
        do("größe", "abs", ("if",)),
        do("top", "max", ("lambda", "größe")),
        do("low", "min", ("lambda", "i")),
        do("w", "sub", ("top", "low")),
        do("q", "div", ("w", "threshold")),
        do("f", "floor", ("q",)),
        do("h", "shift", ("f", -2.0)),
        *(do(f"is_{op}", op, ("w", "h")) for op in ("gt", "ge", "lt", "le", "eq")),
        do("count", "add", ("is_gt", "is_le")),
        do("count", "add", ("count", "is_eq")),
        do("chosen", "select", ("is_ge", "w", "h")),
        do("sum", "add", ("chosen", "count")),
        do("sum", "sub", ("sum", "is_lt")),
        do("sum", "flush", ("sum",)),
        do("v", "copy", ("sum",)),
    )
    return Program(
        name="everything",
        states=(State("v", "threshold"), State("seen")),
        parameters=(Parameter("beta"), Parameter("threshold")),
        body=body,
        fire=Fire("v", "ge", "threshold"),
        on_fire=(Assign("seen", "add", ("seen", 1.0)), Assign("v", "mul", ("v", "seen")), Assign("v", "neg", ("v",))),
        emit=Emit("spike"),
    )


def test_a_neuron_of_ones_own_equals_the_reference() -> None:
    rng = np.random.default_rng(3)
    spec = NeuronSpec(every_operation(), {"beta": 0.5, "threshold": rng.uniform(0.5, 3, 9).astype(np.float32)})
    assert 0 < compare(Neuron(spec), draw_input(rng, (50, 2, 9))) < 1


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(5)
    x = draw_input(rng, (20, 4, 3000), coarse=False).requires_grad_()
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            layer = LIF(beta=0.9, learnable={"beta", "threshold"})
            y, state = layer(x)
            (y.square().sum() + state["v"].sum()).backward()
            found.append([y, state["v"], x.grad, layer.beta.grad, layer.threshold.grad])
            x.grad = None
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(same_bits(a, b) for a, b in zip(found[0], other, strict=True))
