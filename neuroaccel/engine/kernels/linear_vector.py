"""Inner loops that numba's own vectoriser cannot write: sums that stay in vector registers while events go by.

LLVM splits the vectors into what the CPU has. Every lane adds in the order of the event list, one rounded operation
after the other, as the plain loop of ``linear.py`` does.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

BYTE, SHORT, INT, LONG, FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
LANES = 16
# How many events ahead a row is asked for: 1 KB per vector register that is filled from it. Measured on rows of 512 B
# from memory: 0, 4, 8, 16 ahead move 33, 38, 44, 47 GB/s.
AHEAD = 16
ROW_BYTES = {"f4": 4, "bf16": 2, "i1": 1}


def _pointer(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def _prefetch(builder, address):
    """Ask for a line of memory; an address that nobody owns does no harm."""
    kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), INT, INT, INT])
    name = "llvm.prefetch.p0i8"
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name=name)
    builder.call(function, [_pointer(builder, address, BYTE), INT(0), INT(3), INT(1)])


def _splat(builder, value, lanes):
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(empty, value, INT(0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(INT, lanes), [0] * lanes))


def _widened(builder, address, storage, lanes):
    """``lanes`` stored weights, as what they are added as."""
    if storage == "f4":
        return builder.load(_pointer(builder, address, ir.VectorType(FLOAT, lanes)), align=4)
    if storage == "bf16":
        half = builder.load(_pointer(builder, address, ir.VectorType(SHORT, lanes)), align=2)
        wide = builder.zext(half, ir.VectorType(INT, lanes))
        high = builder.shl(wide, ir.Constant(wide.type, [16] * lanes))
        return builder.bitcast(high, ir.VectorType(FLOAT, lanes))
    small = builder.load(_pointer(builder, address, ir.VectorType(BYTE, lanes)), align=1)
    return builder.sext(small, ir.VectorType(SHORT, lanes))


def _sums(builder, place, lanes, going_on):
    """The floats at a place, or zeros."""
    kind = ir.VectorType(FLOAT, lanes)
    found = builder.load(_pointer(builder, place, kind), align=4)
    return builder.select(going_on, found, ir.Constant(kind, [0.0] * lanes))


def row_adder(columns, storage, scaled, ahead):
    """The loop over events for ``columns`` targets.

     ``add(base, stride, index, first, last, out, value, scale, after, begun)`` takes addresses in bytes: ``base`` of
    the row of input 0, ``stride`` from row to row, ``index`` of the event list, of which ``first`` to ``last`` are
    added to the floats at ``out``, or to zeros unless ``begun``. ``scaled`` multiplies each row by the input's value,
    found at ``value`` + 4 · input. ``i1`` rows are added in 16 bits, which must hold the sum, and times ``scale`` in
    the end. ``ahead`` asks for rows to come, in the end for those of ``after``.
    """
    whole = storage == "i1"
    lanes = min(columns, 2 * LANES) if whole else LANES
    count = columns // lanes
    row_bytes = columns * ROW_BYTES[storage]

    @intrinsic
    def add(typing_context, base, stride, index, first, last, out, value, scale, after, begun):
        def generate(context, builder, signature, arguments):
            base, stride, index, first, last, out, value, scale, after, begun = arguments
            going_on = builder.icmp_signed("!=", begun, LONG(0))
            kind = ir.VectorType(SHORT if whole else FLOAT, lanes)
            places = [builder.add(out, LONG(k * lanes * 4)) for k in range(count)]
            if whole:
                begin = [ir.Constant(kind, [0] * lanes)] * count
            else:
                begin = [_sums(builder, place, lanes, going_on) for place in places]
            events = _pointer(builder, index, INT)
            entry = builder.block
            head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
            builder.branch(head)

            builder.position_at_end(head)
            event = builder.phi(LONG)
            event.add_incoming(first, entry)
            sums = [builder.phi(kind) for _ in range(count)]
            for total, start in zip(sums, begin, strict=True):
                total.add_incoming(start, entry)
            builder.cbranch(builder.icmp_signed("<", event, last), body, end)

            builder.position_at_end(body)
            source = builder.sext(builder.load(builder.gep(events, [event])), LONG)
            row = builder.add(base, builder.mul(source, stride))
            if ahead:
                later = builder.add(event, LONG(AHEAD))
                over = builder.icmp_signed(">=", later, last)
                wrapped = builder.select(over, builder.sub(later, builder.sub(last, first)), later)
                wrapped = builder.select(builder.icmp_signed("<", wrapped, last), wrapped, event)
                coming = builder.sext(builder.load(builder.gep(events, [wrapped])), LONG)
                next_row = builder.add(builder.select(over, after, base), builder.mul(coming, stride))
                for line in range(0, row_bytes, 64):
                    _prefetch(builder, builder.add(next_row, LONG(line)))
            if scaled:
                x = builder.load(builder.gep(_pointer(builder, value, FLOAT), [source]), align=4)
                factor = _splat(builder, x, lanes)
            for k, total in enumerate(sums):
                weights = _widened(builder, builder.add(row, LONG(k * row_bytes // count)), storage, lanes)
                if scaled:
                    weights = builder.fmul(weights, factor)
                more = builder.add(total, weights) if whole else builder.fadd(total, weights)
                total.add_incoming(more, builder.block)
            event.add_incoming(builder.add(event, LONG(1)), builder.block)
            builder.branch(head)

            builder.position_at_end(end)
            for total, place in zip(sums, places, strict=True):
                target = _pointer(builder, place, ir.VectorType(FLOAT, lanes))
                result = total
                if whole:
                    wide = builder.sitofp(builder.sext(total, ir.VectorType(INT, lanes)), target.type.pointee)
                    result = builder.fmul(wide, _splat(builder, scale, lanes))
                    result = builder.fadd(_sums(builder, place, lanes, going_on), result)
                builder.store(result, target, align=4)
            return context.get_dummy_value()

        long = types.int64
        return types.void(long, long, long, long, long, long, long, types.float32, long, long), generate

    return add


def sparse_adder(scaled):
    """``add(index, weight, first, last, out, x)``: weights first to last of a CSR row, to the floats at ``out``."""

    @intrinsic
    def add(typing_context, index, weight, first, last, out, x):
        def generate(context, builder, signature, arguments):
            index, weight, first, last, out, x = arguments
            targets, weights, sums = (_pointer(builder, a, t) for a, t in ((index, INT), (weight, FLOAT), (out, FLOAT)))
            entry = builder.block
            head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
            builder.branch(head)
            builder.position_at_end(head)
            k = builder.phi(LONG)
            k.add_incoming(first, entry)
            builder.cbranch(builder.icmp_signed("<", k, last), body, end)
            builder.position_at_end(body)
            target = builder.gep(sums, [builder.zext(builder.load(builder.gep(targets, [k])), LONG)])
            w = builder.load(builder.gep(weights, [k]))
            if scaled:
                w = builder.fmul(w, x)
            builder.store(builder.fadd(builder.load(target), w), target)
            k.add_incoming(builder.add(k, LONG(1)), builder.block)
            builder.branch(head)
            builder.position_at_end(end)
            return context.get_dummy_value()

        long = types.int64
        return types.void(long, long, long, long, long, types.float32), generate

    return add


@intrinsic
def fetch(typing_context, address):
    """Ask for the line of memory at an address."""

    def generate(context, builder, signature, arguments):
        _prefetch(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def trailing_zeros(typing_context, word):
    """How many zero bits a word that is not 0 ends with."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def unite(typing_context, base, stride, index, first, last, out):
    """OR the 8 words of rows of bits, from ``base`` on, into those at ``out``; arguments as of ``row_adder``."""

    def generate(context, builder, signature, arguments):
        base, stride, index, first, last, out = arguments
        kind = ir.VectorType(LONG, 8)
        events, target = _pointer(builder, index, INT), _pointer(builder, out, kind)
        start = builder.load(target, align=8)
        entry = builder.block
        head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
        builder.branch(head)
        builder.position_at_end(head)
        event, union = builder.phi(LONG), builder.phi(kind)
        event.add_incoming(first, entry)
        union.add_incoming(start, entry)
        builder.cbranch(builder.icmp_signed("<", event, last), body, end)
        builder.position_at_end(body)
        source = builder.sext(builder.load(builder.gep(events, [event])), LONG)
        row = _pointer(builder, builder.add(base, builder.mul(source, stride)), kind)
        union.add_incoming(builder.or_(union, builder.load(row, align=8)), builder.block)
        event.add_incoming(builder.add(event, LONG(1)), builder.block)
        builder.branch(head)
        builder.position_at_end(end)
        builder.store(union, target, align=8)
        return context.get_dummy_value()

    long = types.int64
    return types.void(long, long, long, long, long, long), generate


@intrinsic
def spread(typing_context, word, address):
    """Write the 64 bits of a word as 64 bytes, 0 or 1."""

    def generate(context, builder, signature, arguments):
        word, address = arguments
        kind = ir.VectorType(BYTE, 64)
        bits = builder.bitcast(word, ir.VectorType(ir.IntType(1), 64))
        builder.store(builder.zext(bits, kind), _pointer(builder, address, kind), align=1)
        return context.get_dummy_value()

    return types.void(types.uint64, types.int64), generate
