"""Inner loops of delayed synapses: an event's currents into a ring of sums, and the sums of a tick out of it.

A sum to which nothing was added is -0.0, which no addition gives back: -0.0 + w is w, and w - w is 0.0. So that a sum
tells by itself whether an event reached it.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

BYTE, INT, LONG, FLOAT = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
LANES = 16
BRANCHES = 8


def _pointer(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def ring_adder(scaled):
    """``add(places, weight, first, last, ring, start, size, x)``: weights first to last, each to a sum of the ring.

    The sum is at ``start`` + its place, modulo ``size``; arrays are given by their addresses. ``scaled`` multiplies
    weights by x.
    """

    @intrinsic
    def add(typing_context, places, weight, first, last, ring, start, size, x):
        def generate(context, builder, signature, arguments):
            places, weight, first, last, ring, start, size, x = arguments
            targets, weights, sums = (
                _pointer(builder, a, t) for a, t in ((places, INT), (weight, FLOAT), (ring, FLOAT))
            )
            entry = builder.block
            head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
            builder.branch(head)
            builder.position_at_end(head)
            k = builder.phi(LONG)
            k.add_incoming(first, entry)
            builder.cbranch(builder.icmp_signed("<", k, last), body, end)
            builder.position_at_end(body)
            place = builder.add(start, builder.zext(builder.load(builder.gep(targets, [k])), LONG))
            around = builder.sub(place, size)
            place = builder.select(builder.icmp_signed("<", around, LONG(0)), place, around)
            w = builder.load(builder.gep(weights, [k]))
            if scaled:
                w = builder.fmul(w, x)
            target = builder.gep(sums, [place])
            builder.store(builder.fadd(builder.load(target), w), target)
            k.add_incoming(builder.add(k, LONG(1)), builder.block)
            builder.branch(head)
            builder.position_at_end(end)
            return context.get_dummy_value()

        long = types.int64
        return types.void(long, long, long, long, long, long, long, types.float32), generate

    return add


def giver(flagged):
    """``give(ring, out, touched, last)``: sums 0 to last, a multiple of 16, out of the ring, which forgets them.

    Returns a number that is not 0 if an event reached any of them; ``flagged`` also sets which, else it is 0.
    """

    @intrinsic
    def give(typing_context, ring, out, touched, last):
        def generate(context, builder, signature, arguments):
            ring, out, touched, last = arguments
            floats, bits, flags = (ir.VectorType(kind, LANES) for kind in (FLOAT, INT, ir.IntType(1)))
            nothing, zero = ir.Constant(floats, [-0.0] * LANES), ir.Constant(floats, [0.0] * LANES)
            entry = builder.block
            head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
            builder.branch(head)
            builder.position_at_end(head)
            k, some = builder.phi(LONG), builder.phi(flags)
            k.add_incoming(LONG(0), entry)
            some.add_incoming(ir.Constant(flags, [0] * LANES), entry)
            builder.cbranch(builder.icmp_signed("<", k, last), body, end)
            builder.position_at_end(body)
            place = builder.shl(k, LONG(2))
            source = _pointer(builder, builder.add(ring, place), floats)
            sums = builder.load(source, align=4)
            builder.store(builder.fadd(sums, zero), _pointer(builder, builder.add(out, place), floats), align=4)
            builder.store(nothing, source, align=4)
            seen = some
            if flagged:
                sign = ir.Constant(bits, [1 << 31] * LANES)
                reached = builder.icmp_signed("!=", builder.bitcast(sums, bits), sign)
                octets = ir.VectorType(BYTE, LANES)
                target = _pointer(builder, builder.add(touched, k), octets)
                builder.store(builder.zext(reached, octets), target, align=1)
                seen = builder.or_(some, reached)
            k.add_incoming(builder.add(k, LONG(LANES)), builder.block)
            some.add_incoming(seen, builder.block)
            builder.branch(head)
            builder.position_at_end(end)
            return builder.zext(builder.bitcast(some, ir.IntType(LANES)), LONG)

        long = types.int64
        return types.int64(long, long, long, long), generate

    return give


@intrinsic
def tally(typing_context, table, stride, index, last, out):
    """Write the sum of ``last`` rows of 8 numbers to ``out``; ``stride`` bytes lie from row to row of the table."""

    def generate(context, builder, signature, arguments):
        table, stride, index, last, out = arguments
        kind = ir.VectorType(INT, BRANCHES)
        events = _pointer(builder, index, INT)
        entry = builder.block
        head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
        builder.branch(head)
        builder.position_at_end(head)
        event, total = builder.phi(LONG), builder.phi(kind)
        event.add_incoming(LONG(0), entry)
        total.add_incoming(ir.Constant(kind, [0] * BRANCHES), entry)
        builder.cbranch(builder.icmp_signed("<", event, last), body, end)
        builder.position_at_end(body)
        source = builder.zext(builder.load(builder.gep(events, [event])), LONG)
        row = _pointer(builder, builder.add(table, builder.mul(source, stride)), kind)
        total.add_incoming(builder.add(total, builder.load(row, align=4)), builder.block)
        event.add_incoming(builder.add(event, LONG(1)), builder.block)
        builder.branch(head)
        builder.position_at_end(end)
        builder.store(total, _pointer(builder, out, kind), align=4)
        return context.get_dummy_value()

    long = types.int64
    return types.void(long, long, long, long, long), generate
