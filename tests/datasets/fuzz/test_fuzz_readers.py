"""Every reader, with rubbish and with damaged files: sound events or an error of our own, and this process lives on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuroaccel.datasets.readers import guard
from tests.conftest import examples
from tests.datasets.fuzz.cases import CORPUS, FORMATS, KINDS, MAGIC, NATIVE, Change, attempt, damaged, seed

CHANGES = st.lists(
    st.tuples(st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 2**31 - 1)), min_size=1, max_size=8
)
ON_ERROR = st.sampled_from(["raise", "drop", "clip"])
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SECONDS", 1.0)


class Seeds(dict[str, bytes]):
    """Seeds by format; hypothesis shows a failing test's arguments, and these are long."""

    def __repr__(self) -> str:
        return "seeds"


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    pytest.importorskip("dv_processing")
    folder = tmp_path_factory.mktemp("seeds")
    return Seeds({name: seed(name, folder) for name in FORMATS})


@pytest.mark.parametrize("name", FORMATS)
def test_the_seeds_can_be_read(seeds: Seeds, tmp_path: Path, name: str) -> None:
    path = tmp_path / "seed.bin"
    path.write_bytes(seeds[name])
    assert attempt(path) is None


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in NATIVE])
@given(changes=CHANGES, on_error=ON_ERROR)
@settings(max_examples=examples(400, 20_000), suppress_health_check=SHARED)
def test_damaged_files(seeds: Seeds, tmp_path: Path, name: str, changes: list[Change], on_error: str) -> None:
    path = tmp_path / "case.bin"
    path.write_bytes(damaged(seeds[name], changes))
    attempt(path, on_error)


@pytest.mark.parametrize("name", NATIVE)
@given(changes=CHANGES, on_error=ON_ERROR)
@settings(max_examples=examples(150, 2000), suppress_health_check=SHARED)
def test_damaged_files_of_native_libraries(
    seeds: Seeds, tmp_path: Path, name: str, changes: list[Change], on_error: str
) -> None:
    path = tmp_path / "case.bin"
    path.write_bytes(damaged(seeds[name], changes))
    attempt(path, on_error)


@given(magic=st.sampled_from(MAGIC), content=st.binary(max_size=300), on_error=ON_ERROR)
@settings(max_examples=examples(200, 20_000), suppress_health_check=SHARED)
def test_rubbish(tmp_path: Path, magic: bytes, content: bytes, on_error: str) -> None:
    path = tmp_path / "case.bin"
    path.write_bytes(magic + content)
    attempt(path, on_error)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.bin")), ids=lambda path: path.name)
def test_what_was_found_before(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    for on_error in ("raise", "drop"):
        attempt(copy, on_error)
