"""torch's own threads run work of ours, and without them ours do, with the same results."""

from __future__ import annotations

import threading

import pytest
import torch

from neuroaccel.kernels import team, threads

needs_team = pytest.mark.skipif(not team.available(), reason="this torch has no threads of GNU OpenMP's")


@needs_team
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_thread_runs_it_once_and_the_caller_is_one_of_them(count: int) -> None:
    seen: list[int] = []
    team.together(lambda: seen.append(threading.get_ident()), count)
    assert len(seen) == len(set(seen)) == count
    assert threading.get_ident() in seen


@needs_team
def test_torch_computes_with_them_before_and_after() -> None:
    x = torch.rand(1000, 1000, dtype=torch.float64)
    expected = x.sum()
    for _ in range(3):
        team.together(lambda: None, 2)
        assert torch.allclose(x.sum(), expected)


@pytest.mark.parametrize("there", [False, True])
def test_work_is_shared_with_and_without_them(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    if not there:
        monkeypatch.setattr(team, "_PARALLEL", None)
    elif not team.available():
        pytest.skip("this torch has no threads of GNU OpenMP's")
    ranges = [(k, k + 1) for k in range(40)]
    seen: list[tuple[int, int]] = []
    threads.share(lambda a, b: seen.append((a, b)), ranges, 3)
    assert sorted(seen) == ranges
    with pytest.raises(ValueError, match="part 7"):
        threads.share(_fails_at_seven, ranges, 3)


def _fails_at_seven(first: int, last: int) -> None:
    if first == 7:
        raise ValueError("part 7")
