"""The Mackey-Glass track: the regression, the network that it builds, closed loops, rows that are not run twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroaccel import engine
from neuroaccel.errors import FileFormatError, InputError, RecipeError
from neuroaccel.graph import infer
from neuroaccel.ledger import count
from neuroaccel.ledger.neurobench import score
from neuroaccel.training import mackey_glass as mg
from neuroaccel.training import mackey_glass_table as table

SMALL = replace(
    mg.quick(mg.Protocol()),
    spiking=mg.SpikingOptions(neurons=120, ticks=8, ridge=1e-3),
    longer=mg.SpikingOptions(neurons=60, ticks=16, ridge=1e-3),
    echo=mg.EchoOptions(units=80, degree=10),
    train_time=4.0,
    test_time=1.0,
)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_ridge_is_where_the_gradient_vanishes(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=shape), rng.normal(size=shape[0])
    w = mg.ridge(features, targets, 0.3)
    gradient = features.T @ (features @ w - targets) + 0.3 * shape[0] * w
    np.testing.assert_allclose(gradient, 0, atol=1e-9)


def fitted(tau: int = 17, repeat: int = 0) -> tuple[Any, Any]:
    part = SMALL.stretch(tau, repeat)
    change = (part.train_target - part.train)[SMALL.warmup_points :]
    return mg.fit_spiking(SMALL.spiking, tau, np.random.default_rng([repeat, tau]), part.train, change), part


def test_the_network_computes_what_was_fitted() -> None:
    graph, part = fitted()
    infer(graph)
    ticks = SMALL.spiking.ticks
    heard = np.repeat(part.train, ticks)[:, None, None].astype(np.float32)
    said = engine.run(graph, heard).trace.outputs["next"][ticks - 1 :: ticks, 0, 0]
    held = part.train_target[SMALL.warmup_points :]
    error = np.sqrt(np.mean((said[SMALL.warmup_points :] - held) ** 2))
    naive = np.sqrt(np.mean((part.train[SMALL.warmup_points :] - held) ** 2))
    assert error < naive / 4
    # The readout on filtered spikes, and the filter on read out spikes, are one: fit again and compare in float64.
    reservoir = mg.reservoir(SMALL.spiking, 17, np.random.default_rng([0, 17]))
    trace = engine.run(reservoir, heard).trace.outputs["y"][ticks - 1 :: ticks, 0].astype(np.float64)
    weight = graph.nodes["readout"].weight[0].astype(np.float64)
    np.testing.assert_allclose(said - part.train, trace @ weight, atol=2e-4)


def test_a_forecast_repeats_itself_and_follows_the_series_at_first() -> None:
    graph, part = fitted()
    found = mg.forecast_spiking(graph, SMALL.spiking.ticks, part.train, float(part.test[0]), 40)
    again = mg.forecast_spiking(graph, SMALL.spiking.ticks, part.train, float(part.test[0]), 40)
    assert np.array_equal(found, again)
    mean = np.full(40, part.train.mean())
    assert score("SMAPE", found[:15], part.test_target[:15]) < score("SMAPE", mean[:15], part.test_target[:15]) / 2


def test_a_loop_that_runs_away_is_cut() -> None:
    assert np.array_equal(mg._alone(lambda x: 3 * x + 0.1, 1.0, 3), np.full(3, 2.0))
    assert np.array_equal(mg._alone(lambda x: x - 5, 1.0, 3), np.zeros(3))


def test_rows_are_run_once_and_hold_neurobench_s_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[int, int]] = []
    rows, file, markdown = table.reproduce_mackey_glass(
        tmp_path, seeds=1, protocol=SMALL, progress=lambda a, b: steps.append((a, b))
    )
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert json.loads(file.read_text()) == rows
    values = {(row["arm"], row["metric"]): row["value"] for row in rows}
    assert {row["task"] for row in rows} == {"mackey-glass-17"}
    assert {row["seed"] for row in rows} == {29}
    neurons, ticks = SMALL.spiking.neurons, SMALL.spiking.ticks
    assert values["snn", "effective_macs"] == neurons * ticks
    assert values["snn", "dense_synops"] == 2 * neurons * ticks
    assert values["snn-64", "dense_synops"] == 2 * 60 * 16
    assert 0 < values["snn", "effective_acs"] < neurons * ticks
    assert all(0 <= values[arm, "smape"] <= 200 for arm in mg.ARMS)
    assert values["esn", "effective_macs"] == 80 * 12
    for arm in mg.ARMS:
        assert f"{values[arm, 'smape']:.2f}" in markdown.read_text()

    def refuse(*_: object) -> dict[str, float]:
        raise AssertionError("run again")

    monkeypatch.setattr(mg, "measure", refuse)
    assert table.reproduce_mackey_glass(tmp_path, seeds=1, protocol=SMALL)[0] == rows
    with pytest.raises(AssertionError, match="run again"):
        table.reproduce_mackey_glass(tmp_path, seeds=1, protocol=SMALL, overwrite=True)


def test_the_ledger_s_executors_agree_on_the_network() -> None:
    graph, part = fitted(tau=22)
    x = np.repeat(part.test[:10], SMALL.spiking.ticks)[:, None, None].astype(np.float32)
    by_engine, by_torch = count(graph, x), count(graph, x, executor="torch")
    assert by_engine.total("spikes").sum() > 0
    assert by_engine.differences(by_torch) == []


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown arms lstm"):
        mg.run_mackey_glass(SMALL, arms=("snn", "lstm"))
    with pytest.raises(RecipeError, match="unknown delay 3"):
        mg.run_mackey_glass(replace(SMALL, taus=(3,)), arms=("mean",))
    for change in ({"taus": ()}, {"repeats": ()}, {"warmup": 4.0}):
        with pytest.raises(RecipeError, match="expected delays"):
            replace(SMALL, **change)
    for seeds in (0, 31):
        with pytest.raises(InputError, match=f"{seeds} seeds"):
            table.reproduce_mackey_glass(tmp_path, seeds=seeds)
    for text in ("{}", "[{}]", "[", '[{"task": "t", "arm": "a", "seed": 1, "metric": "m", "value": "x"}]'):
        (tmp_path / "mackey-glass.json").write_text(text)
        with pytest.raises(FileFormatError, match=r"mackey-glass\.json"):
            table.reproduce_mackey_glass(tmp_path, seeds=1, protocol=SMALL)


def test_a_mean_over_some_of_the_tasks_is_not_shown() -> None:
    row = {"seed": 29, "metric": "smape"}
    rows = [{**row, "task": f"t-{i}", "arm": arm, "value": 10.0 * i} for i in (1, 2) for arm in ("snn", "esn")]
    text = table.render([*rows, {**row, "task": "t-1", "arm": "mean", "value": 25.0}])
    assert "| t-2 | 20.00 | not run | 20.00 | not run |" in text
    assert "| median | 15.00 | not all run | 15.00 | not all run |" in text
    assert "`snn` − `esn` over 2 stretches: +0.00 ± 0.00" in text
    assert "not all run" in table.render([])
