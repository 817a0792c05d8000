"""Inner loops of the kernels that take a target at a time through many rows: masked sums, and turning them.

LLVM splits the vectors into what the CPU has. A target's living weights are added in the order in which they are
listed, one rounded operation after the other.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LANES = 16
MOST = 256  # rows
SHORT, INT, LONG, FLOAT = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


def _pointer(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def _splat(builder, value, lanes):
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(empty, value, INT(0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(INT, lanes), [0] * lanes))


def line_adder(groups):
    """``add(columns, weights, first, last, masks, out)``: one target in 16 * groups rows at once.

    Each living weight first to last of the target is added to the rows whose bit is set in its input's mask, of which
    each 16 rows have a uint16 (``masks`` uint16[inputs, 16]). The sums begin at 0 and go to the floats at ``out``.
    Arguments are addresses, but for first and last.
    """

    @intrinsic
    def add(typing_context, columns, weights, first, last, masks, out):
        def generate(context, builder, signature, arguments):
            columns, weights, first, last, masks, out = arguments
            kind, bits = ir.VectorType(FLOAT, LANES), ir.VectorType(ir.IntType(1), LANES)
            sources, values = _pointer(builder, columns, INT), _pointer(builder, weights, FLOAT)
            entry = builder.block
            head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
            builder.branch(head)
            builder.position_at_end(head)
            k = builder.phi(LONG)
            k.add_incoming(first, entry)
            sums = [builder.phi(kind) for _ in range(groups)]
            for total in sums:
                total.add_incoming(ir.Constant(kind, [0.0] * LANES), entry)
            builder.cbranch(builder.icmp_signed("<", k, last), body, end)
            builder.position_at_end(body)
            source = builder.zext(builder.load(builder.gep(sources, [k])), LONG)
            line = _pointer(builder, builder.add(masks, builder.mul(source, LONG(2 * MOST // LANES))), INT)
            weight = _splat(builder, builder.load(builder.gep(values, [k])), LANES)
            for group, total in enumerate(sums):
                if group % 2 == 0:
                    # Two masks by one load take an eighth less time than by two, into which LLVM would cut it, were it
                    # not atomic (which costs nothing).
                    pair = builder.load_atomic(builder.gep(line, [LONG(group // 2)]), "unordered", 4)
                half = builder.lshr(pair, INT(LANES * (group % 2)))
                mask = builder.bitcast(builder.trunc(half, SHORT), bits)
                # Where the bit is not set nothing is added, not even 0.
                new = builder.select(mask, builder.fadd(total, weight), total)
                total.add_incoming(new, builder.block)
            k.add_incoming(builder.add(k, LONG(1)), builder.block)
            builder.branch(head)
            builder.position_at_end(end)
            target = _pointer(builder, out, kind)
            for group, total in enumerate(sums):
                builder.store(total, builder.gep(target, [LONG(group)]), align=4)
            return context.get_dummy_value()

        long = types.int64
        return types.void(long, long, long, long, long, long), generate

    return add


@intrinsic
def turn_16(typing_context, source, source_stride, target, target_stride):
    """Transpose 16 x 16 floats; lines begin a stride of bytes behind each other."""

    def generate(context, builder, signature, arguments):
        source, source_stride, target, target_stride = arguments
        kind = ir.VectorType(FLOAT, LANES)

        def at(base, stride, line):
            return _pointer(builder, builder.add(base, builder.mul(stride, LONG(line))), kind)

        lines = [builder.load(at(source, source_stride, line), align=4) for line in range(LANES)]
        choice = ir.VectorType(INT, LANES)
        for half in (8, 4, 2, 1):  # swap the off-diagonal quarters of ever smaller squares
            upper = [LANES + k - half if k & half else k for k in range(LANES)]
            lower = [LANES + k if k & half else k + half for k in range(LANES)]
            for line in range(LANES):
                if not line & half:
                    a, b = lines[line], lines[line + half]
                    lines[line] = builder.shuffle_vector(a, b, ir.Constant(choice, upper))
                    lines[line + half] = builder.shuffle_vector(a, b, ir.Constant(choice, lower))
        for line, values in enumerate(lines):
            builder.store(values, at(target, target_stride, line), align=4)
        return context.get_dummy_value()

    long = types.int64
    return types.void(long, long, long, long), generate


@intrinsic
def integrate_16(typing_context, y, z, bias, out):
    """(y·z + y) + bias of 16 floats each at the addresses y and z, every operation rounded, to out."""

    def generate(context, builder, signature, arguments):
        y, z, bias, out = arguments
        kind = ir.VectorType(FLOAT, LANES)
        one, two = (builder.load(_pointer(builder, place, kind), align=4) for place in (y, z))
        current = builder.fadd(builder.fmul(one, two), one)
        builder.store(builder.fadd(current, _splat(builder, bias, LANES)), _pointer(builder, out, kind), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32, types.int64), generate


@intrinsic
def copy_16(typing_context, source, target):
    """Copy 16 floats."""

    def generate(context, builder, signature, arguments):
        source, target = (_pointer(builder, place, ir.VectorType(FLOAT, LANES)) for place in arguments)
        builder.store(builder.load(source, align=4), target, align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


add_1, add_2, add_3, add_4 = line_adder(1), line_adder(2), line_adder(3), line_adder(4)
add_5, add_6, add_7, add_8 = line_adder(5), line_adder(6), line_adder(7), line_adder(8)
add_10, add_12, add_14, add_16 = line_adder(10), line_adder(12), line_adder(14), line_adder(16)


@njit(nogil=True)
def add(groups, columns, weights, first, last, masks, out):
    """One target in so many groups of 16 rows; in one more where there are an odd number above 8."""
    if groups > 8:
        if groups > 14:
            add_16(columns, weights, first, last, masks, out)
        elif groups > 12:
            add_14(columns, weights, first, last, masks, out)
        elif groups > 10:
            add_12(columns, weights, first, last, masks, out)
        else:
            add_10(columns, weights, first, last, masks, out)
    elif groups > 4:
        if groups > 7:
            add_8(columns, weights, first, last, masks, out)
        elif groups > 6:
            add_7(columns, weights, first, last, masks, out)
        elif groups > 5:
            add_6(columns, weights, first, last, masks, out)
        else:
            add_5(columns, weights, first, last, masks, out)
    elif groups > 3:
        add_4(columns, weights, first, last, masks, out)
    elif groups > 2:
        add_3(columns, weights, first, last, masks, out)
    elif groups > 1:
        add_2(columns, weights, first, last, masks, out)
    else:
        add_1(columns, weights, first, last, masks, out)


@njit(nogil=True)
def mark(index, found, start, rows, masks):
    """masks [inputs, 16] of rows start, ... : a bit per row and input, 16 rows in a word."""
    masks[:] = 0
    for r in range(rows):
        bit, group = 1 << (r & 15), r >> 4
        for e in range(found[start + r]):
            masks[index[start + r, e], group] |= bit


@njit(nogil=True)
def turn(lines, room, current, start, rows, first, count):
    """lines [targets, ..] of so many rows and targets -> current[start:, first:], by way of room [16, targets + 16].

    The squares could go there at once, but rows of current a power of two apart would push each other out of the
    first-level cache: that takes four times as long.
    """
    step, wide = 4 * lines.shape[1], 4 * room.shape[1]
    for r in range(0, rows, 16):
        for k in range(0, count, 16):
            turn_16(lines.ctypes.data + k * step + 4 * r, step, room.ctypes.data + 4 * k, wide)
        for j in range(min(16, rows - r)):
            target = current.ctypes.data + 4 * ((start + r + j) * current.shape[1] + first)
            for k in range(0, count - 15, 16):
                copy_16(room.ctypes.data + j * wide + 4 * k, target + 4 * k)
            for k in range(count & -16, count):
                current[start + r + j, first + k] = room[j, k]
