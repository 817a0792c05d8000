"""Parameters of a program: checked, and its derived values rounded once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.errors import ProgramError
from neuroaccel.program import ALIF, LIF, Assign, Emit, Parameter, Program, State, check_parameters, resolve
from neuroaccel.program.language import ARITY
from tests.conftest import examples

F32 = st.floats(0.0, 1.0, width=32)


@settings(max_examples=examples(200, 2000))
@given(beta=F32, v_leak=st.floats(-4.0, 4.0, width=32).filter(lambda x: x != 0))
def test_leak_constant_is_rounded_once_from_float64(beta: float, v_leak: float) -> None:
    spec = LIF(beta, v_leak=v_leak)
    values = {k: np.asarray(v, np.float32) for k, v in spec.values.items()}
    found = resolve(spec.program, values)["c"]
    assert found.dtype == np.float32
    assert found == np.float32((1.0 - np.float64(np.float32(beta))) * np.float64(np.float32(v_leak)))


def test_arrays_and_scalars_keep_their_shape() -> None:
    spec = LIF(np.array([0.5, 0.9], np.float32), v_leak=0.1)
    found = resolve(spec.program, {k: np.asarray(v, np.float32) for k, v in spec.values.items()})
    assert {k: v.shape for k, v in found.items()} == {
        "beta": (2,),
        "v_leak": (),
        "threshold": (),
        "one_minus_beta": (2,),
        "c": (2,),
    }


def test_refusals_name_the_place_and_the_range() -> None:
    program = ALIF().program
    good = {k: np.asarray(v, np.float32) for k, v in ALIF().values.items()}
    check_parameters(program, good, "layer 1")
    with pytest.raises(ProgramError, match=r"layer 1: parameters .* given, program 'ALIF' has"):
        check_parameters(program, {**good, "gain": good["rho"]}, "layer 1")
    with pytest.raises(ProgramError, match="layer 1: parameter 'threshold' is not finite"):
        check_parameters(program, {**good, "threshold": np.array([1, np.inf], np.float32)}, "layer 1")
    with pytest.raises(ProgramError, match=r"layer 1: parameter 'beta' spans \[0.5, 1.5\], allowed is \[0.0, 1.0\]"):
        check_parameters(program, {**good, "beta": np.array([0.5, 1.5], np.float32)}, "layer 1")
    with pytest.raises(ProgramError, match=r"parameter 'kappa' spans \[-1, -1\], allowed is \[0.0, inf\]"):
        check_parameters(program, {**good, "kappa": np.array(-1, np.float32)}, "layer 1")


def test_a_derived_value_may_use_every_operation() -> None:
    one = ("neg", "abs", "floor", "copy", "flush")
    two = ("add", "sub", "mul", "div", "max", "min", "gt", "ge", "lt", "le", "eq")
    expected = {"neg": 1.5, "abs": 1.5, "floor": -2.0, "copy": -1.5, "flush": -1.5, "select": 4.0, "shift": -6.0}
    expected |= {"add": 2.5, "sub": -5.5, "mul": -6.0, "div": -0.375, "max": 4.0, "min": -1.5}
    expected |= {"gt": 0.0, "ge": 0.0, "lt": 1.0, "le": 1.0, "eq": 0.0}
    derived = [Assign(f"x_{op}", op, ("a",)) for op in one] + [Assign(f"x_{op}", op, ("a", "b")) for op in two]
    derived += [Assign("x_select", "select", (0.0, "a", "b")), Assign("x_shift", "shift", ("a", 2.0))]
    assert {a.op for a in derived} == set(ARITY)
    parameters = (Parameter("a"), Parameter("b"))
    body = (Assign("v", "add", ("v", "i")),)
    program = Program("all", (State("v"),), parameters, body, derived=tuple(derived), emit=Emit("state", "v"))
    found = resolve(program, {"a": np.float32(-1.5), "b": np.float32(4.0)})
    assert {op: float(found[f"x_{op}"]) for op in expected} == expected
