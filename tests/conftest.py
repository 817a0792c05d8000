"""What every test shares: counts and determinism of the property tests, threads, and a cache that is not the user's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Before any test imports torch or numba: one thread per test process under xdist, else the two of a small machine.
os.environ.setdefault(
    "OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else str(min(2, os.cpu_count() or 1))
)
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import HealthCheck, settings

LONG = os.environ.get("NEUROACCEL_LONG", "") not in ("", "0")

# Derandomised: the same examples in every run, so that a failure is the change's and not the day's; a data base of
# earlier failures would make runs differ, so there is none. No deadline: the first example of a test compiles kernels.
settings.register_profile(
    "ci", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")


def examples(n_ci: int, n_long: int) -> int:
    """Number of examples of a property test: n_ci, or n_long under `scripts/test --long` (NEUROACCEL_LONG=1).

    For decorators: `from tests.conftest import examples`, then `@settings(max_examples=examples(200, 2000))`.
    """
    return n_long if LONG else n_ci


@pytest.fixture(name="examples", scope="session")
def examples_fixture() -> Callable[[int, int], int]:
    """The function `examples` as a fixture, for tests that draw by themselves."""
    return examples


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One temporary NEUROACCEL_CACHE for the whole session: data is generated once, the user's cache is not touched.

    The cache of compiled kernels (NEUROACCEL_KERNEL_CACHE) stays where it is: it is keyed by its sources.
    """
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROACCEL_CACHE", str(folder))
        yield folder


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own, for tests of the caching itself."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("NEUROACCEL_CACHE", str(folder))
    return folder
