"""Counts by time of a batch of recordings: neuroaccel, tonic, SpikingJelly, and what memory allows."""

from importlib.util import find_spec

import numpy as np
from engine_bench.table import Contender, Table

from data_bench import spikingjelly
from data_bench.data import COPY, SPAN_US, bandwidth, batch, copier, gesture, moved
from neuroaccel.datasets.frames import TimeBins

OURS = "neuroaccel"


def work(table: Table, quick: bool) -> None:
    # 20 frames are what networks for DVS128 Gesture get; 10 ms is what an event camera's user asks for.
    _bin(table, "binning", recordings=4 if quick else 16, ticks=20)
    _bin(table, "binning, 10 ms", recordings=1 if quick else 2, ticks=600)


def _bin(table: Table, name: str, recordings: int, ticks: int) -> None:
    events = [gesture(seed) for seed in range(recordings)]
    packed, tick_us = batch(events), SPAN_US // ticks
    total = len(packed.t_us)
    frames = TimeBins(ticks, tick_us * 1e-6, "count")
    expected, lengths = frames.frames(packed)
    assert expected.sum() == total
    assert (lengths == ticks).all()
    given = np.empty_like(expected)
    fewer = np.empty(expected.shape, np.uint8)
    contenders = [
        Contender(OURS, lambda: frames.frames(packed, given)[0], expected=expected),
        Contender(f"{OURS} (new memory)", lambda: frames.frames(packed)[0], expected=expected),
        Contender(
            f"{OURS} (uint8, to 255)",
            lambda: frames.frames(packed, fewer)[0],
            expected=np.minimum(expected, 255).astype(np.uint8),
        ),
        *_peers(events, ticks, tick_us, expected),
        copier(),
    ]
    seconds = table.contest(name, contenders)
    speed = bandwidth(seconds)
    needed = moved(packed, expected)
    seconds[COPY] = needed / speed
    for who, value in seconds.items():
        table.add(name, who, "time per event", value / total, "s", f"{value / seconds[OURS]:.2f}×")
    table.add(name, COPY, "copy bandwidth", speed / 1e9, "GB/s")
    for who in (OURS, f"{OURS} (new memory)"):
        table.add(name, who, "share of memory bandwidth", needed / seconds[who] / speed, "fraction")
    table.ratios(name, seconds, OURS)


def _peers(events: list, ticks: int, tick_us: int, expected: np.ndarray) -> list[Contender]:
    """Those that are installed; each takes one recording at a time, and gives [T, P, H, W] of it."""
    found, by_sample = [], expected.swapaxes(0, 1)
    if find_spec("tonic"):
        from tonic.transforms import ToFrame

        to_frame = ToFrame(events[0].sensor_size, time_window=tick_us, start_time=0, end_time=ticks * tick_us)
        structured = [recording.data for recording in events]
        found.append(
            Contender("tonic ToFrame", lambda: np.stack([to_frame(one) for one in structured]), expected=by_sample)
        )
    else:
        print("    tonic is left out: it is not installed")
    integrate = spikingjelly.integrate()
    if integrate is not None:
        width, height, _ = events[0].sensor_size
        columns = [{name: np.ascontiguousarray(one.data[name]) for name in "txyp"} for one in events]
        found.append(
            Contender(
                "spikingjelly integrate_events",
                lambda: np.stack([integrate(one, tick_us, height, width) for one in columns]),
                expected=by_sample,
            )
        )
    else:
        print("    SpikingJelly is left out: it is not installed")
    return found
