"""The rule that picks a kernel: what may run at all, and which way it leans."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from neuroaccel.engine import schedule
from neuroaccel.engine.schedule import BYTES, GROUP, PANEL, Caches, LinearRule, machine_caches

SMALL = Caches(1 << 20, 32 << 20)
LARGE = LinearRule(4096, 4096, caches=SMALL)


def events(rule: LinearRule, rows: int, rate: float) -> int:
    return round(rate * rows * rule.lead * rule.inputs)


def test_single_rows_are_strict_and_many_busy_ones_blocked() -> None:
    assert LARGE.choose(1, 200).kind == "strict"
    assert LARGE.choose(1, 200).ahead
    chosen = LARGE.choose(128, events(LARGE, 128, 0.05))
    assert (chosen.kind, chosen.group, chosen.streamed) == ("blocked", GROUP, True)
    assert LARGE.choose(2, 3).kind == "strict"


def test_weights_at_hand_are_not_asked_for() -> None:
    small = LinearRule(256, 256, caches=SMALL)
    assert not small.choose(1, 20).ahead
    assert not small.choose(128, 2000).streamed


@pytest.mark.parametrize("storage", ["f4", "bf16", "i1"])
@pytest.mark.parametrize("inputs", [1, 100, 4096, 100_000])
def test_a_tile_fits_a_quarter_of_the_second_cache(storage: schedule.Storage, inputs: int) -> None:
    rule = LinearRule(inputs, 512, storage=storage, caches=SMALL)
    for rate in (0.0, 0.01, 0.3, 1.0):
        tile = rule.tile(64, events(rule, 64, rate))
        assert 1 <= tile <= inputs
        assert tile * PANEL * BYTES[storage] <= SMALL.l2 // 4


def test_products_of_matrices_are_for_exact_sums_and_dense_input() -> None:
    exact = dataclasses.replace(LARGE, exact=True)
    assert exact.choose(128, events(exact, 128, 1.0)).kind == "dense"
    assert exact.choose(128, events(exact, 128, 0.2)).kind == "blocked"
    assert LARGE.choose(128, events(LARGE, 128, 1.0)).kind == "blocked"
    assert exact.choose(1, 4096).kind == "strict"


def test_csr_is_for_few_living_weights() -> None:
    few, more = (dataclasses.replace(LARGE, sparse=True, living=living) for living in (0.02, 0.24))
    assert few.choose(1, 200).kind == few.choose(128, events(few, 128, 0.05)).kind == "csr"
    assert more.choose(1, 200).kind == "strict"
    assert dataclasses.replace(few, sparse=False).choose(1, 200).kind == "strict"


def test_explain_tells_where_the_rule_changes() -> None:
    text = dataclasses.replace(LARGE, exact=True).explain(128)
    assert "64 MiB in memory" in text
    assert "a single row: strict" in text
    order = [text.index(word) for word in ("rows: strict", "blocked from", "dense from")]
    assert order == sorted(order)


def test_caches_are_read_where_linux_tells_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k, (level, size) in enumerate([("1", "48K"), ("2", "2048K"), ("3", "260M")]):
        (tmp_path / f"index{k}").mkdir()
        (tmp_path / f"index{k}" / "level").write_text(level + "\n")
        (tmp_path / f"index{k}" / "size").write_text(size + "\n")
    monkeypatch.setattr(schedule, "CACHE_FOLDER", tmp_path)
    machine_caches.cache_clear()
    assert machine_caches() == Caches(2 << 20, 260 << 20)
    monkeypatch.setattr(schedule, "CACHE_FOLDER", tmp_path / "missing")
    machine_caches.cache_clear()
    assert machine_caches() == Caches()
    machine_caches.cache_clear()
