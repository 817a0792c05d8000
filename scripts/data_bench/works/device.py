"""Frames made on a GPU from shipped events, against the same frames made here and copied there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from engine_bench.table import Contender, Table

from data_bench.data import SPAN_US, batch, gesture
from neuroaccel.datasets.device_frames import PackedTensors
from neuroaccel.datasets.frames import TimeBins


def work(table: Table, quick: bool) -> None:
    if not torch.cuda.is_available():
        print("    left out: there is no CUDA device")
        return
    print(f"    {torch.cuda.get_device_name()}")
    packed = batch([gesture(seed) for seed in range(16 if quick else 32)])
    for ticks in (20, 60):
        for binning in ("binary", "count"):
            frames = TimeBins(ticks, SPAN_US // ticks * 1e-6, binning)
            name = f"on the device, {ticks} frames, {binning}"
            dense, _ = frames.frames(packed)
            pinned = torch.from_numpy(dense).pin_memory()
            shipped = PackedTensors.of(packed, frames).pin_memory()
            there = shipped.to("cuda")
            target = torch.empty_like(pinned, device="cuda")
            given = np.empty_like(dense)
            if not torch.equal(frames.on_device(there)[0].cpu(), torch.from_numpy(dense)):
                table.differing.append(name)
            contenders = {
                "neuroaccel (ship events, bin there)": (
                    lambda f=frames, s=shipped: f.on_device(s.to("cuda", non_blocking=True)),
                    shipped.nbytes,
                ),
                "neuroaccel (bin there)": (lambda f=frames, t=there: f.on_device(t), 0),
                "copy of dense frames": (lambda t=target, d=pinned: t.copy_(d, non_blocking=True), pinned.nbytes),
                "bin here, copy dense frames": (
                    lambda f=frames, g=given, t=target: t.copy_(torch.from_numpy(f.frames(packed, g)[0])),
                    pinned.nbytes,
                ),
            }
            runs = [Contender(who, _waiting(run)) for who, (run, _) in contenders.items()]
            seconds = table.contest(name, runs, warm=3)
            first = next(iter(contenders))
            for who, value in seconds.items():
                crossing = contenders[who][1]
                note = f"{value / seconds[first]:.2f}×  {crossing / 1e6:.1f} MB"
                table.add(name, who, "time per batch", value, "s", note)
                table.keep(name, who, "bytes over PCIe", crossing, "B", runs=1)
                table.keep(name, who, "time per event", value / len(packed.t_us), "s")
            table.ratios(name, seconds, first)


def _waiting(run: Callable[[], Any]) -> Callable[[], None]:
    """The run, until the device is through with it."""

    def whole() -> None:
        run()
        torch.cuda.synchronize()

    return whole
