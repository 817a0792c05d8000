"""A session is a run tick by tick, and its state is a value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine import Session
from neuroaccel.errors import InputError, StateError
from neuroaccel.graph import Graph
from tests.random_graphs import random_graph, random_input


def draw(seed: int, T: int = 10, N: int = 3) -> tuple[Graph, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    return graph, random_input(graph, rng, T, N)


def play(session: Session, x: NDArray[Any]) -> list[dict[str, list[Any]]]:
    return [{name: value.tolist() for name, value in session.step(values).items()} for values in x]


SEEDS = pytest.mark.parametrize("seed", range(12))


@SEEDS
def test_steps_are_a_run(seed: int) -> None:
    graph, x = draw(seed)
    result = engine.run(graph, x)
    session = engine.open(graph, 3)
    assert play(session, x) == [{k: v[t].tolist() for k, v in result.trace.outputs.items()} for t in range(10)]
    for name, columns in result.counts.items():
        assert {k: v.tolist() for k, v in session.counts[name].items()} == {k: v.tolist() for k, v in columns.items()}


@SEEDS
def test_a_restored_state_goes_on_as_if_nothing_had_happened(seed: int) -> None:
    graph, x = draw(seed)
    session = engine.open(graph, 3)
    play(session, x[:4])
    state = session.state()
    rest = play(session, x[4:])
    session.restore(state)
    assert play(session, x[4:]) == rest
    other = engine.open(graph, 3)
    other.restore(state)
    assert play(other, x[4:]) == rest


@SEEDS
def test_a_reset_sample_starts_fresh_and_the_others_go_on(seed: int) -> None:
    graph, x = draw(seed)
    session, undisturbed, fresh = (engine.open(graph, 3) for _ in range(3))
    play(session, x[:4])
    play(undisturbed, x[:4])
    session.reset(np.array([False, True, False]))
    for values in x[4:]:
        found, kept, new = (s.step(values) for s in (session, undisturbed, fresh))
        for name, value in found.items():
            np.testing.assert_array_equal(value[[0, 2]], kept[name][[0, 2]])
            np.testing.assert_array_equal(value[1], new[name][1])
    for name, columns in session.counts.items():
        for column, counted in columns.items():
            assert counted[1] == fresh.counts[name][column][1]
            assert counted[0] == undisturbed.counts[name][column][0]
    session.reset()
    assert session.tick == 0
    assert {k: v.tolist() for k, v in session.state().items()} == {
        k: v.tolist() for k, v in engine.open(graph, 3).state().items()
    }


@SEEDS
def test_samples_do_not_touch_each_other(seed: int) -> None:
    graph, x = draw(seed)
    together = engine.run(graph, x)
    for sample in range(3):
        alone = engine.run(graph, x[:, sample : sample + 1])
        for name, values in together.trace.outputs.items():
            np.testing.assert_array_equal(alone.trace.outputs[name][:, 0], values[:, sample])
        for name, columns in together.counts.items():
            assert {k: v[sample] for k, v in columns.items()} == {k: v[0] for k, v in alone.counts[name].items()}


def test_a_state_is_a_copy() -> None:
    graph, x = draw(3)
    session = engine.open(graph, 3)
    play(session, x[:3])
    state = session.state()
    kept = {key: value.copy() for key, value in state.items()}
    play(session, x[3:])
    for key, value in kept.items():
        np.testing.assert_array_equal(state[key], value)
    session.restore(state)
    play(session, x[3:])
    for key, value in kept.items():
        np.testing.assert_array_equal(state[key], value)


def test_after_a_refused_input_the_session_is_as_it_was() -> None:
    graph, x = draw(6)
    session, other = engine.open(graph, 3), engine.open(graph, 3)
    play(session, x[:5])
    play(other, x[:5])
    bad = x[5].copy()
    bad.flat[0] = -1
    for wrong in (bad, x[5][:2], x[5][..., None]):
        with pytest.raises(InputError, match=r"tick 5|samples"):
            session.step(wrong)
    assert session.tick == 5
    assert play(session, x[5:]) == play(other, x[5:])


def test_a_foreign_state_is_refused_and_changes_nothing() -> None:
    graph, x = draw(2)
    session = engine.open(graph, 3)
    play(session, x)
    state = session.state()
    key = next(iter(state))
    wrong: list[dict[str, Any]] = [
        {k: v for k, v in state.items() if k != key},
        {**state, "other/v": state[key]},
        {**state, key: state[key][:2]},
        {**state, key: state[key].astype(np.float16)},
    ]
    for foreign in wrong:
        with pytest.raises(StateError):
            session.restore(foreign)
    assert {k: v.tolist() for k, v in session.state().items()} == {k: v.tolist() for k, v in state.items()}
    with pytest.raises(StateError, match="the mask is"):
        session.reset(np.array([True]))
    with pytest.raises(StateError, match="the mask is"):
        session.reset(np.array([0, 1, 0]))
    with pytest.raises(InputError, match="at least one sample"):
        engine.open(graph, 0)


def test_sessions_of_one_plan_do_not_share_anything() -> None:
    graph, x = draw(1)
    plan = engine.compile_graph(graph)
    a, b = Session(plan, 3), Session(plan, 3)
    expected = play(engine.open(graph, 3), x)
    found = [], []  # type: ignore[var-annotated]
    for values in x:
        for kept, session in zip(found, (a, b), strict=True):
            kept += play(session, values[None])
    assert found == (expected, expected)
