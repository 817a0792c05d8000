"""tonic's data sets by name: what each is, its splits, and the binning and augmentation that papers use.

tonic is licensed under the GPL-3; it is imported only when a set is loaded, by who has installed the extra `datasets`.
Where a choice is not a paper's, it is marked `ours`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroaccel.datasets.cache import Progress, cache_dir
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.datasets.tonic_splits import HoldOutGroups, HoldOutShareOfGroups, Rule, Shares, Whole
from neuroaccel.errors import RecipeError

if TYPE_CHECKING:
    from neuroaccel.datasets.module import EventDataModule
    from neuroaccel.datasets.registry import About
    from neuroaccel.datasets.repair import OnError

DIGITS = tuple("0123456789")
_ON_ERROR: ContextVar[OnError] = ContextVar("on_error", default="raise")


@dataclass(frozen=True)
class Part:
    """One download of a set, which a class of tonic reads.

    Arguments:
        contents: pattern of the extracted files below the class's folder.
        url: the class's attributes whose texts, one after the other, are the address.
        archive: the class's attribute with the archive's file name.
        md5: the class's attribute with the archive's MD5 checksum.
        options: arguments of the class.
    """

    contents: str
    url: tuple[str, ...] = ("url",)
    archive: str = "filename"
    md5: str = "file_md5"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TonicSet:
    """A data set that tonic can read.

    Arguments:
        tonic_class: its name in ``tonic.datasets``, and that of the folder with its files.
        title: one line.
        classes: a name per label; empty: the files hold the names, or are in folders of these names.
        sensor_size: ``(W, H, P)``, into which every recording must fit.
        parts: the downloads by name.
        splits: part and rule of each split.
        held_out: how the validation split came about, one line.
        frames: table of ``frames_from``: how papers make network inputs of it.
        augment: tables of ``augment_from``, for training.
        source: as one cites it.
        licence: of the data.
        from_first_event: its recordings' times have no common origin, so that time starts at the first event; else
            time 0 is the stimulus' and stays.
    """

    tonic_class: str
    title: str
    classes: tuple[str, ...]
    sensor_size: tuple[int, int, int]
    parts: Mapping[str, Part]
    splits: Mapping[str, tuple[str, Rule]]
    held_out: str
    frames: Mapping[str, Any]
    source: str
    licence: str
    augment: tuple[Mapping[str, Any], ...] = field(default=())
    from_first_event: bool = False


def _three(train: str, test: str, rule: Rule) -> dict[str, tuple[str, Rule]]:
    """Validation taken from the training part by a rule; the test part as it was published."""
    return {"train": (train, rule), "validation": (train, rule), "test": (test, Whole())}


def _one(rule: Rule) -> dict[str, tuple[str, Rule]]:
    """All three splits from the only part."""
    return {split: ("all", rule) for split in ("train", "validation", "test")}


def _train_test(train: str, test: str) -> dict[str, Part]:
    """Two downloads whose class names its attributes after them."""
    return {
        part: Part(contents, (f"{part}_url",), f"{part}_filename", f"{part}_md5", {"train": part == "train"})
        for part, contents in (("train", train), ("test", test))
    }


def _heidelberg(stem: str, part: str, options: Mapping[str, Any]) -> Part:
    archive = f"{part}_zip"
    return Part(f"{stem}_{part}.h5", ("base_url", archive), archive, f"{part}_md5", options)


_CRAMER = (
    "Cramer, Stradmann, Schemmel, Zenke: The Heidelberg Spiking Data Sets for the Systematic Evaluation of Spiking "
    "Neural Networks, IEEE TNNLS 33(7), 2022"
)
_ORCHARD = (
    "Orchard, Jayawant, Cohen, Thakor: Converting Static Image Datasets to Spiking Neuromorphic Datasets Using "
    "Saccades, Frontiers in Neuroscience 9:437, 2015"
)
_SHARE_NOTE = "{} of every class, drawn by a hash of the files' names"

SETS: dict[str, TonicSet] = {
    "n-mnist": TonicSet(
        tonic_class="NMNIST",
        title="MNIST on a screen, seen by an ATIS camera on three saccades",
        classes=DIGITS,
        sensor_size=(34, 34, 2),
        parts=_train_test("Train/**/*.bin", "Test/**/*.bin"),
        splits=_three("train", "test", Shares(validation=0.1)),  # ours: the publishers have no validation split
        held_out=_SHARE_NOTE.format("a tenth") + ", of the 60,000 for training",
        # Three saccades of about 100 ms each (Orchard et al. 2015); ours: ticks of 10 ms.
        frames={"kind": "time", "ticks": 32, "dt": 0.01, "binning": "binary"},
        source=_ORCHARD,
        licence="CC BY-SA 4.0",
    ),
    "dvs128-gesture": TonicSet(
        tonic_class="DVSGesture",
        title="eleven hand and arm gestures of 29 subjects under three lights, DVS128",
        classes=(
            "hand clapping",
            "right hand wave",
            "left hand wave",
            "right arm clockwise",
            "right arm counter-clockwise",
            "left arm clockwise",
            "left arm counter-clockwise",
            "arm roll",
            "air drums",
            "air guitar",
            "other gestures",
        ),
        sensor_size=(128, 128, 2),
        parts=_train_test("ibmGestureTrain/*/*.npy", "ibmGestureTest/*/*.npy"),
        # Amir et al. 2017 train on subjects 1 to 23 and test on 24 to 29; ours: the last four of the 23 validate.
        splits=_three("train", "test", HoldOutGroups((20, 21, 22, 23))),
        held_out="subjects 20 to 23 of the 23 for training",
        # ours: ticks of 25 ms, so that a network can run on the live stream; the papers that cut each recording into
        # 16 or 20 frames of equal numbers of events (Fang et al. 2021, ICCV) know its end beforehand. The first 1.5 s
        # are what SLAYER takes (Shrestha and Orchard 2018).
        frames={"kind": "time", "ticks": 60, "dt": 0.025, "binning": "binary"},
        source="Amir et al.: A Low Power, Fully Event-Based Gesture Recognition System, CVPR 2017",
        licence="CC BY 4.0 (of IBM's release)",
        # ours; never mirrored: right and left arms are classes of their own.
        augment=({"kind": "shift", "max_pixels": 8},),
        from_first_event=True,
    ),
    "cifar10-dvs": TonicSet(
        tonic_class="CIFAR10DVS",
        title="10,000 CIFAR-10 images moving on a screen, DVS128",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        sensor_size=(128, 128, 2),
        parts={"all": Part("**/*.aedat4")},
        # There is no published split; papers take 9:1 per class. ours: a ninth of the nine is for validation.
        splits=_one(Shares(validation=0.1, test=0.1)),
        held_out=_SHARE_NOTE.format("a tenth") + ", and another tenth for the test",
        # ours: 20 ticks of 65 ms, which span a recording; papers mostly cut it into 10 to 16 frames of counts.
        frames={"kind": "time", "ticks": 20, "dt": 0.065, "binning": "binary"},
        source="Li, Liu, Ji, Li, Shi: CIFAR10-DVS: An Event-Stream Dataset for Object Classification, "
        "Frontiers in Neuroscience 11:309, 2017",
        licence="as published by the authors",
        # Mirroring and shifting is what papers do on frames of 48x48 pixels, there by up to 5 (Deng et al. 2022, TET:
        # published code); ours: the same share of 128 pixels.
        augment=({"kind": "flip_x", "p": 0.5}, {"kind": "shift", "max_pixels": 13}),
        from_first_event=True,
    ),
    "n-caltech101": TonicSet(
        tonic_class="NCALTECH101",
        title="Caltech101 on a screen, seen by an ATIS camera on three saccades",
        classes=(),
        # The images differ in size, so that a recording covers its own part of 240 x 180 pixels. tonic moves each to
        # the upper left corner; the rest stays empty.
        sensor_size=(240, 180, 2),
        parts={"all": Part("Caltech101/**/*.bin")},
        splits=_one(Shares(validation=0.1, test=0.1)),  # ours: no split was published, and papers differ
        held_out=_SHARE_NOTE.format("a tenth") + ", and another tenth for the test",
        frames={"kind": "time", "ticks": 32, "dt": 0.01, "binning": "binary"},  # as N-MNIST: the same three saccades
        source=_ORCHARD,
        licence="CC BY 4.0",
        augment=({"kind": "flip_x", "p": 0.5},),  # ours
    ),
    "shd": TonicSet(
        tonic_class="SHD",
        title="spoken digits, German and English, through a cochlea model of 700 channels",
        classes=(),  # in the files
        sensor_size=(700, 1, 1),
        parts={
            "train": _heidelberg("shd", "train", {"train": True}),
            "test": _heidelberg("shd", "test", {"train": False}),
        },
        # SHD has no validation split. Two of its twelve speakers are in the test set only (Cramer et al.), so a
        # validation split of known speakers would flatter. ours: the last two speakers for training validate.
        splits=_three("train", "test", HoldOutGroups((10, 11))),
        held_out="SHD has no validation split: speakers 10 and 11, out of those for training",
        # 10 ms as in Hammouamri et al. 2023 (DCLS); 1.4 s as in Bittar and Garner 2022 (published code).
        frames={"kind": "time", "ticks": 140, "dt": 0.01, "binning": "binary"},
        source=_CRAMER,
        licence="CC BY 4.0",
    ),
    "ssc": TonicSet(
        tonic_class="SSC",
        title="35 spoken commands through a cochlea model of 700 channels",
        classes=(),  # in the files
        sensor_size=(700, 1, 1),
        parts={part: _heidelberg("ssc", part, {"split": part}) for part in ("train", "valid", "test")},
        splits={"train": ("train", Whole()), "validation": ("valid", Whole()), "test": ("test", Whole())},
        held_out="published with the set",
        frames={"kind": "time", "ticks": 100, "dt": 0.01, "binning": "binary"},  # the clips last one second
        source=_CRAMER,
        licence="CC BY 4.0",
    ),
    "n-tidigits": TonicSet(
        tonic_class="NTIDIGITS18",
        title="spoken digits of TIDIGITS, heard by a silicon cochlea of 64 channels; single digits",
        classes=("oh", "1", "2", "3", "4", "5", "6", "7", "8", "9", "zero"),
        sensor_size=(64, 1, 1),
        parts={
            part: Part("n-tidigits.hdf5", url=("base_url",), options={"train": part == "train", "single_digits": True})
            for part in ("train", "test")
        },
        splits=_three("train", "test", HoldOutShareOfGroups(0.1)),  # ours
        held_out="a tenth of the speakers for training, drawn by a hash of their names",
        frames={"kind": "time", "ticks": 200, "dt": 0.005, "binning": "binary"},  # ours
        source="Anumula, Neil, Delbruck, Liu: Feature Representations for Neuromorphic Audio Spike Streams, "
        "Frontiers in Neuroscience 12:23, 2018",
        licence="events as published by the authors; the recordings are TIDIGITS' (LDC)",
    ),
    "poker-dvs": TonicSet(
        tonic_class="POKERDVS",
        title="pips of playing cards that are flicked past a DVS, cut out and tracked",
        classes=("club", "heart", "diamond", "spade"),
        sensor_size=(35, 35, 2),
        parts=_train_test("pips_train/**/*.npy", "pips_test/**/*.npy"),
        splits=_three("train", "test", Shares(validation=0.25)),  # ours
        held_out=_SHARE_NOTE.format("a quarter") + ", of those for training",
        frames={"kind": "time", "ticks": 30, "dt": 0.001, "binning": "binary"},  # ours: a pip passes in 10 to 30 ms
        source="Serrano-Gotarredona, Linares-Barranco: Poker-DVS and MNIST-DVS, Frontiers in Neuroscience 9:481, 2015",
        licence="as published by the authors",
        from_first_event=True,
    ),
    "asl-dvs": TonicSet(
        tonic_class="ASLDVS",
        title="24 hand shapes of American Sign Language, DAVIS240",
        classes=tuple("abcdefghijklmnopqrstuvwxyz"),  # j and z are movements and have no recordings
        sensor_size=(240, 180, 2),
        parts={"all": Part("**/*.mat")},
        # Bi et al. 2019 draw 80 % for training and 20 % for the test. ours: a tenth of the whole validates.
        splits=_one(Shares(validation=0.1, test=0.2)),
        held_out=_SHARE_NOTE.format("a tenth") + ", and a fifth for the test; the same five subjects are in all three",
        frames={"kind": "time", "ticks": 20, "dt": 0.005, "binning": "binary"},  # ours: a recording lasts about 100 ms
        source="Bi, Chadha, Abbas, Bourtsoulatze, Andreopoulos: Graph-Based Object Classification for Neuromorphic "
        "Vision Sensing, ICCV 2019",
        licence="as published by the authors",
        from_first_event=True,
    ),
}

NAMES: tuple[str, ...] = tuple(SETS)


def tonic_set(name: str) -> TonicSet:
    """Return what is known of a set.

    Raises:
        RecipeError: an unknown name.
    """
    if name not in SETS:
        raise RecipeError(f"unknown data set {name!r}; tonic's are: {', '.join(NAMES)}")
    return SETS[name]


def about(name: str) -> About:
    """Return what a set is, for people."""
    from neuroaccel.datasets.registry import About

    found = tonic_set(name)
    return About(
        title=f"{found.title}; validation: {found.held_out}",
        classes=found.classes,
        sensor_size=found.sensor_size,
        splits=tuple(found.splits),
        source=found.source,
        licence=found.licence,
        generated=False,
    )


def data_folder(folder: str | Path | None = None) -> Path:
    """Return the folder with a folder per class of tonic: the one given, ``NEUROACCEL_DATA``, or the cache's."""
    chosen = folder if folder is not None else os.environ.get("NEUROACCEL_DATA")
    return Path(chosen).expanduser() if chosen else cache_dir() / "downloads"


def available(name: str, folder: str | Path | None = None) -> dict[str, bool]:
    """Say of each split whether its files are there, without tonic and without reading them."""
    found = tonic_set(name)
    below = data_folder(folder) / found.tonic_class
    there = {part: any(p.is_file() for p in below.glob(it.contents)) for part, it in found.parts.items()}
    return {split: there[part] for split, (part, _) in found.splits.items()}


def load(
    name: str,
    split: str | None = "train",
    folder: str | Path | None = None,
    progress: Progress | None = None,
    on_error: OnError | None = None,
) -> Recordings:
    """Return one split, decoded by tonic's own class at the first call and kept in the cache.

    Arguments:
        name: one of ``NAMES``.
        split: ``train``, ``validation`` or ``test``.
        folder: holds a folder per class of tonic, such as ``SHD``; None: that of the environment variable
            ``NEUROACCEL_DATA``, else ``downloads`` in the cache. What is not there is downloaded by tonic.
        progress: called with (done, total) while recordings are decoded.
        on_error: ``raise``, ``drop`` or ``clip`` for events outside the sensor or out of order; ``drop`` also leaves
            out recordings that cannot be read. A warning counts what was done. None: as ``repairing`` says, else
            ``raise``.

    Returns:
        The recordings; ``indices`` number them within the part of the set that the split is taken from.

    Raises:
        RecipeError: an unknown name or split.
        MissingExtra: tonic is not installed.
        DataUnavailable: the data is not there and cannot be downloaded; says what to put where.
        FileFormatError, EventsError: a damaged file or wrong events; names the file.
    """
    from neuroaccel.datasets.tonic_source import read_split

    found = tonic_set(name)
    if split not in found.splits:
        raise RecipeError(f"{name} has no split {split!r}; there are: {', '.join(found.splits)}")
    chosen = _ON_ERROR.get() if on_error is None else on_error
    return read_split(name, found, str(split), data_folder(folder), progress, chosen)


@contextmanager
def repairing(on_error: OnError) -> Iterator[None]:
    """Let every ``load`` inside the block treat wrong events so, also those that a data module makes."""
    token = _ON_ERROR.set(on_error)
    try:
        yield
    finally:
        _ON_ERROR.reset(token)


def data_module(name: str, batch_size: int = 64, folder: str | Path | None = None, **options: Any) -> EventDataModule:
    """Return a Lightning data module with the set's own frames and augmentation.

    Arguments:
        name: one of ``NAMES``.
        batch_size: N.
        folder: as for ``load``.
        options: any other of ``EventDataModule``; ``frames`` and ``augment`` replace the set's own.
    """
    from neuroaccel.datasets.augment import augment_from
    from neuroaccel.datasets.frames import frames_from
    from neuroaccel.datasets.module import EventDataModule

    found = tonic_set(name)
    own: dict[str, Any] = {
        "frames": frames_from(dict(found.frames)),
        "augment": augment_from([dict(table) for table in found.augment]),
    }
    return EventDataModule(name, batch_size=batch_size, folder=folder, **{**own, **options})
