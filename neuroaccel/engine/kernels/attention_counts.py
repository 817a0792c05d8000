"""Attention without softmax, on whole numbers: of a query only what is not 0 is looked at."""

SIGNATURE = (
    "void(V[:, ::1], V[:, ::1], V[:, ::1], V[:, ::1], i8[::1], V, V, i8[::1], i8[::1], V[:, ::1],"
    " i8[::1], i8[::1], i8[::1])"
)


def kernel(q, k, v, mask, shape, zero, factor, events, starts, out, products, gated, missed):
    """q [R, D], k and v [R, K * D], mask [R, K] or [R, 0] -> out [R, D], the sums times ``factor``.

    shape: K, D, heads, samples. zero: 0. events [D], starts [heads + 1]: room. products, gated, missed [samples]: what
    becomes of the products is added to them; rows are tick by tick.
    """
    keys, width, heads, samples = shape[0], shape[1], shape[2], shape[3]
    each = width // heads
    for r in range(q.shape[0]):
        found = 0
        for head in range(heads):
            starts[head] = found
            for d in range(head * each, (head + 1) * each):
                out[r, d] = zero
                if q[r, d] != zero:
                    events[found] = d
                    found += 1
        starts[heads] = found
        done, off = 0, 0
        for key in range(keys):
            if mask.shape[1] > 0 and mask[r, key] == zero:
                off += 1
                continue
            first = key * width
            for head in range(heads):
                score = zero
                for e in range(starts[head], starts[head + 1]):
                    x = k[r, first + events[e]]
                    if x != zero:
                        score += q[r, events[e]] * x
                        done += 1
                if score != zero:
                    for d in range(head * each, (head + 1) * each):
                        x = v[r, first + d]
                        if x != zero:
                            out[r, d] += score * x
                            done += 1
        for d in range(width):
            out[r, d] *= factor
        products[r % samples] += done
        gated[r % samples] += 2 * off * width
        missed[r % samples] += 2 * (keys - off) * width - done
