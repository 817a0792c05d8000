"""The reference interpreter where a sequence test would not see a slip: the flush's edge, and gradients by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neuroaccel.neurons import LIF
from neuroaccel.neurons.interpreter import derive, tick
from neuroaccel.program import Assign, Emit, Parameter, Program, State
from neuroaccel.program.language import FLUSH_BELOW

HOLD = Program("hold", (State("v"),), (), (Assign("v", "flush", ("i",)),), emit=Emit("state", "v"))


def held(value: float, dtype: torch.dtype) -> float:
    i = torch.tensor([value], dtype=dtype)
    return float(tick(HOLD, {}, i, {"v": torch.zeros_like(i)}, "atan", 2.0, True)[0])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_flush_takes_what_is_below_its_limit_and_nothing_else(sign: float) -> None:
    below = float(torch.nextafter(torch.tensor(FLUSH_BELOW), torch.tensor(0.0)))
    assert held(sign * FLUSH_BELOW, torch.float32) == sign * FLUSH_BELOW
    assert held(sign * below, torch.float32) == 0
    assert held(sign * below, torch.float64) == sign * below


@pytest.mark.parametrize(
    ("reset", "detach", "expected"),
    [
        ("subtract", True, 1.0),  # v − θ·s with s held constant
        ("subtract", False, 0.0),  # 1 − θ·ds/dv, and the straight-through ds/dv is 1
        ("zero", True, 0.0),
        ("zero", False, -1.5),  # v·(1 − s): −v·ds/dv
    ],
)
def test_gradient_through_the_reset_by_hand(reset: Any, detach: bool, expected: float) -> None:
    x = torch.tensor([[[1.5]]], requires_grad=True)
    _, state = LIF(reset=reset, detach_reset=detach, surrogate="straight_through")(x)
    (grad,) = torch.autograd.grad(state["v"].sum(), x)
    assert grad.item() == expected


def test_derived_values_are_rounded_once_from_float64() -> None:
    program = Program(
        "derived",
        (State("v"),),
        (Parameter("beta"), Parameter("v_leak")),
        (Assign("v", "add", ("i", "c")),),
        derived=(Assign("one_minus_beta", "sub", (1.0, "beta")), Assign("c", "mul", ("one_minus_beta", "v_leak"))),
        emit=Emit("state", "v"),
    )
    beta, v_leak = torch.linspace(0.01, 0.99, 99), torch.linspace(-3.0, 3.0, 99)
    c = derive(program, {"beta": beta, "v_leak": v_leak})["c"]
    assert torch.equal(c, ((1 - beta.double()) * v_leak.double()).float())
    assert not torch.equal(c, (1 - beta) * v_leak)  # rounding twice gives others, so the line above can fail


def test_a_state_of_zero_does_not_hide_what_it_depends_on() -> None:
    v = torch.zeros(1, 3, requires_grad=True)
    _, state = LIF(beta=0.5).step(torch.full((1, 3), 0.25), {"v": v})
    (gradient,) = torch.autograd.grad(state["v"].sum(), v)
    assert gradient.tolist() == [[0.5, 0.5, 0.5]]
