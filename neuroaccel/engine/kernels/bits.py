"""Numbers as their bits, inside kernels."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
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
