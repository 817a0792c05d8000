"""Numbers as their bits, and bytes as flags, inside kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


@intrinsic
def differ(typing_context: Any, a: Any, b: Any) -> Any:
    """Whether two floats differ in any bit: 0.0 and -0.0 do, a NaN and its copy do not."""
    signature = types.boolean(a, a)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        whole = ir.IntType(a.bitwidth)
        left, right = (builder.bitcast(x, whole) for x in arguments)
        return builder.icmp_unsigned("!=", left, right)

    return signature, generate


@intrinsic
def flagged(typing_context: Any, address: Any, bit: Any) -> Any:
    """Of 64 bytes which have a bit that ``bit`` has, as the bits of a word."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, place = ir.IntType(8), ir.IntType(32)
        kind = ir.VectorType(byte, 64)
        found = builder.load(builder.inttoptr(arguments[0], kind.as_pointer()), align=1)
        empty = ir.Constant(kind, ir.Undefined)
        wanted = builder.insert_element(empty, builder.trunc(arguments[1], byte), place(0))
        wanted = builder.shuffle_vector(wanted, empty, ir.Constant(ir.VectorType(place, 64), [0] * 64))
        odd = builder.icmp_unsigned("!=", builder.and_(found, wanted), ir.Constant(kind, [0] * 64))
        return builder.bitcast(odd, ir.IntType(64))

    return types.uint64(types.int64, types.int64), generate


@intrinsic
def ones(typing_context: Any, word: Any) -> Any:
    """How many bits are set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def zeros_before(typing_context: Any, word: Any) -> Any:
    """The place of the lowest bit that is set; 64 if none is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@njit(nogil=True)
def listed(flags: Any, words: Any, bit: Any, near: Any) -> Any:
    """The places in flags, so many words of 8, that have the bit: near[:events], with 8 more of room; returns events.

    Eight are written at once, however many there are: a loop that ended with the last would be mispredicted each time.
    """
    events = 0
    for first in range(0, 8 * words, 64):
        word: Any = flagged(flags.ctypes.data + first, bit)
        last = events + ones(word)
        while events < last:
            for k in range(8):
                near[events + k] = first + zeros_before(word)
                word &= word - np.uint64(1)
            events += 8
        events = last
    return events
