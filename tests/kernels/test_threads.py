"""Neurons are divided among threads completely, and an error in any thread is an error."""

from __future__ import annotations

import threading

import pytest
import torch

from neuroaccel.kernels.threads import GRAIN, PARTS, parts, spread


@pytest.fixture(name="three_threads")
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)


@pytest.mark.parametrize("neurons", [0, 1, 63, 64, 65, 1000, 100_003])
def test_every_neuron_is_in_one_part(neurons: int) -> None:
    ranges = parts(neurons, 3)
    assert [n for part in ranges for n in range(*part)] == list(range(neurons))
    assert all(start % 64 == 0 for start, _ in ranges)
    assert len(ranges) <= 3 * PARTS


@pytest.mark.usefixtures("three_threads")
def test_small_work_stays_on_the_calling_thread() -> None:
    seen: list[tuple[int, int, int]] = []
    spread(lambda first, last: seen.append((threading.get_ident(), first, last)), GRAIN // 4, 2)
    assert seen == [(threading.get_ident(), 0, GRAIN // 4)]


@pytest.mark.usefixtures("three_threads")
def test_other_threads_help_and_the_caller_waits_for_them() -> None:
    seen: list[tuple[int, int]] = []
    met = threading.Barrier(3)
    alone = threading.local()

    def work(first: int, last: int) -> None:
        if not hasattr(alone, "met"):  # each thread waits once, until all three are at work
            alone.met = True
            met.wait(timeout=60)
        seen.append((first, last))

    for _ in range(2):
        seen.clear()
        alone = threading.local()
        spread(work, 100_000, 10)
        assert sorted(seen) == parts(100_000, 3)


@pytest.mark.usefixtures("three_threads")
def test_a_kernel_that_is_called_within_another_does_not_wait_for_it() -> None:
    inner: list[tuple[int, int]] = []

    def work(first: int, last: int) -> None:
        if first == 0:
            spread(lambda a, b: inner.append((a, b)), 100_000, 10)

    spread(work, 100_000, 10)
    assert inner == [(0, 100_000)]


@pytest.mark.parametrize("failing", [0, 5, -1])
@pytest.mark.usefixtures("three_threads")
def test_an_error_of_any_part_is_raised_and_the_next_work_runs(failing: int) -> None:
    bad = parts(100_000, 3)[failing]

    def work(first: int, last: int) -> None:
        if (first, last) == bad:
            raise ValueError("part")

    with pytest.raises(ValueError, match="part"):
        spread(work, 100_000, 10)
    spread(lambda first, last: None, 100_000, 10)
