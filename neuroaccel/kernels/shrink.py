"""The soft threshold of pruning in one pass over memory, where torch needs one for each of its operations.

A weight that is pruned is +0 here. torch gives the last few of a tensor the sign of θ where no cut follows, and the
others +0.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from neuroaccel.kernels.channels_last import load, ranges
from neuroaccel.kernels.threads import share, threads_for

SMALL = 1 << 16  # weights up to which the call costs more than the passes that it saves
LARGEST = float(np.finfo(np.float32).max)


def soft_threshold(theta: Tensor, gain: Tensor | None, d1: float, d2: float, cut: bool, out: Tensor) -> bool:
    """Do it, for float32 on the CPU with a gain per row.

    Arguments:
        theta: ``[rows, ...]``.
        gain: ``[rows, 1, ...]``.
        d1, d2: thresholds; others than 0 to float32's largest are left to torch, which says what it thinks of them.
        cut: whether there is a cut at d2.
        out: takes the weight.

    Returns:
        Whether it is done.
    """
    if theta.numel() < SMALL:
        return False
    given = (theta, out) if gain is None else (theta, out, gain)
    if not all(t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous() for t in given):
        return False
    if gain is not None and gain.shape != (theta.shape[0], *[1] * (theta.dim() - 1)):
        return False
    if not (0 <= d1 <= LARGEST and 0 <= d2 <= LARGEST):
        return False
    gains = np.empty(0, np.float32) if gain is None else gain.detach().view(-1).numpy()
    source, target = theta.detach().view(-1).numpy(), out.detach().view(-1).numpy()
    rows, length = theta.shape[0], math.prod(theta.shape[1:])
    kernel, threads = load("shrink", "", False, CUT=int(cut)), threads_for(source.size, 1)
    share(lambda a, b: kernel(source, gains, target, d1, d2, length, a, b), ranges(rows, threads), threads)
    return True
