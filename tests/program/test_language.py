"""The neuron language: what a program may say, its JSON form, its key, its operations."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from neuroaccel.errors import ProgramError
from neuroaccel.program import (
    ALIF,
    IF,
    LI,
    LIF,
    Assign,
    CubaLIF,
    Emit,
    Fire,
    GradedLIF,
    NeuronSpec,
    Parameter,
    Program,
    State,
)


def minimal(**changes: Any) -> Program:
    """v = v + i; spike where v > level."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "states": (State("v"),),
        "parameters": (Parameter("level"),),
        "body": (Assign("v", "add", ("v", "i")),),
        "fire": Fire("v", "gt", "level"),
    }
    return Program(**(fields | changes))


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown operation": ({"body": (Assign("v", "pow", ("v", "i")),)}, r"unknown operation 'pow' in 'v = pow\(v, i\)'"),
    "operands": ({"body": (Assign("v", "add", ("v",)),)}, r"'v = add\(v\)' needs 2 operands"),
    "unset name": ({"body": (Assign("v", "add", ("v", "w")),)}, "reads 'w', which nothing has set"),
    "set later": (
        {"body": (Assign("v", "add", ("v", "w")), Assign("w", "copy", ("i",)))},
        "reads 'w', which nothing has set",
    ),
    "shift by a name": ({"body": (Assign("v", "shift", ("v", "level")),)}, "needs a whole literal shift"),
    "shift by a fraction": ({"body": (Assign("v", "shift", ("v", 0.5)),)}, "needs a whole literal shift"),
    "assigns the input": ({"body": (Assign("i", "copy", (0.0,)),)}, "cannot assign to 'i'"),
    "assigns no name": ({"body": (Assign("2v", "copy", (0.0,)),)}, "cannot assign to '2v'"),
    "overwrites a parameter": ({"body": (Assign("level", "copy", (0.0,)),)}, "overwrites a parameter"),
    "two of a name": ({"states": (State("v"), State("v"))}, "must be distinct identifiers"),
    "state and parameter": ({"states": (State("v"), State("level"))}, "must be distinct identifiers"),
    "state called i": ({"states": (State("v"), State("i"))}, "must be distinct identifiers"),
    "no identifier": ({"parameters": (Parameter("level"), Parameter("a b"))}, "must be distinct identifiers"),
    "derived reads a state": ({"derived": (Assign("c", "copy", ("v",)),)}, "reads 'v', which nothing has set"),
    "derived sets a state": ({"derived": (Assign("v", "copy", (1.0,)),)}, "takes a name that is there already"),
    "derived sets a parameter": ({"derived": (Assign("level", "neg", ("level",)),)}, "takes a name that is there"),
    "leak": ({"leak": ("v",)}, r"leak \['v'\] is neither parameter nor derived"),
    "fresh": ({"states": (State("v", "start"),)}, "fresh value 'start' of 'v' is no parameter"),
    "membrane": ({"membrane": "u"}, "membrane 'u' is not a state"),
    "on_fire temporary": ({"on_fire": (Assign("m", "copy", (0.0,)),)}, "on_fire may only assign states, not 'm'"),
    "fire operation": ({"fire": Fire("v", "eq", "level")}, "fire compares with gt or ge, not 'eq'"),
    "fire temporary": (
        {"body": (Assign("m", "add", ("v", "i")),), "fire": Fire("m", "gt", "level")},
        "fire compares states and parameters, not 'm'",
    ),
    "emission": ({"emit": Emit("pulse")}, "emits spike, count or state, not 'pulse'"),
    "spike without fire": ({"fire": None}, "emits spikes but has no fire comparison"),
    "count without fire": ({"fire": None, "emit": Emit("count", "v", 3)}, "emits counts: it needs fire"),
    "count of nothing": ({"emit": Emit("count", "n", 3)}, "emits counts: it needs fire, a computed value"),
    "count up to 0": ({"emit": Emit("count", "v", 0)}, "a maximum >= 1"),
    "emits a parameter": ({"emit": Emit("state", "level")}, "emits 'level', which is not a state"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_refuses(case: str) -> None:
    changes, message = BROKEN[case]
    with pytest.raises(ProgramError, match=message) as caught:
        minimal(**changes)
    assert "'tiny'" in str(caught.value)


def test_minimal_is_accepted() -> None:
    assert minimal().operations() == {"add": 1, "compare": 1}


def test_unknown_parameter_names_those_there_are() -> None:
    assert minimal().parameter("level") == Parameter("level")
    with pytest.raises(ProgramError, match="'tiny' has no parameter 'beta'; it has level"):
        minimal().parameter("beta")


ZOO: dict[str, Callable[[], NeuronSpec]] = {
    "IF": IF,
    "LIF": LIF,
    "LIF leak": lambda: LIF(v_leak=0.1, gain=0.5, reset="to_value", v_reset=-0.1),
    "LIF euler": lambda: LIF(form="euler", rate=0.1, v_leak=0.2, resistance=2.0),
    "LIF decay_input": lambda: LIF(form="decay_input", tau=2.0, tie="ge"),
    "CubaLIF": lambda: CubaLIF(reset="subtract", reset_delay=1),
    "LI": LI,
    "ALIF": ALIF,
    "GradedLIF": GradedLIF,
}


@pytest.mark.parametrize("name", ZOO)
def test_json_round_trip(name: str) -> None:
    program = ZOO[name]().program
    again = Program.from_json(json.loads(json.dumps(program.to_json())))
    assert again == program
    assert again.key == program.key


def test_json_refuses_what_it_did_not_write() -> None:
    data = minimal().to_json()
    for key in data:
        broken = {k: v for k, v in data.items() if k != key}
        with pytest.raises(ProgramError, match=f"not a neuron program: KeyError\\('{key}'\\)"):
            Program.from_json(broken)
    with pytest.raises(ProgramError, match="not a neuron program"):
        Program.from_json({**data, "body": [["v", "add"]]})
    with pytest.raises(ProgramError, match="unknown operation 'exec'"):
        Program.from_json({**data, "body": [["v", "exec", ["v"]]]})


def test_key_ignores_the_name_only() -> None:
    program = minimal()
    assert replace(program, name="other").key == program.key
    changed = [
        replace(program, fire=Fire("v", "ge", "level")),
        replace(program, states=(State("v", 0.5),)),
        replace(program, parameters=(Parameter("level", 0.0),)),
        replace(program, body=(Assign("v", "sub", ("v", "i")),)),
        replace(program, on_fire=(Assign("v", "copy", (0.0,)),)),
        replace(program, emit=Emit("state", "v")),
        replace(program, leak=("level",)),
    ]
    keys = {p.key for p in changed}
    assert len(keys) == len(changed)
    assert program.key not in keys


def test_keys_tell_the_zoo_apart() -> None:
    assert len({make().program.key for make in ZOO.values()}) == len(ZOO)


def test_operations_of_an_update_and_of_a_spike() -> None:
    program = LIF(reset="subtract").program
    assert program.operations() == {"mul": 1, "flush": 1, "add": 1, "compare": 1}
    assert program.operations_on_fire() == {"sub": 1}
    assert LI().program.operations_on_fire() == {}
