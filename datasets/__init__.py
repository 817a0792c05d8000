"""Event data: recordings, their binning, built-in sets and data modules.

What needs torch, lightning or scikit-learn, and the readers of recordings, are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from neuroaccel.datasets.events import EVENT_DTYPE, Events, bin_events
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.datasets.recordings import BinnedRecordings, Recordings
from neuroaccel.datasets.registry import About, describe, load, names

if TYPE_CHECKING:
    from neuroaccel.datasets.baseline import LinearBaseline, linear_baseline
    from neuroaccel.datasets.batches import EventDataset, FramedDataset
    from neuroaccel.datasets.module import EventDataModule
    from neuroaccel.datasets.readers import Recording, iterate_recording, open_recording

__all__ = [
    "EVENT_DTYPE",
    "About",
    "BinnedRecordings",
    "EventDataModule",
    "EventDataset",
    "Events",
    "FramedDataset",
    "LinearBaseline",
    "PackedEvents",
    "Recording",
    "Recordings",
    "bin_events",
    "describe",
    "iterate_recording",
    "linear_baseline",
    "load",
    "names",
    "open_recording",
]

_LAZY = {
    "EventDataModule": "module",
    "Recording": "readers",
    "iterate_recording": "readers",
    "open_recording": "readers",
    "EventDataset": "batches",
    "FramedDataset": "batches",
    "LinearBaseline": "baseline",
    "linear_baseline": "baseline",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
