"""The field's neurons, word for word: the order of operations is the contract that every executor keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from neuroaccel.errors import ProgramError
from neuroaccel.program import ALIF, IF, LI, LIF, CubaLIF, GradedLIF, NeuronSpec

PRINTED: dict[str, tuple[NeuronSpec, str]] = {
    "IF": (
        IF(),
        """
IF(threshold)
  tick     v = add(v, i)
  fire     v > threshold
  on fire  v = copy(0.0)
  emit     spike""",
    ),
    "LIF decay": (
        LIF(0.9),
        """
LIF(beta, threshold)
  tick     v = mul(beta, v)
  tick     v = flush(v)
  tick     v = add(v, i)
  fire     v > threshold
  on fire  v = copy(0.0)
  emit     spike""",
    ),
    "LIF decay, gain and leak, >=, to a value": (
        LIF(0.9, gain=0.5, v_leak=0.1, tie="ge", reset="to_value", v_reset=-0.2),
        """
LIF(beta, gain, v_leak, threshold, v_reset)
  once     one_minus_beta = sub(1.0, beta)
  once     c = mul(one_minus_beta, v_leak)
  tick     v = mul(beta, v)
  tick     v = flush(v)
  tick     g = mul(gain, i)
  tick     v = add(v, g)
  tick     v = add(v, c)
  fire     v >= threshold
  on fire  v = copy(v_reset)
  emit     spike""",
    ),
    "LIF decay, subtract": (
        LIF(0.9, reset="subtract"),
        """
LIF(beta, threshold)
  tick     v = mul(beta, v)
  tick     v = flush(v)
  tick     v = add(v, i)
  fire     v > threshold
  on fire  v = sub(v, threshold)
  emit     spike""",
    ),
    "LIF decay, subtract one tick later": (
        LIF(0.9, reset="subtract", reset_delay=1),
        """
LIF(beta, threshold)
  tick     v = mul(beta, v)
  tick     v = flush(v)
  tick     v = add(v, i)
  tick     m = mul(threshold, r)
  tick     v = sub(v, m)
  tick     r = copy(0.0)
  fire     v > threshold
  on fire  r = copy(1.0)
  emit     spike""",
    ),
    "LIF decay, to a value one tick later": (
        LIF(0.9, reset="to_value", reset_delay=1, v_reset=0.25),
        """
LIF(beta, threshold, v_reset)
  tick     v = mul(beta, v)
  tick     v = flush(v)
  tick     v = add(v, i)
  tick     v = select(r, v_reset, v)
  tick     r = copy(0.0)
  fire     v > threshold
  on fire  r = copy(1.0)
  emit     spike""",
    ),
    "LIF euler": (
        LIF(form="euler", rate=0.1, v_leak=0.2, resistance=2.0),
        """
LIF(rate, v_leak, resistance, threshold)
  tick     d = sub(v_leak, v)
  tick     g = mul(resistance, i)
  tick     d = add(d, g)
  tick     d = mul(rate, d)
  tick     v = add(v, d)
  fire     v > threshold
  on fire  v = copy(0.0)
  emit     spike""",
    ),
    "LIF decay_input": (
        LIF(form="decay_input", tau=2.0, reset="to_value", v_reset=0.1),
        """
LIF(tau, threshold, v_reset)
  tick     d = sub(v, v_reset)
  tick     d = sub(i, d)
  tick     d = div(d, tau)
  tick     v = add(v, d)
  fire     v > threshold
  on fire  v = copy(v_reset)
  emit     spike""",
    ),
    "LIF decay_input to 0": (
        LIF(form="decay_input", tau=2.0),
        """
LIF(tau, threshold)
  tick     d = sub(i, v)
  tick     d = div(d, tau)
  tick     v = add(v, d)
  fire     v > threshold
  on fire  v = copy(0.0)
  emit     spike""",
    ),
    "CubaLIF": (
        CubaLIF(),
        """
CubaLIF(beta_syn, beta, threshold)
  tick     u = mul(beta_syn, u)
  tick     u = flush(u)
  tick     u = add(u, i)
  tick     v = mul(beta, v)
  tick     v = flush(v)
  tick     v = add(v, u)
  fire     v > threshold
  on fire  v = copy(0.0)
  emit     spike""",
    ),
    "CubaLIF with gain": (
        CubaLIF(gain=0.5),
        """
CubaLIF(beta_syn, beta, gain, threshold)
  tick     u = mul(beta_syn, u)
  tick     u = flush(u)
  tick     u = add(u, i)
  tick     v = mul(beta, v)
  tick     v = flush(v)
  tick     g = mul(gain, u)
  tick     v = add(v, g)
  fire     v > threshold
  on fire  v = copy(0.0)
  emit     spike""",
    ),
    "LI": (
        LI(),
        """
LI(beta)
  tick     v = mul(beta, v)
  tick     v = flush(v)
  tick     v = add(v, i)
  emit     state v""",
    ),
    "ALIF": (
        ALIF(),
        """
ALIF(rho, kappa, threshold, beta)
  tick     a = mul(rho, a)
  tick     a = flush(a)
  tick     k = mul(kappa, a)
  tick     level = add(k, threshold)
  tick     v = mul(beta, v)
  tick     v = flush(v)
  tick     v = add(v, i)
  fire     v > level
  on fire  v = copy(0.0)
  on fire  a = add(a, 1.0)
  emit     spike""",
    ),
    "GradedLIF": (
        GradedLIF(bits=3),
        """
GradedLIF(beta, threshold)
  tick     v = mul(beta, v)
  tick     v = flush(v)
  tick     v = add(v, i)
  tick     n = div(v, threshold)
  tick     n = floor(n)
  tick     n = min(n, 7.0)
  tick     m = mul(n, threshold)
  fire     v >= threshold
  on fire  v = sub(v, m)
  emit     count n""",
    ),
}


@pytest.mark.parametrize("name", PRINTED)
def test_program_is_the_contract(name: str) -> None:
    spec, printed = PRINTED[name]
    assert str(spec.program) == printed.strip()


def test_every_state_starts_at_0_but_alif_s_level() -> None:
    for spec, _ in PRINTED.values():
        fresh = {s.name: s.fresh for s in spec.program.states}
        assert fresh == {name: "threshold" if name == "level" else 0.0 for name in fresh}


def test_leak_is_what_moves_a_silent_neuron() -> None:
    assert LIF().program.leak == ()
    assert LIF(v_leak=0.1).program.leak == ("c",)
    assert LIF(form="euler", rate=0.1, v_leak=0.1).program.leak == ("v_leak",)


def test_constants_that_change_nothing_are_omitted_even_per_neuron() -> None:
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    assert LIF(gain=ones, v_leak=zeros).program.key == LIF().program.key
    assert LIF(gain=np.array([1, 2, 1], np.float32)).program.parameter_names == ("beta", "gain", "threshold")


def test_training_fields() -> None:
    spec = LIF().training(surrogate="triangle", slope=5.0, detach_reset=False, learnable={"beta"})
    assert (spec.surrogate, spec.slope, spec.detach_reset) == ("triangle", 5.0, False)
    assert spec.learnable == frozenset({"beta"})
    assert spec.training().learnable == frozenset({"beta"})
    assert spec.program is not None
    assert spec.program.key == LIF().program.key


def test_refusals() -> None:
    with pytest.raises(ProgramError, match="unknown LIF form 'exact'; known: decay, euler, decay_input"):
        LIF(form="exact")  # type: ignore[arg-type]
    with pytest.raises(ProgramError, match=r"needs rate = dt/tau"):
        LIF(form="euler")
    with pytest.raises(ProgramError, match="needs tau in ticks"):
        LIF(form="decay_input")
    with pytest.raises(ProgramError, match=r"LIF\(form='decay'\) has no rate, tau; it takes v_leak, gain"):
        LIF(tau=20.0, rate=0.1)
    with pytest.raises(ProgramError, match=r"form='euler'\) has no gain"):
        LIF(form="euler", rate=0.5, gain=np.array([1, 2], np.float32))
    with pytest.raises(ProgramError, match=r"form='decay_input'\) has no v_leak, resistance"):
        LIF(form="decay_input", tau=2.0, v_leak=0.1, resistance=3.0)
    with pytest.raises(ProgramError, match="reset 'half' with delay 0"):
        LIF(reset="half")  # type: ignore[arg-type]
    with pytest.raises(ProgramError, match="with delay 2"):
        LIF(reset_delay=2)
    with pytest.raises(ProgramError, match="fire compares with gt or ge, not 'lt'"):
        LIF(tie="lt")  # type: ignore[arg-type]
    with pytest.raises(ProgramError, match="bits must be 1 to 16, not 17"):
        GradedLIF(bits=17)
    with pytest.raises(ProgramError, match="unknown surrogate 'step'; known: atan"):
        LIF().training(surrogate="step")
    with pytest.raises(ProgramError, match=r"cannot learn \['tau'\]"):
        LIF().training(learnable={"tau"})
    with pytest.raises(
        ProgramError, match=r"neuron 'LIF': values for \['beta'\] given, needed \['beta', 'threshold'\]"
    ):
        NeuronSpec(LIF().program, {"beta": 0.5})


def test_graded_spikes_count_up_to_their_bits() -> None:
    for bits in (1, 2, 5):
        emit = GradedLIF(bits=bits).program.emit
        assert (emit.kind, emit.maximum) == ("count", 2**bits - 1)
        assert math.log2(emit.maximum + 1) == bits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 1.5}, r"beta spans \[1.5, 1.5\], allowed is \[0, 1\]"),
        ({"beta": np.array([0.5, -0.25], np.float32)}, r"beta spans \[-0.25, 0.5\]"),
        ({"threshold": -1.0}, r"threshold spans \[-1, -1\], allowed is \[0, inf\]"),
        ({"beta": math.nan}, "beta is nan, expected numbers"),
        ({"threshold": math.inf}, "threshold is inf"),
        ({"beta": "much"}, "beta is 'much'"),
    ],
)
def test_values_that_no_graph_may_hold_are_refused_before_a_training(options: dict[str, float], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        LIF(**options)


@pytest.mark.parametrize("slope", [0.0, -1.0, math.nan, math.inf])
def test_a_slope_is_positive(slope: float) -> None:
    with pytest.raises(ProgramError, match=r"slope is .*, expected a positive number"):
        LIF().training(slope=slope)
