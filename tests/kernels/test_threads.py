"""Neurons are divided among threads completely, and an error in any thread is an error."""

from __future__ import annotations

import threading

import pytest
import torch

from neuroaccel.kernels.threads import GRAIN, parts, spread


@pytest.fixture(name="three_threads")
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)


@pytest.mark.parametrize("neurons", [0, 1, 63, 64, 65, 1000, 100_003])
@pytest.mark.usefixtures("three_threads")
def test_every_neuron_is_in_one_part(neurons: int) -> None:
    ranges = parts(neurons, 100)
    assert [n for part in ranges for n in range(*part)] == list(range(neurons))
    assert all(start % 64 == 0 for start, _ in ranges)
    assert len(ranges) <= 3


@pytest.mark.usefixtures("three_threads")
def test_small_work_stays_on_the_calling_thread() -> None:
    seen: list[int] = []
    spread(lambda first, last: seen.append(threading.get_ident()), GRAIN // 4, 2)
    assert seen == [threading.get_ident()]


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.usefixtures("three_threads")
def test_an_error_of_any_part_is_raised(failing: int) -> None:
    def work(first: int, last: int) -> None:
        if first == parts(GRAIN, 10)[failing][0]:
            raise ValueError("part")

    with pytest.raises(ValueError, match="part"):
        spread(work, GRAIN, 10)
