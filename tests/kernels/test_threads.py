"""Neurons are divided among threads completely, and an error in any thread is an error."""

from __future__ import annotations

import multiprocessing
import threading

import pytest
import torch

from neuroaccel.kernels.threads import GRAIN, PARTS, parts, share, spread
from neuroaccel.neurons import LIF


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
    assert inner == parts(100_000, 3)


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


def layer_spikes(x: torch.Tensor) -> float:
    """Spikes of a layer that is large enough for several threads."""
    with torch.no_grad():
        return float(LIF(beta=0.9)(x)[0].numpy().sum())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.usefixtures("three_threads")
def test_a_forked_child_runs_the_kernels_with_threads_of_its_own() -> None:
    x = torch.rand(20, 8, 1000, generator=torch.Generator().manual_seed(0))
    expected = layer_spikes(x)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send((layer_spikes(x), threading.active_count())))
    child.start()
    try:
        assert receiver.poll(60), "the child does not answer"
        assert receiver.recv() == (expected, 3)
    finally:
        child.kill()
        child.join()
    assert layer_spikes(x) == expected


@pytest.mark.usefixtures("three_threads")
def test_ranges_of_any_kind_are_shared_and_each_is_run_once() -> None:
    pairs = [(a, b) for a in range(5) for b in range(7)]
    for threads in (1, 2, 3):
        seen: list[tuple[int, int]] = []
        share(lambda a, b, seen=seen: seen.append((a, b)), pairs, threads)
        assert sorted(seen) == pairs
