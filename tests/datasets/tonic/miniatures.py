"""Every data set's own format in miniature, in the folders where tonic looks for it.

tonic asks whether an archive of the right name and a number of files with the right ending are there before it reads
(N-MNIST: 10,000). The archives here are empty, and links to a folder whose names end that way make up the number: the
search for files counts them, and the reader, which takes files only, passes them by.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""x, y, t in µs, p."""


@dataclass(frozen=True, eq=False)
class Mini:
    """A recording that was written.

    Arguments:
        part: of the set, such as ``train``.
        name: of its file, or its number.
        label: its class.
        group: its speaker or subject.
        columns: x, y, t in µs from the recording's own start, p.
    """

    part: str
    name: str
    label: int
    group: int | None
    columns: Columns


def draw(rng: np.random.Generator, size: tuple[int, int], count: int, end_us: int, label: int = 0) -> Columns:
    """Events of a recording whose place tells its class, time not decreasing and starting above 0."""
    width, height = size
    x = (rng.integers(0, max(1, width // 4), count) + label * width // 12) % width
    y = (rng.integers(0, max(1, height // 4), count) + label * height // 12) % height
    t = np.sort(rng.integers(1, end_us, count))
    return x, y, t, rng.integers(0, 2, count)


def pretend(folder: Path, suffix: str, number: int) -> None:
    """Links to a folder that make up the number of files that tonic wants to see."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        os.symlink(".", folder / f"{i}{suffix}")


def bin_bytes(x: NDArray[Any], y: NDArray[Any], t: NDArray[Any], p: NDArray[Any]) -> bytes:
    """Events in the ATIS format of N-MNIST and N-Caltech101: 40 bits each."""
    rows = np.empty((len(x), 5), np.uint8)
    rows[:, 0], rows[:, 1] = x, y
    rows[:, 2] = (p << 7) | (t >> 16)
    rows[:, 3], rows[:, 4] = (t >> 8) & 255, t & 255
    return rows.tobytes()


def n_mnist(root: Path, per_class: int = 10, test: int = 2, count: int = 60, classes: int = 10) -> list[Mini]:
    """``NMNIST/Train/3/00007.bin``."""
    rng = np.random.default_rng(1)
    made = []
    for part, folder, number in (("train", "Train", per_class), ("test", "Test", test)):
        below = root / "NMNIST" / folder
        for label in range(classes):
            (below / str(label)).mkdir(parents=True)
            for i in range(number):
                columns = draw(rng, (34, 34), count, 300_000, label)
                path = below / str(label) / f"{i:05}.bin"
                path.write_bytes(bin_bytes(*columns))
                made.append(Mini(part, f"{folder}/{label}/{path.name}", label, None, columns))
        pretend(below / "rest", ".bin", 10_000 - classes * number)
        (root / "NMNIST" / f"{part}.zip").touch()
    return made


def n_caltech101(root: Path, per_class: int = 10, count: int = 80) -> list[Mini]:
    """``Caltech101/airplanes/image_0001.bin``, each recording of its own size."""
    rng = np.random.default_rng(2)
    made = []
    below = root / "NCALTECH101" / "Caltech101"
    for label, name in enumerate(("BACKGROUND_Google", "accordion", "airplanes")):
        (below / name).mkdir(parents=True)
        for i in range(per_class):
            size = (int(rng.integers(40, 240)), int(rng.integers(40, 180)))
            x, y, t, p = draw(rng, size, count, 300_000, label)
            x, y = x - x.min(), y - y.min()  # as tonic reads it: in the upper left corner
            path = below / name / f"image_{i:04}.bin"
            path.write_bytes(bin_bytes(x + 3, y + 5, t, p))
            made.append(Mini("all", f"Caltech101/{name}/{path.name}", label, None, (x, y, t, p)))
    pretend(below / "rest", ".bin", 8709 - 3 * per_class)
    (root / "NCALTECH101" / "N-Caltech101-archive.zip").touch()
    return made


def dvs128_gesture(
    root: Path, users: Sequence[int] = (1, 2, 21), testers: Sequence[int] = (24,), count: int = 90, classes: int = 11
) -> list[Mini]:
    """``ibmGestureTrain/user01_led/3.npy``: rows of x, y, p and milliseconds."""
    rng = np.random.default_rng(3)
    made = []
    for part, folder, who in (("train", "ibmGestureTrain", users), ("test", "ibmGestureTest", testers)):
        below = root / "DVSGesture" / folder
        for user in who:
            for lighting in ("fluorescent", "natural_led"):
                session = below / f"user{user:02}_{lighting}"
                session.mkdir(parents=True)
                for label in range(classes):
                    x, y, t, p = draw(rng, (128, 128), count, 1400, label)
                    np.save(session / f"{label}.npy", np.stack([x, y, p, t], axis=1).astype(np.float64))
                    name = f"{folder}/{session.name}/{label}.npy"
                    made.append(Mini(part, name, label, user, (x, y, (t - t[0]) * 1000, p)))
        pretend(below / f"user{who[0]:02}_rest", ".npy", 100)  # its reader takes every folder for a session
        (root / "DVSGesture" / f"ibmGesture{part.capitalize()}.tar.gz").touch()
    return made


def write_aedat4(path: Path, size: tuple[int, int], x: Any, y: Any, t: Any, p: Any) -> None:
    """An AEDAT4 file of one stream of events."""
    import dv_processing as dv

    writer = dv.io.MonoCameraWriter(str(path), dv.io.MonoCameraWriter.EventOnlyConfig("DVS128", size))
    events = dv.EventStore()
    for row in zip(t.tolist(), x.tolist(), y.tolist(), (p > 0).tolist(), strict=True):
        events.push_back(*row)
    writer.writeEvents(events)
    del writer  # closes the file


CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10_dvs(root: Path, per_class: int = 10, count: int = 70, classes: int = 10) -> list[Mini]:
    """``CIFAR10DVS/cat/cifar10_cat_3.aedat4``, with times of a camera's clock."""
    rng = np.random.default_rng(4)
    made = []
    for label, name in enumerate(CIFAR10[:classes]):
        (root / "CIFAR10DVS" / name).mkdir(parents=True)
        for i in range(per_class):
            x, y, t, p = draw(rng, (128, 128), count, 1_250_000, label)
            path = root / "CIFAR10DVS" / name / f"cifar10_{name}_{i}.aedat4"
            write_aedat4(path, (128, 128), x, y, t + 1_600_000_000_000_000, p)
            made.append(Mini("all", f"{name}/{path.name}", label, None, (x, y, t - t[0], p)))
    pretend(root / "CIFAR10DVS" / "rest", ".aedat4", 1000)
    (root / "CIFAR10DVS" / "CIFAR10DVS.zip").touch()
    return made


def write_heidelberg(
    path: Path,
    recordings: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    labels: Sequence[int],
    speakers: Sequence[int],
    keys: Sequence[str],
) -> None:
    """The HDF5 layout of SHD and SSC: spikes as rows of unequal length, seconds in half precision."""
    with h5py.File(path, "w") as file:
        units = file.create_dataset("spikes/units", (len(recordings),), h5py.vlen_dtype(np.dtype("u2")))
        times = file.create_dataset("spikes/times", (len(recordings),), h5py.vlen_dtype(np.dtype("f2")))
        for i, (unit, time) in enumerate(recordings):
            units[i], times[i] = unit.astype(np.uint16), time.astype(np.float16)
        file["labels"] = np.array(labels, np.uint16)
        file["extra/speaker"] = np.array(speakers, np.uint16)
        file["extra/keys"] = np.array([key.encode() for key in keys])


def _heidelberg(
    root: Path, reader: str, stem: str, sizes: dict[str, tuple[int, Sequence[int]]], classes: int, count: int
) -> list[Mini]:
    rng = np.random.default_rng(5)
    made = []
    (root / reader).mkdir(parents=True)
    for part, (per_class, speakers) in sizes.items():
        rows, labels, who = [], [], []
        for i in range(per_class * classes):
            label, speaker = i % classes, speakers[i // classes % len(speakers)]
            channel, _, t, _ = draw(rng, (700, 1), count, 900_000, label)
            seconds = (t / 1e6).astype(np.float16)
            t = (seconds.astype(np.float64) * 1e6).astype(np.int64)
            rows.append((channel, seconds))
            labels.append(label)
            who.append(speaker)
            zero = np.zeros_like(channel)
            made.append(Mini(part, f"recording {i}", label, speaker, (channel, zero, t, zero)))
        write_heidelberg(root / reader / f"{stem}_{part}.h5", rows, labels, who, [f"word {i}" for i in range(classes)])
        (root / reader / f"{stem}_{part}.h5.zip").touch()
    return made


def shd(root: Path, per_class: int = 4, classes: int = 20, count: int = 50) -> list[Mini]:
    """``SHD/shd_train.h5``; the test part has speakers 4 and 5, whom the training part has not."""
    sizes = {"train": (per_class, (0, 1, 10, 11)), "test": (2, (4, 5))}
    return _heidelberg(root, "SHD", "shd", sizes, classes, count)


def ssc(root: Path, per_class: int = 3, classes: int = 35, count: int = 50) -> list[Mini]:
    """``SSC/ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5``."""
    sizes = {"train": (per_class, (0, 1)), "valid": (1, (2,)), "test": (1, (3,))}
    return _heidelberg(root, "SSC", "ssc", sizes, classes, count)


def n_tidigits(root: Path, speakers: int = 12, count: int = 40) -> list[Mini]:
    """``NTIDIGITS18/n-tidigits.hdf5``: a data set per sample, and lists of their names; also sequences of digits."""
    rng = np.random.default_rng(6)
    made = []
    (root / "NTIDIGITS18").mkdir(parents=True)
    with h5py.File(root / "NTIDIGITS18" / "n-tidigits.hdf5", "w") as file:
        for part, first in (("train", 0), ("test", speakers)):
            names = []
            for speaker in range(first, first + speakers):
                for digit, label in (("o", 0), ("1", 1), ("z", 10), ("35", None)):
                    channel, _, t, _ = draw(rng, (64, 1), count, 800_000)
                    name = f"man-s{speaker}-{digit}"
                    file[f"{part}_addresses/{name}"] = channel.astype(np.float32)
                    file[f"{part}_timestamps/{name}"] = t / 1e6
                    names.append(name.encode())
                    if label is not None:
                        t = (file[f"{part}_timestamps/{name}"][()].astype(np.float64) * 1e6).astype(np.int64)
                        zero = np.zeros_like(channel)
                        made.append(Mini(part, name, label, speaker, (channel, zero, t, zero)))
            file[f"{part}_labels"] = np.array(names)
    return made


def poker_dvs(root: Path, per_class: int = 8) -> list[Mini]:
    """``POKERDVS/pips_train/cl/3.npy``: rows of t, x, y, p."""
    rng = np.random.default_rng(7)
    made = []
    for part in ("train", "test"):
        below = root / "POKERDVS" / f"pips_{part}"
        for label, name in enumerate(("cl", "he", "di", "sp")):
            (below / name).mkdir(parents=True)
            for i in range(per_class):
                x, y, t, p = draw(rng, (35, 35), 50, 20_000, label)
                np.save(below / name / f"{i:03}.npy", np.stack([t, x, y, p], axis=1))
                made.append(Mini(part, f"{name}/{i}", label, None, (x, y, t - t[0], p)))
        (root / "POKERDVS" / f"pips_{part}.tar.gz").touch()
    return made


def asl_dvs(root: Path, per_class: int = 10) -> list[Mini]:
    """``ASLDVS/a/a_0001.mat``: columns ts, x, y and pol; y counts from below."""
    from scipy.io import savemat

    rng = np.random.default_rng(8)
    made = []
    for label, name in ((0, "a"), (1, "b"), (24, "y")):
        (root / "ASLDVS" / name).mkdir(parents=True)
        for i in range(per_class):
            x, y, t, p = draw(rng, (240, 180), 60, 100_000, label)
            columns = {"ts": t + 5_000_000, "x": x, "y": 179 - y, "pol": p}
            path = root / "ASLDVS" / name / f"{name}_{i:04}.mat"
            savemat(path, {key: column[:, None] for key, column in columns.items()})
            made.append(Mini("all", f"{name}/{path.name}", label, None, (x, y, t - t[0], p)))
    pretend(root / "ASLDVS" / "rest", ".mat", 100_800)
    (root / "ASLDVS" / "ASLDVS.zip").touch()
    return made


MAKERS = {
    "n-mnist": n_mnist,
    "dvs128-gesture": dvs128_gesture,
    "cifar10-dvs": cifar10_dvs,
    "n-caltech101": n_caltech101,
    "shd": shd,
    "ssc": ssc,
    "n-tidigits": n_tidigits,
    "poker-dvs": poker_dvs,
    "asl-dvs": asl_dvs,
}


def rows(columns: Columns) -> Iterator[tuple[int, ...]]:
    """The events as tuples."""
    return zip(*(column.tolist() for column in columns), strict=True)
