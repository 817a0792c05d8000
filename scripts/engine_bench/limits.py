"""Ceilings of the machine, measured by turns with those who should come near them."""

from collections.abc import Callable

import numba
import numpy as np

from engine_bench.table import Contender

READ = 256 * 2**20  # bytes that one run reads


@numba.njit("i8(i8[::1], i8)", error_model="numpy")
def _sum(words, repeats):
    """Four streams, which memory serves better than one, of whole numbers, whose order vectors may change."""
    quarter = words.size // 4
    a, b, c, d = words[:quarter], words[quarter : 2 * quarter], words[2 * quarter : 3 * quarter], words[3 * quarter :]
    total = 0
    for _ in range(repeats):
        for i in range(quarter):
            total += a[i] + b[i] + c[i] + d[i]
        words[0] = total  # else one pass would do for all
    return total


def name(megabytes: int) -> str:
    return f"limit (read of {megabytes} MB)"


def reader(megabytes: int) -> Contender:
    """Who reads an array of this many binary megabytes over and over, ``READ`` bytes in all."""
    words = np.arange(megabytes * 2**17, dtype=np.int64)
    run: Callable[[], int] = lambda: _sum(words, READ // words.nbytes)  # noqa: E731
    return Contender(name(megabytes), run)
