"""Images whose channels lie side by side in memory, ``[B, C, H, W]`` to torch: what conv, norm and pool compute in."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuroaccel import compiling
from neuroaccel.compiling import Kernel
from neuroaccel.kernels.buffers import empty
from neuroaccel.kernels.threads import PARTS

Array = NDArray[np.float32]


def load(name: str, inner: str = "", plain: bool = False, /, **constants: int) -> Kernel:
    """The kernel of ``sources/{name}.py`` for these constants, with the text of its inner loop, in vectors or plain."""
    return compiling.load("neuroaccel.kernels.sources", name, constants=constants, inner=inner, plain=plain)


def new(samples: int, channels: int, *size: int) -> Tensor:
    """An uninitialised ``[B, C, ...]``, its memory used again where nobody holds it."""
    return empty(samples, *size, channels).movedim(-1, 1)


def like(x: Tensor, *shape: int) -> Tensor:
    """The same for the fake kernels of operators."""
    samples, channels, *size = shape
    return x.new_empty((samples, *size, channels)).movedim(-1, 1)


def ordered(x: Tensor) -> bool:
    """Whether ``[B, C, ...]`` lies so."""
    return x.movedim(1, -1).is_contiguous()


def images(x: Tensor) -> Array:
    """``[B, C, ...]`` as an array ``[B, ... · C]``, copied where it does not lie so."""
    array: Array = x.detach().movedim(1, -1).contiguous().flatten(1).numpy()
    return array


def ranges(count: int, threads: int, most: int = 1 << 30) -> list[tuple[int, int]]:
    """Ranges that cover ``count``, some for each thread."""
    size = max(1, min(most, -(-count // (PARTS * threads))))
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def as_they_are(count: int) -> NDArray[np.int64]:
    """The order of images that stay in their rows: from where they enter, and whereto they leave."""
    return np.tile(np.arange(count), (2, 1))


def refuses(*tensors: Tensor | None) -> str:
    """Why the kernels cannot take these, or an empty text."""
    for tensor in tensors:
        if tensor is not None and (tensor.device.type != "cpu" or tensor.dtype != torch.float32):
            return f"{tensor.dtype} on {tensor.device.type}, it computes in float32 on the CPU"
    if torch.is_autocast_enabled("cpu"):
        return "autocast asks for a lower precision"
    return ""
