"""Every set of tonic: read from its own format by tonic's own class, split as described, event for event."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuroaccel.datasets import Recordings, tonic_sets
from neuroaccel.datasets.augment import augment_from
from neuroaccel.datasets.frames import frames_from
from neuroaccel.errors import InputError, RecipeError
from tests.datasets.tonic.miniatures import MAKERS, Mini, rows

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module", params=sorted(MAKERS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, list[Mini]]:
    """A set's name, its folder, and what was written there."""
    root = tmp_path_factory.mktemp("data")
    return request.param, root, MAKERS[request.param](root)


def _events(recordings: Recordings, sample: int) -> tuple[tuple[int, ...], ...]:
    data = recordings[sample][0].data
    return tuple(zip(*(data[f].astype(np.int64).tolist() for f in ("x", "y", "t", "p")), strict=True))


def test_every_recording_is_in_one_split_with_its_events_label_and_group(made: tuple[str, Path, list[Mini]]) -> None:
    name, root, written = made
    splits = {split: tonic_sets.load(name, split, folder=root) for split in SPLITS}
    found = [(split, s) for split in SPLITS for s in range(len(splits[split]))]
    expected = {tuple(rows(mini.columns)): mini for mini in written}
    assert len(expected) == len(written)
    seen = set()
    groups: dict[int, set[int | None]] = {}
    for split, sample in found:
        recordings = splits[split]
        events = _events(recordings, sample)
        assert events in expected
        assert events not in seen
        seen.add(events)
        mini = expected[events]
        assert recordings.labels[sample] == mini.label
        assert recordings.durations_us[sample] == events[-1][2] + 1
        if recordings.groups is not None:
            groups.setdefault(int(recordings.groups[sample]), set()).add(mini.group)
        if mini.part in ("train", "test", "valid"):
            allowed = {"train": ("train", "validation"), "valid": ("train", "validation"), "test": ("test",)}[mini.part]
            assert split in allowed
    assert len(seen) == len(written)
    assert all(len(who) == 1 for who in groups.values())  # one number, one person
    assert {mini.group for mini in written} == ({None} if not groups else {g for who in groups.values() for g in who})


def test_splits_are_the_same_at_every_load_and_described(made: tuple[str, Path, list[Mini]]) -> None:
    name, root, _ = made
    about = tonic_sets.about(name)
    assert about.splits == SPLITS
    assert not about.generated
    assert tonic_sets.SETS[name].held_out in about.title
    for split in SPLITS:
        first, second = (tonic_sets.load(name, split, folder=root) for _ in range(2))
        assert len(first) > 0
        assert np.array_equal(first.indices, second.indices)
        assert np.array_equal(first.address, second.address)
        assert first.sensor_size == about.sensor_size
        assert len(first.classes) >= len(set(first.labels.tolist()))
        if about.classes:
            assert first.classes == about.classes
    assert tonic_sets.available(name, root) == dict.fromkeys(SPLITS, True)
    assert tonic_sets.available(name, root / "elsewhere") == dict.fromkeys(SPLITS, False)


def test_frames_and_augmentation_of_the_set_can_be_made(made: tuple[str, Path, list[Mini]]) -> None:
    name, root, _ = made
    known = tonic_sets.SETS[name]
    frames = frames_from(dict(known.frames))
    augment_from([dict(table) for table in known.augment])
    recordings = tonic_sets.load(name, "test", folder=root)
    x, length = frames.frames(recordings.packed([0, 1]))
    width, height, polarities = known.sensor_size
    assert x.shape == (known.frames["ticks"], 2, polarities, height, width)
    assert x.sum() > 0
    assert length.max() <= known.frames["ticks"]


def test_a_data_module_serves_all_three_splits(tmp_path: Path) -> None:
    MAKERS["poker-dvs"](tmp_path)
    module = tonic_sets.data_module(
        "poker-dvs", batch_size=4, folder=tmp_path, frames={"kind": "count", "ticks": 3, "events": 10}
    )
    for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        x, labels = next(iter(loader))
        assert x.shape == (3, 4, 2, 35, 35)
        assert labels.shape == (4,)


@pytest.mark.parametrize("name", ["shd", "dvs128-gesture", "n-tidigits"])
def test_nobody_who_validates_or_tests_is_trained_on(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    people = {}
    for split in SPLITS:
        groups = tonic_sets.load(name, split, folder=tmp_path).groups
        assert groups is not None
        people[split] = set(groups.tolist())
    assert people["train"]
    assert not people["train"] & (people["validation"] | people["test"])
    if name == "shd":
        assert people == {"train": {0, 1}, "validation": {10, 11}, "test": {4, 5}}
    if name == "dvs128-gesture":
        assert people == {"train": {1, 2}, "validation": {21}, "test": {24}}


@pytest.mark.parametrize("name", ["n-mnist", "cifar10-dvs"])
def test_shares_are_those_of_every_class(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    counts = {s: np.bincount(tonic_sets.load(name, s, folder=tmp_path).labels).tolist() for s in SPLITS}
    expected = {"n-mnist": (9, 1, 2), "cifar10-dvs": (8, 1, 1)}[name]
    assert counts == {split: [number] * 10 for split, number in zip(SPLITS, expected, strict=True)}


def test_other_files_in_the_same_folder_are_decoded_anew(tmp_path: Path) -> None:
    made = MAKERS["dvs128-gesture"](tmp_path)
    before = tonic_sets.load("dvs128-gesture", "test", folder=tmp_path)
    victim = tmp_path / "DVSGesture" / next(mini.name for mini in made if mini.part == "test")
    np.save(victim, np.load(victim)[:10])
    after = tonic_sets.load("dvs128-gesture", "test", folder=tmp_path)
    assert len(after.t_us) == len(before.t_us) - 80


def test_progress_is_reported_while_recordings_are_decoded_and_not_from_the_cache(
    tmp_path: Path, cache_dir: Path
) -> None:
    MAKERS["poker-dvs"](tmp_path)
    calls: list[tuple[int, int]] = []
    for _ in range(2):
        tonic_sets.load("poker-dvs", "test", folder=tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, 32) for i in range(32)]


def test_the_folder_comes_from_the_argument_the_environment_or_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROACCEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NEUROACCEL_DATA", raising=False)
    assert tonic_sets.data_folder() == tmp_path / "cache" / "downloads"
    monkeypatch.setenv("NEUROACCEL_DATA", str(tmp_path / "data"))
    assert tonic_sets.data_folder() == tmp_path / "data"
    assert tonic_sets.data_folder(tmp_path) == tmp_path


def test_unknown_names_splits_and_repairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown data set 'mnist'.*n-mnist"):
        tonic_sets.load("mnist")
    with pytest.raises(RecipeError, match=r"shd has no split None; there are: train, validation, test"):
        tonic_sets.load("shd", None, folder=tmp_path)
    with pytest.raises(InputError, match=r"on_error is 'ignore'"):
        tonic_sets.load("shd", "train", folder=tmp_path, on_error="ignore")  # type: ignore[arg-type]
