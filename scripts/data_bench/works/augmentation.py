"""Augmentations of a batch, beside tonic's of single recordings where it has the same one."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from engine_bench.table import Contender, Table

from data_bench.data import SIZE, SPAN_US, batch, gesture
from neuroaccel.datasets.augment import (
    Augmentation,
    Crop,
    Downsample,
    DropEvents,
    DropRegion,
    DropTime,
    EventMix,
    FlipPolarity,
    FlipX,
    Shift,
    TimeJitter,
)

ALL: tuple[Augmentation, ...] = (
    FlipX(1.0),
    FlipPolarity(1.0),
    Crop(112),
    Shift(8),
    DropRegion(0.25),
    Downsample(2),
    TimeJitter(1000.0),
    DropEvents(0.25),
    DropTime(SPAN_US, SPAN_US // 4),
    EventMix(11, p=1.0),
)


def work(table: Table, quick: bool) -> None:
    events = [gesture(seed) for seed in range(4 if quick else 16)]
    packed, labels = batch(events), np.arange(len(events)) % 11
    for augmentation in ALL:
        name = f"augmentation, {augmentation.kind}"

        def run(augmentation: Augmentation = augmentation) -> Any:
            made = augmentation(packed, np.random.default_rng(0), labels)
            return (made[0] if isinstance(made, tuple) else made).address

        contenders = [Contender("neuroaccel", run, expected=run())]
        transform = _peer(augmentation)
        if transform is not None:
            who = f"tonic {type(transform).__name__}"
            # a copy, since some of tonic's write to what they are given; a loader would have to make it as well
            contenders.append(Contender(who, lambda t=transform: [len(t(one.data.copy())) for one in events]))
        seconds = table.contest(name, contenders)
        for who, value in seconds.items():
            note = f"{value / seconds['neuroaccel']:.2f}×"
            table.add(name, who, "time per event", value / len(packed.t_us), "s", note)


def _peer(augmentation: Augmentation) -> Any:
    if not find_spec("tonic"):
        return None
    from tonic import transforms

    return {
        "flip_x": lambda: transforms.RandomFlipLR(SIZE, 1.0),
        "flip_polarity": lambda: transforms.RandomFlipPolarity(1.0),
        "crop": lambda: transforms.RandomCrop(SIZE, (112, 112)),
        "time_jitter": lambda: transforms.TimeJitter(1000.0, clip_negative=True, sort_timestamps=True),
        "drop_events": lambda: transforms.DropEvent(0.25),
    }.get(augmentation.kind, lambda: None)()
