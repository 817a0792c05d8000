"""SpikingJelly's binning, which its package hides behind torchvision: the binning itself does not need it."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "spikingjelly.datasets.utils"


def integrate() -> Callable[..., Any] | None:
    """Its ``integrate_events_by_fixed_duration``, or None where it is not installed."""
    package = importlib.util.find_spec("spikingjelly")
    if package is None or package.origin is None:
        return None
    spec = importlib.util.spec_from_file_location(NAME, Path(package.origin).parent / "datasets" / "utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    missing = [name for name in ("torchvision", "torchvision.transforms") if not _installed(name)]
    for name in missing:  # imported by the file for its pictures
        sys.modules[name] = ModuleType(name)
    if missing:
        sys.modules["torchvision"].transforms = None  # type: ignore[attr-defined]
    try:
        spec.loader.exec_module(module)
    finally:
        for name in missing:
            del sys.modules[name]
    found: Callable[..., Any] = module.integrate_events_by_fixed_duration
    return found


def _installed(name: str) -> bool:
    return importlib.util.find_spec("torchvision") is not None and importlib.util.find_spec(name) is not None
