"""Recordings streamed into the cache: what comes back, what is refused by name, and a disk that fills up."""

import errno
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.datasets import Events, store
from neuroaccel.datasets.cache import cache_key
from neuroaccel.datasets.store import Sample
from neuroaccel.errors import CacheError, EventsError, FileFormatError

SIZE = (6, 5, 2)
KEY = cache_key(1, {"set": "made up"})


def events(count, seed=0, size=SIZE, last_us=10_000):
    rng = np.random.default_rng(seed)
    x, y, p = (rng.integers(0, side, count) for side in size)
    return Events.from_arrays(x, y, np.sort(rng.integers(0, last_us, count)), p, size)


def samples():
    counts = [50, 0, 7, 200]
    return [Sample(events(n, n), label=i % 3, index=10 + i, group=i // 2) for i, n in enumerate(counts)]


def test_recordings_come_back_as_they_were(cache_dir):
    calls = []
    given = samples()
    made = store.build("set", KEY, given, SIZE, "abc", len(given), lambda *at: calls.append(at))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    again = store.build("set", KEY, lambda: pytest.fail("asked for again"), SIZE, "abc")
    for recordings in (made, again, store.read("set", KEY)):
        assert len(recordings) == 4
        assert isinstance(recordings.t_us, np.memmap)
        assert recordings.sensor_size == SIZE
        assert recordings.classes == ("a", "b", "c")
        assert recordings.indices.tolist() == [10, 11, 12, 13]
        assert recordings.groups.tolist() == [0, 0, 1, 1]
        for number, sample in enumerate(given):
            found, label = recordings[number]
            np.testing.assert_array_equal(found.data, sample.events.data)
            assert label == sample.label
            last = sample.events.data["t"][-1] + 1 if len(sample.events) else 0
            assert recordings.durations_us[number] == last
    assert store.read("set", cache_key(2, {})) is None


def test_no_more_than_one_recording_is_asked_for_at_a_time(cache_dir):
    """Streaming: each is written before the next one is read, and none is asked for before the first is needed."""
    alive = []

    def stream():
        for number in range(3):
            alive.append(number)
            assert len(seen) == number
            yield Sample(events(20, number), 0)

    seen = []
    generator = stream()
    assert alive == []
    made = store.build("set", KEY, generator, SIZE, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1), (2, 2), (3, 3)]  # without a total: as many as are known
    assert made.indices.tolist() == [0, 1, 2]
    assert made.groups is None
    assert made.classes == ()


def test_an_empty_set_and_empty_recordings_are_kept(cache_dir):
    nothing = store.build("set", KEY, [], SIZE)
    assert len(nothing) == 0
    silent = store.build("silent", KEY, [Sample(events(0), 1, duration_us=500)] * 3, SIZE)
    assert silent.durations_us.tolist() == [500] * 3
    assert len(silent.t_us) == 0
    assert silent.bin(ticks=5, dt=1e-4).dense([0, 1, 2]).sum() == 0
    assert len(silent.packed([2, 0])) == 2


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (Sample(events(5), None), "has no label"),
        (Sample(events(5), 3), "its label is 3; expected 0 to 2"),
        (Sample(events(5), -1), "its label is -1"),
        (Sample(events(5, size=(6, 4, 2)), 0), "sensor"),
        (Sample(events(5), 0, duration_us=10), "after its end at 10 µs"),
        (Sample(Events.from_arrays([0], [0], [2**31], [0], SIZE), 0), "2147483648"),
    ],
)
def test_a_bad_recording_is_refused_by_name_and_leaves_nothing(cache_dir, sample, words):
    named = Sample(**{**sample.__dict__, "where": "train/3_0.bin"})
    with pytest.raises(EventsError, match=r"set, recording 1 \(train/3_0.bin\): .*" + words):
        store.build("set", KEY, [Sample(events(5), 0), named], SIZE, "abc")
    assert not list(cache_dir.iterdir())


@pytest.mark.parametrize("kind", [EventsError, FileFormatError])
def test_an_error_of_a_reader_names_the_recording(cache_dir, kind):
    def stream():
        yield Sample(events(5), 0)
        raise kind("b.bin: truncated")

    with pytest.raises(kind, match=r"set, recording 1: b.bin: truncated"):
        store.build("set", KEY, stream(), SIZE)
    assert not list(cache_dir.iterdir())


def test_an_error_of_the_readers_own_disk_is_not_taken_for_ours(cache_dir):
    def stream():
        yield Sample(events(5), 0)
        raise FileNotFoundError(errno.ENOENT, "No such file", "b.bin")

    with pytest.raises(FileNotFoundError, match=r"b.bin"):
        store.build("set", KEY, stream(), SIZE)
    assert not list(cache_dir.iterdir())


class FillsUp:
    """A file on a disk with room for so many bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, content):
        self.room -= memoryview(content).nbytes
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(content)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.fixture
def room(request, monkeypatch):
    real = Path.open

    def opened(path, mode="r", *rest, **more):
        file = real(path, mode, *rest, **more)
        return FillsUp(file, request.param) if path.name == "address.npy" and "w" in mode else file

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.parametrize("room", [128, 1000, 1157], indirect=True)
def test_a_disk_that_fills_up_is_a_clear_error_and_leaves_nothing(cache_dir, room):
    with pytest.raises(CacheError, match=r"address.npy: cannot be written .*No space left.*neuroaccel data clear"):
        store.build("set", KEY, samples(), SIZE)
    assert not list(cache_dir.iterdir())


@pytest.mark.parametrize("room", [100], indirect=True)
def test_a_disk_that_is_full_from_the_start_keeps_recordings_in_memory(cache_dir, room, caplog):
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        assert len(store.build("set", KEY, iter(samples()), SIZE)) == 4
    assert "No space left" in caplog.text
    assert "kept in memory" in caplog.text
    assert not list(cache_dir.iterdir())


def test_without_a_cache_recordings_stay_in_memory(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEUROACCEL_CACHE", str(tmp_path / "file" / "cache"))
    given = samples()
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        made = store.build("set", KEY, iter(given), SIZE, "abc")
    assert "kept in memory" in caplog.text
    for number, sample in enumerate(given):
        np.testing.assert_array_equal(made[number][0].data, sample.events.data)
    assert len(store.build("set", KEY, [], SIZE)) == 0


def test_a_worker_gets_the_files_and_not_the_events(cache_dir):
    """What pickles the recordings for a worker sends names of files; the worker maps the same bytes."""
    made = store.build("set", KEY, [Sample(events(20_000, n), n) for n in range(3)], SIZE)
    for recordings in (made, made.select([1, 2]), made.select([2, 0])):
        shipped = pickle.dumps(recordings)
        assert (len(shipped) < 5000) == (recordings.indices.tolist() != [2, 0])  # reordered events are in memory
        received = pickle.loads(shipped)  # noqa: S301 (what was pickled here)
        assert received.sensor_size == SIZE
        for number in range(len(recordings)):
            np.testing.assert_array_equal(received[number][0].data, recordings[number][0].data)
            assert received[number][1] == recordings[number][1]
    shipped = pickle.dumps(made)
    for file in (cache_dir / f"set-{KEY}").iterdir():
        file.unlink()
    with pytest.raises(FileFormatError, match=r"\.npy: cannot be mapped again"):
        pickle.loads(shipped)  # noqa: S301
