"""The rules of sleep against what the neurons then really do."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from neuroaccel.engine.sleep import sleep_rule
from neuroaccel.program import LI, LIF, CubaLIF, NeuronSpec
from neuroaccel.program.match import known, program_of
from tests.conftest import examples
from tests.engine.populations import SPARSE, Interpreter, Lazy, Lent


@pytest.mark.parametrize("spec", SPARSE, ids=lambda s: f"{s.program.name}-{s.program.key[:4]}")
@pytest.mark.parametrize("number", ["float32", "float64"])
def test_who_is_asleep_never_fires(spec: NeuronSpec, number: str) -> None:
    """States at random around the threshold, at its neighbours too: whoever a cell lets sleep stays below for ever."""
    rng = np.random.default_rng(11)
    size = 4096
    lazy = Lazy(spec, size, 1, number)
    threshold = lazy.dense.population.known["threshold"].astype(number)
    values = {}
    for name, state in zip(spec.program.state_names, lazy.states, strict=True):
        draw = rng.normal(size=size) * rng.choice([1e-42, 1e-30, 0.3, 1.0, 3.0], size)
        near = np.nextafter(threshold, rng.choice([-np.inf, np.inf], size).astype(number))
        draw = np.where(rng.random(size) < 0.3, np.where(rng.random(size) < 0.5, near, threshold), draw)
        draw = np.where(rng.random(size) < 0.05, rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], size), draw)
        values[name] = np.float64(rng.random(size) < 0.2) if name == "r" else draw
        state[0] = values[name]
    # A tick without input judges them: nobody is skipped in it.
    lazy.cells.run(
        *(0, 0, 0, (0, size), lazy.due, lazy.current, np.zeros(0, np.uint64), lazy.stamp, lazy.states),
        *(lazy.lazy.work.out, (np.zeros(1, np.int64), np.zeros(1, np.int64)), True),
    )
    asleep = lazy.due[0, :size] == 0
    slow = Interpreter(spec, (size,), 1, number)
    slow.states = {name: s.copy() for name, s in zip(spec.program.state_names, lazy.states, strict=True)}
    for _ in range(400):
        _, moved = slow.tick(np.zeros((1, size), number), np.zeros((1, size), np.bool_))
        assert not (moved[0] & asleep).any()
    assert 0.2 < asleep.mean() < 0.995


def test_a_current_close_to_the_bound_is_judged_safely() -> None:
    """Slowly decaying currents whose sum just reaches the threshold, or just does not."""
    rng = np.random.default_rng(5)
    size = 20_000
    beta_syn = rng.choice([0.0, 0.5, 0.9, 0.99, 0.999, 1.0], size).astype(np.float32)
    spec = CubaLIF(beta_syn, 1.0, 1.0, gain=rng.choice([-1.0, 1.0, 0.125], size).astype(np.float32))
    lazy = Lazy(spec, size, 1, "float32")
    u, v = lazy.states
    v[0] = rng.random(size)
    gain, decays = np.asarray(spec.values["gain"]), beta_syn.astype(np.float64)
    room = np.where(decays < 1, (1 - v[0]) * (1 - decays) / np.maximum(decays, 1e-3), 1e-9)
    u[0] = room / gain / np.maximum(decays, 1e-3) * (1 + rng.choice([-1e-2, -1e-4, -1e-6, 0, 1e-6, 1e-4], size))
    lazy.cells.run(
        *(0, 0, 0, (0, size), lazy.due, lazy.current, np.zeros(0, np.uint64), lazy.stamp, lazy.states),
        *(lazy.lazy.work.out, (np.zeros(1, np.int64), np.zeros(1, np.int64)), True),
    )
    asleep = lazy.due[0, :size] == 0
    slow = Interpreter(spec, (size,), 1, "float32")
    slow.states = {"u": u.copy(), "v": v.copy()}
    fired = np.zeros(size, np.bool_)
    for _ in range(examples(4000, 20_000)):
        _, moved = slow.tick(np.zeros((1, size), np.float32), np.zeros((1, size), np.bool_))
        fired |= moved[0]
    assert not (fired & asleep).any()
    assert asleep.mean() > 0.2
    assert fired.mean() > 0.1


def test_every_spiking_neuron_of_the_zoo_has_a_rule_and_no_other_program() -> None:
    for k in known():
        program = program_of(k.name, k.options)
        assert (sleep_rule(program) is None) == (k.name == "LI"), k
    own = dataclasses.replace(LIF().program, body=LIF().program.body[:1])
    assert sleep_rule(own) is None


def population(spec: NeuronSpec, **options: Any) -> Any:
    return Lent.of(spec, (4,), 1, 1, **options).population


def test_a_leak_a_bias_or_an_analog_emission_keeps_all_awake() -> None:
    assert population(LIF()).can_sleep
    assert not population(LI()).can_sleep
    assert not population(LIF(v_leak=np.array([0, 0, 0, 0.5], np.float32))).can_sleep
    assert not population(LIF(form="decay_input", tau=2.0, reset="to_value", v_reset=0.25)).can_sleep
    assert not population(LIF(), biased=np.array([False, True, False, False])).can_sleep


def test_constants_are_given_up_where_a_current_hardly_decays() -> None:
    rule = sleep_rule(CubaLIF().program)
    assert rule is not None
    found = rule.constants({"beta_syn": np.array([0.0, 0.5, 1 - 2.0**-24, 1.0], np.float32)}, "float32")
    assert found["lift"].tolist()[0] < 1e-30
    assert 1 < found["lift"][1] < 1.00001
    assert found["lift"].tolist()[2:] == [np.inf, np.inf]
    assert (found["margin"] > 1).all()
