# The loop of add_rows_plain.py with its sums in vector registers: numba keeps an array of them in memory, and loads and
# stores it again for every event.
import numba
from llvmlite import ir
from numba.extending import intrinsic

WIDTH = 64
LANES = 16  # LLVM divides them where registers are narrower


@intrinsic
def add_rows(typing_context, source, index, value, first, last, out, at):
    def generate(context, builder, signature, arguments):
        data = [
            context.make_array(kind)(context, builder, argument).data if isinstance(kind, numba.types.Array) else None
            for kind, argument in zip(signature.args, arguments, strict=True)
        ]
        rows, indices, values, target = data[0], data[1], data[2], data[5]
        first, last, at = arguments[3], arguments[4], arguments[6]
        word = ir.IntType(64)
        vector = ir.VectorType(ir.FloatType(), LANES)
        nothing = ir.Constant(vector, ir.Undefined)
        zeros = ir.Constant(vector, [0.0] * LANES)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        places = [ir.Constant(word, lane) for lane in range(0, WIDTH, LANES)]

        def pointer(array, place):
            return builder.bitcast(builder.gep(array, [place]), vector.as_pointer())

        def load(array, start):
            found = [builder.load(pointer(array, builder.add(start, place))) for place in places]
            for one in found:
                one.align = 4
            return found

        before = builder.block
        loop, after = builder.append_basic_block("events"), builder.append_basic_block("summed")
        builder.cbranch(builder.icmp_signed("<", first, last), loop, after)

        builder.position_at_end(loop)
        event = builder.phi(word)
        sums = [builder.phi(vector) for _ in places]
        row = builder.zext(builder.load(builder.gep(indices, [event])), word)
        one = builder.insert_element(
            nothing, builder.load(builder.gep(values, [event])), ir.Constant(ir.IntType(32), 0)
        )
        factor = builder.shuffle_vector(one, nothing, everywhere)
        terms = load(rows, builder.mul(row, ir.Constant(word, WIDTH)))
        # Multiplied and added, each rounded, as in the plain loop.
        added = [builder.fadd(s, builder.fmul(factor, term)) for s, term in zip(sums, terms, strict=True)]
        following = builder.add(event, ir.Constant(word, 1))
        event.add_incoming(first, before)
        event.add_incoming(following, loop)
        for s, total in zip(sums, added, strict=True):
            s.add_incoming(zeros, before)
            s.add_incoming(total, loop)
        builder.cbranch(builder.icmp_signed("<", following, last), loop, after)

        builder.position_at_end(after)
        totals = [builder.phi(vector) for _ in places]
        for total, end in zip(totals, added, strict=True):
            total.add_incoming(zeros, before)
            total.add_incoming(end, loop)
        old = load(target, at)
        for place, was, total in zip(places, old, totals, strict=True):
            builder.store(builder.fadd(was, total), pointer(target, builder.add(at, place))).align = 4
        return context.get_dummy_value()

    # As the caller has them; the loop's own variables are 64 bits wide.
    place = numba.types.int64
    return numba.types.void(source, index, value, place, place, out, place), generate
