"""The rules of sleep against what the neurons then really do."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel.engine.plan import Number
from neuroaccel.engine.sleep import sleep_rule
from neuroaccel.graph import Conv2d, WeightGrid
from neuroaccel.program import LI, LIF, CubaLIF, NeuronSpec
from neuroaccel.program.match import known, program_of
from tests.conftest import examples
from tests.engine.convolutions import due, graph_of, lazily
from tests.engine.populations import SLEEPERS, Interpreter, Lent


def judged(
    spec: NeuronSpec,
    size: tuple[int, int],
    number: Number,
    channels: int,
    states: dict[str, NDArray[Any]],
    channel: Any,
) -> tuple[NDArray[np.bool_], Interpreter]:
    """Put states ``[H * W]`` into one ``channel`` of every place, the others being fresh, and run a tick without input.

    Returns:
        Which places may be left alone from then on, and their neurons as they are then.
    """
    weight = np.ones((channels, 1, 1, 1), np.float32)
    session = lazily(graph_of(Conv2d(weight, grid=WeightGrid(0)), spec, size), number)
    state, places = session.state(), np.arange(size[0] * size[1])
    for name, value in states.items():
        state[f"n/{name}"].reshape(channels, -1)[channel, places] = value
    session.restore(state)
    session.step(np.zeros((1, 1, *size), np.float32))
    slow = Interpreter(spec, (1, *size), 1, number)
    after = session.neuron_state("n")
    slow.states = {name: after[name].reshape(channels, -1)[None, channel, places] for name in states}
    return ~due(session), slow


@pytest.mark.parametrize("spec", SLEEPERS, ids=lambda s: f"{s.program.name}-{s.program.key[:4]}")
@pytest.mark.parametrize("number", ["float32", "float64"])
@pytest.mark.parametrize("channels", [1, 20])
def test_who_is_asleep_never_fires(spec: NeuronSpec, number: Number, channels: int) -> None:
    """States at random around the threshold, at its neighbours too: whoever a cell lets sleep stays below for ever."""
    rng = np.random.default_rng(11)
    size = 4096
    threshold = Interpreter(spec, (size,), 1, number).values["threshold"]
    values: dict[str, NDArray[Any]] = {}
    for name in spec.program.state_names:
        draw = rng.normal(size=size) * rng.choice([1e-42, 1e-30, 0.3, 1.0, 3.0], size)
        near = np.nextafter(threshold, rng.choice([-np.inf, np.inf], size).astype(number))
        draw = np.where(rng.random(size) < 0.3, np.where(rng.random(size) < 0.5, near, threshold), draw)
        draw = np.where(rng.random(size) < 0.05, rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], size), draw)
        values[name] = (rng.random(size) < 0.2) * 1.0 if name == "r" else draw
    asleep, slow = judged(spec, (64, 64), number, channels, values, rng.integers(channels, size=size))
    for _ in range(400):
        _, moved = slow.tick(np.zeros((1, size), number), np.zeros((1, size), np.bool_))
        assert not (moved[0] & asleep).any()
    assert 0.2 < asleep.mean() < 0.995


@pytest.mark.parametrize("number", ["float32", "float64"])
def test_a_current_close_to_the_bound_is_judged_safely(number: Number) -> None:
    """Slowly decaying currents whose sum just reaches the threshold, or just does not."""
    rng = np.random.default_rng(5)
    shape, size = (1, 100, 200), 20_000
    beta_syn = rng.choice([0.0, 0.5, 0.9, 0.99, 0.999, 1.0], size).astype(np.float32)
    gain = rng.choice([-1.0, 1.0, 0.125], size).astype(np.float32)
    spec = CubaLIF(beta_syn.reshape(shape), 1.0, 1.0, gain=gain.reshape(shape))
    v, decays = rng.random(size).astype(number), beta_syn.astype(np.float64)
    room = np.where(decays < 1, (1 - v) * (1 - decays) / np.maximum(decays, 1e-3), 1e-9)
    u = room / gain * (1 + rng.choice([-1e-2, -1e-4, -1e-5, -3e-6, -1e-6, 0, 1e-6, 1e-4], size))
    asleep, slow = judged(spec, shape[1:], number, 1, {"u": u, "v": v}, 0)
    fired = np.zeros(size, np.bool_)
    for _ in range(examples(4000, 20_000)):
        _, moved = slow.tick(np.zeros((1, size), number), np.zeros((1, size), np.bool_))
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
