"""What scripts/bench_engine computes by itself: inputs, weights, the reference, and figures from times."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroaccel import engine
from neuroaccel.graph import Graph, Input, Linear, Neuron, Output, chain
from neuroaccel.program import LIF

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from engine_bench import data
from engine_bench.table import Contender, Table, differing, shown

BITS_LOST_IN_BF16 = 0xFFFF


@pytest.mark.parametrize("storage", ["fp32", "bf16", "int8"])
def test_weights_fit_their_storage_and_no_narrower_one(storage: data.Storage) -> None:
    layer = data.layer(np.random.default_rng(0), (64, 4096), storage)
    assert layer.whole.all()
    assert np.abs(layer.whole.astype(np.int64)).sum(1).max() < 2**24
    assert np.array_equal(layer.weight * 2.0**layer.q, layer.whole)
    in_bf16 = not (layer.weight.view(np.uint32) & BITS_LOST_IN_BF16).any()
    in_int8 = np.abs(layer.whole).max() <= 127
    assert (in_bf16, in_int8) == {"fp32": (False, False), "bf16": (True, False), "int8": (True, True)}[storage]


def test_the_reference_spikes_are_the_engines() -> None:
    rng = np.random.default_rng(1)
    x = data.uniform(rng, 30, (40,), 0.1)
    (settled,), (spikes,) = data.settle(x, [data.layer(rng, (50, 40))], 0.05)
    assert 0 < spikes.mean() <= 0.05
    spec = LIF(beta=data.BETA, threshold=settled.threshold)
    values = {name: np.float32(value) for name, value in spec.values.items()}
    graph: Graph = chain(
        {"x": Input((40,)), "w": Linear(settled.weight), "n": Neuron(spec.program, values, (50,)), "y": Output()}
    )
    result = engine.run(graph, [data.stream(x)])
    assert differing(result, spikes) == 0


@pytest.mark.parametrize("rate", [0.005, 0.02, 0.1])
def test_patches_have_the_rate_and_lie_close_together(rate: float) -> None:
    x = data.patches(np.random.default_rng(2), 10, (8, 64, 64), rate)
    assert x.mean() == pytest.approx(rate, rel=0.2)
    active = x.any(axis=(0, 1)).mean()
    assert active < data.uniform(np.random.default_rng(2), 10, x.shape[1:], rate).any(axis=(0, 1)).mean()


def test_slope_is_the_exponent() -> None:
    assert data.slope([1, 10, 100], [3 * x**0.7 for x in (1, 10, 100)]) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([1, 2, 4], [3, 3, 3], 0.1 * 10 ** (np.log(1.5) / np.log(2))),
        ([1, 1, 1], [3, 3, 3], 1.0),
        ([4, 4, 4], [3, 3, 3], 0.01),
        ([4, 1, 9], [3, 3, 3], 0.1 * 10**0.5),  # theirs is faster at both ends: the last change counts
    ],
)
def test_crossing_lies_between_the_neighbours(ours: list[float], theirs: list[float], expected: float) -> None:
    assert data.crossing([0.01, 0.1, 1.0], ours, theirs) == pytest.approx(expected)


def test_a_contest_tells_who_differs_and_how_fast_all_are(capsys: pytest.CaptureFixture[str]) -> None:
    table, right = Table(5), np.array([0, 1, 1, 0])
    wrong = np.array([1, 1, 1, 0])
    calls: list[str] = []

    def contender(who: str, given: Any, **options: Any) -> Contender:
        def run() -> Any:
            calls.append(who)
            return given

        return Contender(who, run, **options)

    seconds = table.contest(
        "work",
        [
            contender("neuroaccel", right, expected=right),
            contender("rival", wrong, expected=right),
            contender("other", wrong, expected=right, exact=False),
            contender("limit", None),
        ],
    )
    assert set(seconds) == {"neuroaccel", "rival", "other", "limit"}
    assert calls[:4] == ["neuroaccel", "rival", "other", "limit"]
    assert calls.count("rival") >= 1 + 2 * 5  # short runs: each that counts follows some that do not
    assert table.differing == ["work, rival: 33.33%"]
    table.times("work", {"neuroaccel": 2.0, "rival": 3.0}, "neuroaccel", steps=4, events=6 * 10**9)
    table.ratios("work", {"neuroaccel": 2.0, "rival": 3.0}, "neuroaccel")
    rows = json.loads(table.json())
    assert all(set(row) == {"work", "who", "metric", "value", "unit", "threads", "runs"} for row in rows)
    found = {(row["who"], row["metric"]): row["value"] for row in rows}
    assert found == {
        ("other", "differing spikes"): pytest.approx(1 / 3),
        ("neuroaccel", "time per step"): 0.5,
        ("neuroaccel", "synaptic events per second"): 3.0,
        ("rival", "time per step"): 0.75,
        ("rival", "synaptic events per second"): 2.0,
        ("neuroaccel", "times as fast as rival"): 1.5,
    }
    assert "1.50×" in capsys.readouterr().out


def test_results_of_another_size_differ_wholly() -> None:
    assert differing(np.ones(3), np.ones(4)) == 1.0
    assert differing(np.zeros(4), np.zeros(4)) == 0.0


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.0123, "s", "12.3 ms"), (2e-9, "s", "2 ns"), (0.0123, "fraction", "1.230%"), (1.5, "GB/s", "1.5 GB/s")],
)
def test_values_for_people(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text
