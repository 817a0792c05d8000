"""The other kinds of frames, beside tonic's of the same meaning where it has one."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from engine_bench.table import Contender, Table

from data_bench.data import COPY, SIZE, SPAN_US, bandwidth, batch, copier, gesture, moved
from neuroaccel.datasets import Events
from neuroaccel.datasets.frames import CountBins, Frames, TimeBins, TimeSurface, VoxelGrid, Windows
from neuroaccel.datasets.packed import PackedEvents

TICKS, DT_US = 20, SPAN_US // 20
KINDS: dict[str, Frames] = {
    "binary": TimeBins(TICKS, DT_US * 1e-6, "binary"),
    "first": TimeBins(TICKS, DT_US * 1e-6, "first"),
    "by count": CountBins(TICKS, 17_500, "count"),
    "windows": Windows(2 * TICKS - 1, DT_US * 1e-6, DT_US * 5e-7, "count"),
    "voxel grid": VoxelGrid(TICKS),
    "time surface": TimeSurface(TICKS, DT_US * 1e-6, 0.1),
}


def work(table: Table, quick: bool) -> None:
    events = [gesture(seed) for seed in range(1 if quick else 4)]
    packed = batch(events)
    for kind, frames in KINDS.items():
        _one(table, f"binning, {kind}", frames, events, packed)


def _one(table: Table, name: str, frames: Frames, events: list[Events], packed: PackedEvents) -> None:
    expected, _ = frames.frames(packed)
    given = np.empty_like(expected)
    contenders = [Contender("neuroaccel", lambda: frames.frames(packed, given)[0], expected=expected), copier()]
    peer = _peer(frames)
    if peer is not None:
        who, transform, same = peer
        # tonic's voxel grid writes to the polarities that it is given, and expects −1 to fit into them
        plain = [one.data.astype([("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i1")]) for one in events]

        def run() -> Any:
            return [transform(one.copy()) for one in plain]

        if same:
            for sample, theirs in enumerate(run()):
                ours = expected[: len(theirs), sample]
                if not np.allclose(ours, theirs[: len(ours)], rtol=1e-4, atol=1e-6):
                    table.differing.append(f"{name}, {who}")
        contenders.append(Contender(who, run))
    seconds = table.contest(name, contenders)
    speed = bandwidth(seconds)
    seconds[COPY] = moved(packed, expected) / speed
    for who, value in seconds.items():
        table.add(name, who, "time per event", value / len(packed.t_us), "s", f"{value / seconds['neuroaccel']:.2f}×")
    table.ratios(name, seconds, "neuroaccel")


def _peer(frames: Frames) -> tuple[str, Any, bool] | None:
    """tonic's transform, and whether it means the same: its voxel grid has another scale of time."""
    if not find_spec("tonic"):
        return None
    from tonic import transforms

    if isinstance(frames, CountBins):
        return "tonic ToFrame", transforms.ToFrame(SIZE, event_count=frames.events, include_incomplete=True), True
    if isinstance(frames, Windows):
        return (
            "tonic ToFrame",
            transforms.ToFrame(SIZE, time_window=DT_US, overlap=DT_US // 2, start_time=0, end_time=SPAN_US),
            True,
        )
    if isinstance(frames, VoxelGrid):
        return "tonic ToVoxelGrid (other scale)", transforms.ToVoxelGrid(SIZE, TICKS), False
    if isinstance(frames, TimeSurface):
        return "tonic ToTimesurface", transforms.ToTimesurface(SIZE, DT_US, frames.tau * 1e6), True
    return None
