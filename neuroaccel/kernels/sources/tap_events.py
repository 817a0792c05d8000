# The loop of tap_events_plain.py with its sums in vector registers, as many at a time as there are.
import numba
from llvmlite import ir
from numba.extending import intrinsic

# A layer's own take their place.
ROWS = 1
LENGTH = 1

SUMS = 24  # vectors in registers, of 32


def _pieces(length):
    """(start, lanes) of vectors that cover a row; LLVM divides them where registers are narrower."""
    found, start = [], 0
    for lanes in (16, 8, 4, 2, 1):
        while length - start >= lanes:
            found.append((start, lanes))
            start += lanes
    return found


@intrinsic
def tap_events(typing_context, target, to, across, source, stride, value, place, first, last):
    def generate(context, builder, signature, arguments):
        kinds = signature.args
        data = {k: context.make_array(kinds[k])(context, builder, arguments[k]).data for k in (0, 3, 5, 6)}
        word, number = ir.IntType(64), ir.FloatType()
        to, across, stride, first, last = (arguments[k] for k in (1, 2, 4, 7, 8))

        def load(array, at, start, lanes):
            at = builder.add(at, ir.Constant(word, start))
            pointer = builder.bitcast(builder.gep(array, [at]), ir.VectorType(number, lanes).as_pointer())
            found = builder.load(pointer)
            found.align = 4
            return found, pointer

        def everywhere(one, lanes):
            vector = ir.VectorType(number, lanes)
            nothing = ir.Constant(vector, ir.Undefined)
            first = builder.insert_element(nothing, one, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(
                first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            )

        parts = [(r, start, lanes) for r in range(ROWS) for start, lanes in _pieces(LENGTH)]
        for group in (parts[k : k + SUMS] for k in range(0, len(parts), SUMS)):
            begins = {r: builder.add(to, builder.mul(across, ir.Constant(word, r))) for r, _, _ in group}
            begun = [load(data[0], begins[r], start, lanes) for r, start, lanes in group]
            before = builder.block
            loop, after = builder.append_basic_block("events"), builder.append_basic_block("summed")
            builder.cbranch(builder.icmp_unsigned("<", first, last), loop, after)

            builder.position_at_end(loop)
            event = builder.phi(word)
            sums = [builder.phi(one.type) for one, _ in begun]
            factor = builder.load(builder.gep(data[5], [event]))
            factors = {lanes: everywhere(factor, lanes) for _, _, lanes in group}
            row = builder.zext(builder.load(builder.gep(data[6], [event])), word)
            rows = {r: builder.add(row, builder.mul(stride, ir.Constant(word, r))) for r, _, _ in group}
            # Multiplied and added, each rounded, as in the plain loop.
            added = [
                builder.fadd(s, builder.fmul(factors[lanes], load(data[3], rows[r], start, lanes)[0]))
                for s, (r, start, lanes) in zip(sums, group, strict=True)
            ]
            following = builder.add(event, ir.Constant(word, 1))
            event.add_incoming(first, before)
            event.add_incoming(following, loop)
            for s, (one, _), total in zip(sums, begun, added, strict=True):
                s.add_incoming(one, before)
                s.add_incoming(total, loop)
            builder.cbranch(builder.icmp_unsigned("<", following, last), loop, after)

            builder.position_at_end(after)
            ends = []
            for (one, pointer), total in zip(begun, added, strict=True):
                end = builder.phi(one.type)
                end.add_incoming(one, before)
                end.add_incoming(total, loop)
                ends.append((end, pointer))
            for end, pointer in ends:
                builder.store(end, pointer).align = 4
        return context.get_dummy_value()

    u8 = numba.types.uint64
    return numba.types.void(target, u8, u8, source, u8, value, place, u8, u8), generate
