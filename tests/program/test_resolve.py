"""Parameters of a program: checked, and its derived values rounded once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.errors import ProgramError
from neuroaccel.program import ALIF, LIF, check_parameters, resolve
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
