# The loop of dendrite_row_plain.py in vector registers: of a row of a few channels numba makes slices and a loop that
# take longer than the arithmetic.
import numba
from llvmlite import ir
from numba.extending import intrinsic

# A layer's own takes its place.
LENGTH = 1


def _pieces(length):
    """(start, lanes) of vectors that cover a row; LLVM divides them where registers are narrower."""
    found, start = [], 0
    for lanes in (16, 8, 4, 2, 1):
        while length - start >= lanes:
            found.append((start, lanes))
            start += lanes
    return found


def _places(context, builder, kind, argument, at):
    """Where a row's vectors are in an array."""
    data, found = context.make_array(kind)(context, builder, argument).data, []
    for start, lanes in _pieces(LENGTH):
        place = builder.gep(data, [builder.add(at, ir.Constant(ir.IntType(64), start))])
        found.append(builder.bitcast(place, ir.VectorType(ir.FloatType(), lanes).as_pointer()))
    return found


@intrinsic
def current_of(typing_context, y, z, bias, i, at, to):
    def generate(context, builder, signature, arguments):
        kinds, (at, to) = signature.args, arguments[4:]
        begins = (at, at, ir.Constant(ir.IntType(64), 0), to)
        rows = [_places(context, builder, kinds[k], arguments[k], begin) for k, begin in enumerate(begins)]
        for *given, target in zip(*rows, strict=True):
            one, two, more = (builder.load(place) for place in given)
            for value in (one, two, more):
                value.align = 4
            # Each operation is rounded.
            total = builder.fadd(builder.fadd(builder.fmul(one, two), one), more)
            builder.store(total, target).align = 4
        return context.get_dummy_value()

    u8 = numba.types.uint64
    return numba.types.void(y, z, bias, i, u8, u8), generate
