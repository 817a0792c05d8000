"""Generated kernels: every operation, odd names, and no float64 inside float32."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from neuroaccel import engine
from neuroaccel.engine import codegen
from neuroaccel.engine.fixed import Format
from neuroaccel.graph import Input, Output, chain
from neuroaccel.program import LIF, Assign, Emit, Fire, Fixed, NeuronSpec, Parameter, Program, State
from tests.engine.reference import reference, same
from tests.random_graphs import neuron

BINARY = ("add", "sub", "mul", "div", "max", "min", "gt", "ge", "lt", "le", "eq")
UNARY = ("neg", "abs", "floor", "copy", "flush")


def random_program(rng: np.random.Generator) -> NeuronSpec:
    """A straight line of random operations over states, parameters, temporaries and numbers."""
    states, names = ("v", "u"), ["i", "v", "u", "a", "b"]

    def operand() -> Any:
        return float(rng.normal()) if rng.random() < 0.25 else names[int(rng.integers(len(names)))]

    def assign(target: str) -> Assign:
        op = (*BINARY, *UNARY, "select", "shift")[int(rng.integers(18))]
        if op == "shift":
            return Assign(target, op, (operand(), float(rng.integers(-3, 4))))
        return Assign(target, op, tuple(operand() for _ in range(3 if op == "select" else 1 + (op in BINARY))))

    body = []
    for k in range(12):
        target = f"t{k}" if rng.random() < 0.6 else states[int(rng.integers(2))]
        body.append(assign(target))
        names.append(target)
    on_fire = tuple(assign(states[int(rng.integers(2))]) for _ in range(2))
    fire = Fire(states[int(rng.integers(2))], ("gt", "ge")[int(rng.integers(2))], "a")
    emit = Emit("state", "v") if rng.random() < 0.3 else Emit()
    parameters = (Parameter("a"), Parameter("b"))
    program = Program("random", (State("v"), State("u", "b")), parameters, tuple(body), fire, on_fire, emit=emit)
    values = {name: rng.normal(size=(3,) if rng.random() < 0.5 else ()).astype(np.float32) for name in ("a", "b")}
    return NeuronSpec(program, values)


@pytest.mark.parametrize("number", ["float32", "float64"])
def test_random_programs_equal_their_interpretation(number: Any) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        graph = chain({"x": Input((3,), "analog"), "n": neuron(random_program(rng), (3,)), "y": Output()})
        x = rng.normal(size=(6, 2, 3)).astype(np.float32) * (rng.random((6, 2, 3)) < 0.7)
        same(engine.run(graph, x, record=True, arithmetic=number), reference(graph, x, number))


def test_tiny_membranes_are_flushed_in_float32_only() -> None:
    graph = chain({"x": Input((1,), "analog"), "n": neuron(LIF(0.5), (1,)), "y": Output()})
    x = np.zeros((4, 1, 1), np.float32)
    x[0] = 3 * 2.0**-101
    result = engine.run(graph, x, record=True)
    same(result, reference(graph, x))
    assert result.trace.states["n"]["v"].ravel().tolist() == [3 * 2.0**-101, 0, 0, 0]
    wide = engine.run(graph, x, record=True, arithmetic="float64")
    assert wide.trace.states["n"]["v"].ravel().tolist() == [3 * 2.0**-k for k in (101, 102, 103, 104)]


def test_names_may_be_keywords_or_letters_of_any_alphabet() -> None:
    program = Program(
        "odd",
        (State("lambda"), State("β"), State("current")),
        (Parameter("θ"), Parameter("emitted")),
        (
            Assign("None_", "mul", ("emitted", "lambda")),
            Assign("β", "add", ("β", "i")),
            Assign("lambda", "add", ("None_", "i")),
            Assign("np", "add", ("lambda", "β")),
            Assign("current", "copy", ("np",)),
        ),
        Fire("current", "gt", "θ"),
        (Assign("β", "copy", (0.0,)),),
        membrane="lambda",
    )
    spec = NeuronSpec(program, {"θ": 2.0, "emitted": np.array([0.5, 0.75], np.float32)})
    graph = chain({"x": Input((2,)), "n": neuron(spec, (2,)), "y": Output()})
    x = np.ones((6, 1, 2), np.float32)
    result = engine.run(graph, x, record=True)
    same(result, reference(graph, x))
    assert result.trace.spikes["n"].any()


def test_the_source_shows_the_program_it_came_from() -> None:
    source = codegen.float_source(LIF(0.9).program, "float32")
    assert "# v = mul(beta, v)" in source
    assert "float64" not in source
    compile(source, "generated", "exec")


def test_division_by_zero_is_that_of_ieee() -> None:
    program = Program("div", (State("v"),), (), (Assign("v", "div", (1.0, "i")),), emit=Emit("state", "v"))
    graph = chain({"x": Input((2,)), "n": neuron(NeuronSpec(program, {}), (2,)), "y": Output()})
    found = engine.run(graph, np.array([[[0.0, 1.0]]])).trace.outputs["y"]
    assert found.ravel().tolist() == [np.inf, 1.0]


def test_the_kernel_is_one_per_program_and_arithmetic() -> None:
    """Values of parameters are not part of the source."""
    a, b = (codegen.float_source(LIF(beta, theta).program, "float32") for beta, theta in ((0.5, 1.0), (0.9, 2.0)))
    assert a == b
    assert a != codegen.float_source(LIF(0.5, tie="ge").program, "float32")
    assert dataclasses.replace(LIF(0.5).program, name="other").key == LIF(0.9).program.key


def test_a_nan_comes_through_max_and_min_on_either_side() -> None:
    body = (
        Assign("big", "mul", ("i", 3e38)),
        Assign("nan", "sub", ("big", "big")),
        Assign("a", "max", ("nan", "i")),
        Assign("b", "max", ("i", "nan")),
        Assign("c", "min", ("nan", "i")),
        Assign("d", "min", ("i", "nan")),
    )
    states = tuple(State(name) for name in "abcd")
    program = Program("nan", states, (), body, emit=Emit("state", "a"), membrane="a")
    graph = chain({"x": Input((2,), "analog"), "n": neuron(NeuronSpec(program, {}), (2,)), "y": Output()})
    found = engine.run(graph, np.array([[[10.0, 0.5]]], np.float32), record=True).trace.states["n"]
    for name in "abcd":  # the first neuron overflows, the second does not
        assert np.isnan(found[name][0, 0, 0])
        assert found[name][0, 0, 1] == (0.5 if name in "ab" else 0.0)


def test_the_floor_of_a_fraction_below_zero_is_minus_one_and_must_fit() -> None:
    body = (Assign("n", "floor", ("i",)), Assign("v", "shift", ("n", 62.0)))
    program = Program("floor", (State("v"),), (), body, emit=Emit("state", "v"))
    with pytest.raises(OverflowError, match="v = shift"):
        codegen.integer_source(program, Fixed(32), {"i": Format(1, 1)})
