"""Versioned .npz files: whole or not at all, and refused in one readable line."""

import numpy as np
import pytest

from neuroaccel.engine.npz import read_npz, write_npz
from neuroaccel.errors import FileFormatError

ARRAYS = {"a": np.arange(1000), "b": np.array([1.5, np.inf]), "c": np.array("text")}


def test_what_was_written_is_read(tmp_path):
    path = write_npz(tmp_path / "file.npz", "kind", 3, ARRAYS)
    read = read_npz(path, "kind", 3, ("a", "b"))
    assert set(read) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.npz"]


def test_every_truncation_is_refused(tmp_path):
    path = write_npz(tmp_path / "file.npz", "kind", 1, ARRAYS)
    whole = path.read_bytes()
    for length in [0, 1, 3, 4, 30, 100, *range(200, len(whole), 997), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=r"file\.npz"):
            read_npz(path, "kind", 1, ("a", "b"))


def test_a_flipped_byte_is_never_read_as_other_data(tmp_path):
    path = write_npz(tmp_path / "file.npz", "kind", 1, ARRAYS)
    whole = path.read_bytes()
    for place in range(0, len(whole), 61):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            read = read_npz(path, "kind", 1, ("a", "b", "c"))
        except FileFormatError:
            continue
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(read[name], array)


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "file.npz"
    with pytest.raises(FileFormatError, match="no such file"):
        read_npz(path, "kind", 1, ())
    path.write_text("not a zip archive")
    with pytest.raises(FileFormatError, match="truncated or foreign"):
        read_npz(path, "kind", 1, ())
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(FileFormatError, match="truncated or foreign"):
        read_npz(path, "kind", 1, ())
    np.savez(path, a=np.arange(3))
    with pytest.raises(FileFormatError, match="found format none, expected 'kind'"):
        read_npz(path, "kind", 1, ())
    np.savez(path, format=np.array("kind"), a=np.arange(3))
    with pytest.raises(FileFormatError, match="no version"):
        read_npz(path, "kind", 1, ())
    write_npz(path, "other", 1, ARRAYS)
    with pytest.raises(FileFormatError, match="found format 'other', expected 'kind'"):
        read_npz(path, "kind", 1, ())


def test_newer_and_incomplete_files_are_refused(tmp_path):
    path = write_npz(tmp_path / "file.npz", "kind", 2, ARRAYS)
    with pytest.raises(FileFormatError, match="version 2 is newer than 1"):
        read_npz(path, "kind", 1, ())
    with pytest.raises(FileFormatError, match=r"lacks the arrays \['d'\]"):
        read_npz(path, "kind", 2, ("a", "d"))


def test_python_objects_are_neither_written_nor_read(tmp_path):
    path = tmp_path / "file.npz"
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(FileFormatError, match="Python objects"):
        write_npz(path, "kind", 1, {"a": objects})
    assert not list(tmp_path.iterdir())
    np.savez(path, format=np.array("kind"), version=np.array(1), a=objects)
    with pytest.raises(FileFormatError, match="truncated or foreign"):
        read_npz(path, "kind", 1, ())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_npz(tmp_path / "file.npz", "kind", 1, ARRAYS)

    def fail(*_args, **_named):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        write_npz(path, "kind", 1, {"a": np.arange(2)})
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.npz"]
    assert len(read_npz(path, "kind", 1, ("a",))["a"]) == 1000


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileFormatError, match="there is no folder"):
        write_npz(tmp_path / "missing" / "file.npz", "kind", 1, ARRAYS)
