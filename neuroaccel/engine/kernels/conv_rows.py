"""Rows of numbers in vectors: the inner loop of a convolution, and what else moves rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

BYTES = 64  # of one vector; a machine whose vectors are narrower uses several of them
TOGETHER = (4, 2, 1)  # vectors that are worked on side by side
WORD, SHORT = ir.IntType(64), ir.IntType(32)


@njit(nogil=True, error_model="numpy")
def add_rows_plain(sums, at, apart, weight, start, stride, rows, count, x):
    """sums[at + j * apart + k] += weight[start + j * stride + k] * x for j < rows, k < count, one by one."""
    for j in range(rows):
        for k in range(count):
            sums[at + j * apart + k] += weight[start + j * stride + k] * x


class Vectors:
    """Vectors of a type of number, in a function that is being built."""

    def __init__(self, context: Any, builder: Any, number: Any) -> None:
        self.context, self.builder = context, builder
        self.element = context.get_data_type(number)
        self.floating = isinstance(number, types.Float)
        self.size = number.bitwidth // 8
        self.lanes = BYTES // self.size
        self.vector = ir.VectorType(self.element, self.lanes)
        self.masks = ir.VectorType(ir.IntType(1), self.lanes)
        self.suffix = f"v{self.lanes}{'f' if self.floating else 'i'}{number.bitwidth}.p0"

    def data(self, kind: Any, array: Any, offset: Any) -> Any:
        return self.builder.gep(self.context.make_array(kind)(self.context, self.builder, array).data, [offset])

    def splat(self, x: Any, lane: Any) -> Any:
        nothing = ir.Constant(ir.VectorType(lane, self.lanes), ir.Undefined)
        zeros = ir.Constant(ir.VectorType(SHORT, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(
            self.builder.insert_element(nothing, x, ir.Constant(SHORT, 0)), nothing, zeros
        )

    def place(self, base: Any, k: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(base, [k]), self.vector.as_pointer())

    def load(self, place: Any) -> Any:
        return self.builder.load(place, align=self.size)

    def store(self, value: Any, place: Any) -> None:
        self.builder.store(value, place, align=self.size)

    def masked(self, what: str, mask: Any, place: Any, value: Any = None) -> Any:
        pointer, align, nothing = (
            self.vector.as_pointer(),
            ir.Constant(SHORT, self.size),
            ir.Constant(self.vector, None),
        )
        if what == "load":
            kind = ir.FunctionType(self.vector, [pointer, SHORT, self.masks, self.vector])
            arguments = [place, align, mask, nothing]
        else:
            kind = ir.FunctionType(ir.VoidType(), [self.vector, pointer, SHORT, self.masks])
            arguments = [value, place, align, mask]
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.{what}.{self.suffix}")
        return self.builder.call(function, arguments)

    def loop(
        self, count: Any, one: Callable[[Any, Any], None], several: Callable[[list[Any]], None] | None = None
    ) -> None:
        """``one(k, mask)`` for every vector of ``count`` numbers, k its first; mask is None for whole ones.

        Whole vectors come four or two together where they can; ``several`` takes those, if it is given.
        """
        builder = self.builder
        first: Any = ir.Constant(WORD, 0)
        for together in TOGETHER:
            wide = together * self.lanes
            end = builder.and_(count, ir.Constant(WORD, -wide))
            with cgutils.for_range_slice(builder, first, end, ir.Constant(WORD, wide), WORD) as (k, _):
                places = [builder.add(k, ir.Constant(WORD, j)) for j in range(0, wide, self.lanes)]
                if several is not None:
                    several(places)
                else:
                    for place in places:
                        one(place, None)
            first = end
        with builder.if_then(builder.icmp_signed("<", first, count), likely=False):
            rest = self.splat(builder.trunc(builder.sub(count, first), SHORT), SHORT)
            lanes = ir.Constant(ir.VectorType(SHORT, self.lanes), list(range(self.lanes)))
            one(first, builder.icmp_signed("<", lanes, rest))


@intrinsic
def add_rows(
    typing_context: Any,
    sums: Any,
    at: Any,
    apart: Any,
    weight: Any,
    start: Any,
    stride: Any,
    rows: Any,
    count: Any,
    x: Any,
) -> Any:
    """As ``add_rows_plain``, in vectors: every product and every sum is rounded on its own."""
    number, whole = sums.dtype, types.intp
    signature = types.void(sums, whole, whole, weight, whole, whole, whole, whole, number)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, at, apart, source, start, stride, rows, count, x = arguments
        v = Vectors(context, builder, number)
        to, row = v.data(signature.args[0], target, at), v.data(signature.args[3], source, start)
        builder.call(_add_rows(context, builder.module, number), [to, apart, row, stride, rows, count, x])
        return context.get_dummy_value()

    return signature, generate


def _add_rows(context: Any, module: Any, number: Any) -> Any:
    """A function of its own, not inlined: its loops keep their registers."""
    name = f"neuroaccel_add_rows_{number}"
    if name in module.globals:
        return module.globals[name]
    element = context.get_data_type(number)
    pointer = element.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, WORD, pointer, WORD, WORD, WORD, element])
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    v = Vectors(context, builder, number)
    to, apart, row, stride, rows, count, x = function.args
    factor = v.splat(x, v.element)
    multiply, add = (builder.fmul, builder.fadd) if v.floating else (builder.mul, builder.add)
    with cgutils.for_range(builder, rows, intp=WORD) as line:
        here = builder.gep(to, [builder.mul(line.index, apart)])
        there = builder.gep(row, [builder.mul(line.index, stride)])

        def body(k: Any, mask: Any) -> None:
            target, source = v.place(here, k), v.place(there, k)
            if mask is None:
                v.store(add(v.load(target), multiply(v.load(source), factor)), target)
            else:
                product = multiply(v.masked("load", mask, source), factor)
                v.masked("store", mask, target, add(v.masked("load", mask, target), product))

        v.loop(count, body)
    builder.ret_void()
    return function


@intrinsic
def fill_row(typing_context: Any, target: Any, at: Any, count: Any, x: Any) -> Any:
    """target[at : at + count] = x, in vectors."""
    number = target.dtype
    signature = types.void(target, types.intp, types.intp, number)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, count, x = arguments
        v = Vectors(context, builder, number)
        to, value = v.data(signature.args[0], array, at), v.splat(x, v.element)

        def body(k: Any, mask: Any) -> None:
            if mask is None:
                v.store(value, v.place(to, k))
            else:
                v.masked("store", mask, v.place(to, k), value)

        v.loop(count, body)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prefetch_row(typing_context: Any, array: Any, at: Any, count: Any) -> Any:
    """Ask for array[at : at + count], which will soon be read and written, ahead of time."""
    signature = types.void(array, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v = Vectors(context, builder, array.dtype)
        base, pointer = v.data(signature.args[0], arguments[0], arguments[1]), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, SHORT, SHORT, SHORT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        hints = [ir.Constant(SHORT, hint) for hint in (1, 3, 1)]  # to be written, to be kept near, data
        lanes = ir.Constant(WORD, v.lanes)
        with cgutils.for_range_slice(builder, ir.Constant(WORD, 0), arguments[2], lanes, WORD) as (k, _):
            builder.call(function, [builder.bitcast(builder.gep(base, [k]), pointer), *hints])
        return context.get_dummy_value()

    return signature, generate
