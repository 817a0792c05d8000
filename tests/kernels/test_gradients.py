"""Gradients of the kernels against a float64 run of the reference that takes the same decisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from neuroaccel.neurons import LIF, Neuron
from neuroaccel.program import NeuronSpec
from tests.conftest import LONG
from tests.kernels.neurons import (
    NAMES,
    PROGRAMS,
    SURROGATES,
    Decisions,
    draw_input,
    draw_spec,
    forced,
    learnable,
    spread_of_programs,
)
from tests.kernels.test_exactness import every_operation

CHOSEN = spread_of_programs(len(PROGRAMS) if LONG else 20)
INPUT_ERROR, SUM_ERROR = 1e-6, 1e-5


def gradients(layer: Neuron, x: Tensor, state: dict[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
    """Of a loss over emissions and last states, with respect to currents, first states and parameters."""
    dtype = layer.dtype
    x = x.to(dtype).requires_grad_()
    state = {n: v.to(dtype).requires_grad_() for n, v in state.items()}
    y, end = layer(x, dict(state))
    loss = (y * weight.to(dtype)).sum() + sum((v * v).sum() for v in end.values()) / 8
    named = {"x": x, **{f"state {n}": v for n, v in state.items()}, **dict(layer.named_parameters())}
    got = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {n: torch.zeros_like(v) if g is None else g for (n, v), g in zip(named.items(), got, strict=True)}


def check(spec: NeuronSpec, shape: tuple[int, ...] | None, x: Tensor, rng: np.random.Generator) -> None:
    """Assert the bounds of the contract, or the reference's own error where float32 itself cannot keep them."""
    layer, wide, decisions = learnable(spec, shape), learnable(spec, shape).double(), Decisions()
    state = {n: v.detach() + 0.125 for n, v in layer.fresh(x[0]).items()}
    if "r" in state:
        state["r"] = torch.from_numpy(rng.integers(0, 2, x.shape[1:]).astype(np.float32))
    weight = torch.from_numpy(rng.normal(1.0, 1.0, x.shape).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        forced(patch, "torch")
        with decisions(replay=False), torch.no_grad():
            layer(x, state)
        with decisions(replay=True):
            expected = gradients(wide, x, state, weight)
        forced(patch, "numba")
        found = gradients(layer, x, state, weight)
    assert float(expected["x"].abs().max()) > 0
    with pytest.MonkeyPatch.context() as patch:
        forced(patch, "torch")
        reference = gradients(layer, x, state, weight)
    for name, value in expected.items():
        error, own = (float((got[name] - value).abs().max()) for got in (found, reference))
        bound = (INPUT_ERROR if name == "x" else SUM_ERROR) * float(value.abs().max())
        # A gradient that passes through resets or does not decay can magnify the rounding of the states themselves.
        assert error <= max(bound, 1.25 * own), name


@pytest.mark.parametrize("at", CHOSEN, ids=[NAMES[k] for k in CHOSEN])
def test_a_known_programs_gradients(at: int) -> None:
    rng = np.random.default_rng(1000 + at)
    for shape in (None, (6,)):
        check(draw_spec(rng, at, (6,), coarse=False), shape, draw_input(rng, (35, 4, 6), coarse=False), rng)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_surrogates_and_both_ways_through_the_reset(surrogate: str, detach_reset: bool, reset: str) -> None:
    rng = np.random.default_rng(7)
    spec = LIF(beta=0.9, reset=reset).spec.training(surrogate=surrogate, slope=3.0, detach_reset=detach_reset)
    check(spec, None, draw_input(rng, (64, 5, 11), coarse=False), rng)


def test_gradients_of_a_neuron_of_ones_own() -> None:
    rng = np.random.default_rng(11)
    spec = NeuronSpec(every_operation(), {"beta": 0.5, "threshold": 1.25}, detach_reset=False)
    check(spec, (9,), draw_input(rng, (20, 3, 9), coarse=False), rng)


@pytest.mark.parametrize("raw", [-0.2, 0.0, 0.5, 1.0, 1.3])
def test_a_parameter_at_or_beyond_its_bound_learns_as_in_the_reference(raw: float) -> None:
    x = draw_input(np.random.default_rng(2), (20, 2, 5), coarse=False)
    for sign in (1.0, -1.0):
        got = []
        for name in ("torch", "numba"):
            with pytest.MonkeyPatch.context() as patch:
                forced(patch, name)
                layer = LIF(beta=0.9, learnable={"beta"})
                layer.beta.data.fill_(raw)
                (layer(x)[0].sum() * sign).backward()
                got.append(float(layer.beta.grad))
        assert got[0] == pytest.approx(got[1], rel=1e-5)


def test_the_leak_constants_gradient_reaches_what_it_is_derived_from() -> None:
    x = draw_input(np.random.default_rng(4), (30, 2, 5), coarse=False)
    got = []
    for name in ("torch", "numba"):
        with pytest.MonkeyPatch.context() as patch:
            forced(patch, name)
            layer = LIF(beta=0.8, v_leak=0.3, learnable={"v_leak", "beta"})
            layer(x)[0].sum().backward()
            got.append([float(layer.beta.grad), float(layer.v_leak.grad)])
    assert got[0] == pytest.approx(got[1], rel=1e-5)
    assert all(got[0])


def test_a_layer_whose_input_needs_no_gradient_still_learns() -> None:
    layer = LIF(beta=0.8, learnable={"threshold"})
    layer(draw_input(np.random.default_rng(4), (30, 2, 5)))[0].sum().backward()
    assert float(layer.threshold.grad) < 0
