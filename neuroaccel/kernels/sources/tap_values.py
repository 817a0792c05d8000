# The loop of tap_values_plain.py with its sums in vector registers, as many at a time as there are.
import numba
from llvmlite import ir
from numba.extending import intrinsic

# A layer's own take their place.
ROWS = 1
LENGTH = 1
VALUES = 1

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
def tap_values(typing_context, target, to, across, source, value, first):
    def generate(context, builder, signature, arguments):
        kinds = signature.args
        data = {k: context.make_array(kinds[k])(context, builder, arguments[k]).data for k in (0, 3, 4)}
        word, number = ir.IntType(64), ir.FloatType()
        to, across, first = arguments[1], arguments[2], arguments[5]

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
            sums: list[ir.Instruction] = []
            for c in range(VALUES):
                factor = builder.load(builder.gep(data[4], [builder.add(first, ir.Constant(word, c))]))
                factors = {lanes: everywhere(factor, lanes) for _, _, lanes in group}
                terms = [
                    builder.fmul(
                        factors[lanes], load(data[3], ir.Constant(word, (c * ROWS + r) * LENGTH), start, lanes)[0]
                    )
                    for r, start, lanes in group
                ]
                # Multiplied and added, each rounded, as in the plain loop.
                sums = [builder.fadd(s, t) for s, t in zip(sums, terms, strict=True)] if c else terms
            for total, (r, start, lanes) in zip(sums, group, strict=True):
                one, pointer = load(data[0], begins[r], start, lanes)
                builder.store(builder.fadd(one, total), pointer).align = 4
        return context.get_dummy_value()

    u8 = numba.types.uint64
    return numba.types.void(target, u8, u8, source, value, u8), generate
