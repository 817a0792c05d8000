"""Event data: recordings, their binning, built-in sets and data modules.

``EventDataModule``, ``EventDataset`` and ``linear_baseline`` import torch, lightning or scikit-learn when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from neuroaccel.datasets.events import EVENT_DTYPE, Events, bin_events
from neuroaccel.datasets.recordings import BinnedRecordings, Recordings
from neuroaccel.datasets.registry import load, names

if TYPE_CHECKING:
    from neuroaccel.datasets.baseline import LinearBaseline, linear_baseline
    from neuroaccel.datasets.module import EventDataModule, EventDataset

__all__ = [
    "EVENT_DTYPE",
    "BinnedRecordings",
    "EventDataModule",
    "EventDataset",
    "Events",
    "LinearBaseline",
    "Recordings",
    "bin_events",
    "linear_baseline",
    "load",
    "names",
]

_LAZY = {
    "EventDataModule": "module",
    "EventDataset": "module",
    "LinearBaseline": "baseline",
    "linear_baseline": "baseline",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
