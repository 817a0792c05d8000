"""Where torch computes."""

from __future__ import annotations

import torch

from neuroaccel.errors import InputError


def checked_device(device: str) -> str:
    """``device`` if torch can use it here.

    Raises:
        InputError: it is neither ``cpu`` nor an available ``cuda``.
    """
    if device != "cpu" and not (device == "cuda" and torch.cuda.is_available()):
        raise InputError(f"device '{device}' is not available here; take cpu")
    return device
