"""Compiled kernels: kept on disk, never stale, whatever happens to the folder."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from neuroaccel import compiling
from neuroaccel.engine import cache

DOUBLE = """SIGNATURE = "void(V[::1])"


def kernel(x):
    for k in range(x.shape[0]):
        x[k] *= 2
"""
USE = """
import logging, sys
from pathlib import Path
import numpy as np
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
from neuroaccel.engine import cache
x = np.array([1.0, 2.0], np.float32)
cache.compile_source("double", Path(sys.argv[1]).read_text(), "float32")(x)
print(x.tolist())
"""


@pytest.fixture(name="folder")
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NEUROACCEL_KERNEL_CACHE", str(tmp_path / "kernels"))
    yield tmp_path / "kernels"
    compiling._usable.cache_clear()


def use(source: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", USE, str(source)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    )


def test_a_kernel_is_compiled_once_for_all_processes(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "double.py"
    source.write_text(DOUBLE)
    first, second = (use(source).communicate()[0] for _ in range(2))
    assert "compiled kernel double" in first
    assert first.splitlines()[-1] == second.strip() == "[2.0, 4.0]"
    source.write_text(DOUBLE.replace("2", "3"))
    third = use(source).communicate()[0]
    assert third.splitlines()[-1] == "[3.0, 6.0]"
    assert len(list(folder.rglob("double_*.py"))) == 2


def test_processes_that_compile_at_the_same_time_do_not_disturb_each_other(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "double.py"
    source.write_text(DOUBLE)
    processes = [use(source) for _ in range(3)]
    for process in processes:
        assert process.communicate()[0].splitlines()[-1] == "[2.0, 4.0]"
        assert process.returncode == 0
    assert not [path for path in folder.rglob(".double*") if path.is_file()]
    assert use(source).communicate()[0].strip() == "[2.0, 4.0]"  # and the next one finds it compiled


@pytest.mark.parametrize(("pattern", "length"), [("*.nbc", 100), ("*.nbc", 0), ("*.nbi", 50), ("*.nbi", 0)])
def test_damaged_machine_code_is_compiled_anew(folder: Path, tmp_path: Path, pattern: str, length: int) -> None:
    source = tmp_path / "double.py"
    source.write_text(DOUBLE)
    use(source).communicate()
    damaged = list(folder.rglob(pattern))
    assert damaged
    for path in damaged:
        path.write_bytes(path.read_bytes()[:length])
    found = use(source).communicate()[0]
    assert "damaged" in found
    assert found.splitlines()[-1] == "[2.0, 4.0]"
    assert use(source).communicate()[0].strip() == "[2.0, 4.0]"


def test_a_damaged_source_is_written_again(folder: Path) -> None:
    cache.load("scan", "float32")
    (path,) = folder.rglob("scan_float32_*.py")
    text = path.read_text()
    path.write_text("broken(")
    compiling._COMPILED.clear()
    compiling._load.cache_clear()
    cache.load("scan", "float32")
    assert path.read_text() == text


def test_a_folder_that_cannot_be_written_is_replaced_by_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("NEUROACCEL_KERNEL_CACHE", str(blocked / "kernels"))
    with caplog.at_level(logging.INFO, "neuroaccel"):
        where = cache.folder()
    assert tmp_path not in where.parents
    assert "cannot be written" in caplog.text
    x = np.array([1.0, 3.0], np.float64)
    cache.compile_source("double", DOUBLE, "float64")(x)
    assert x.tolist() == [2.0, 6.0]
    assert cache.folder() == where
    compiling._usable.cache_clear()


def test_the_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEUROACCEL_KERNEL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder().parent == (tmp_path / "neuroaccel" / "kernels").resolve()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.folder().parent == (tmp_path / "home" / ".cache" / "neuroaccel" / "kernels").resolve()


def test_a_source_that_does_not_compile_says_so(folder: Path) -> None:
    with pytest.raises(AttributeError, match="kernel"):
        cache.compile_source("nothing", "SIGNATURE = 'void(V)'\n", "float32")
