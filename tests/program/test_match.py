"""Programs are recognised by their arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neuroaccel.errors import ProgramError
from neuroaccel.program import ALIF, IF, LI, LIF, Assign, CubaLIF, GradedLIF, NeuronSpec, match, program_of
from neuroaccel.program.match import known


def test_every_constructor_and_option_is_told_apart() -> None:
    everything = list(known())
    assert len({program_of(k.name, k.options).key for k in everything}) == len(everything) > 200
    for entry in everything:
        assert match(program_of(entry.name, entry.options)) == entry


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        (IF(2.0, gain=0.5), "IF", {"tie": "gt", "reset": "zero", "reset_delay": 0, "gain": True}),
        (LIF(0.5), "LIF", {"form": "decay", "gain": False, "v_leak": False}),
        (LIF(0.5, v_leak=0.25, reset="to_value", v_reset=-1.0), "LIF", {"v_leak": True, "reset": "to_value"}),
        (LIF(form="euler", rate=0.5, resistance=2.0), "LIF", {"form": "euler", "resistance": True, "v_leak": False}),
        (LIF(form="decay_input", tau=3.0, tie="ge"), "LIF", {"form": "decay_input", "tie": "ge"}),
        (CubaLIF(reset="subtract", reset_delay=1), "CubaLIF", {"reset": "subtract", "reset_delay": 1}),
        (LI(0.5, gain=2.0), "LI", {"gain": True, "v_leak": False}),
        (ALIF(), "ALIF", {"reset": "zero"}),
        (GradedLIF(bits=3), "GradedLIF", {"bits": 3}),
    ],
)
def test_options(spec: NeuronSpec, name: str, options: dict[str, object]) -> None:
    known = match(spec.program)
    assert known is not None
    assert known.name == name
    assert options.items() <= known.options.items()
    assert match(replace(spec.program, name="by another name")) == known


def test_a_neuron_of_ones_own_is_not_recognised() -> None:
    program = LIF().program
    assert match(replace(program, body=(*program.body, Assign("v", "abs", ("v",))))) is None


def test_an_unknown_constructor_or_option_is_an_error() -> None:
    with pytest.raises(ProgramError, match="unknown neuron 'Izhikevich'"):
        program_of("Izhikevich", {})
    with pytest.raises(ProgramError, match="bits"):
        program_of("LIF", {"bits": 2})
