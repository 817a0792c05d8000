"""Attention with a softmax over keys, computed in float64 and rounded once."""

import math

SIGNATURE = (
    "void(V[:, ::1], V[:, ::1], V[:, ::1], V[:, ::1], i8[::1], f8, f8[::1], f8[::1], V[:, ::1],"
    " i8[::1], i8[::1], i8[::1])"
)


def kernel(q, k, v, mask, shape, scale, score, total, out, products, gated, missed):
    """q [R, D], k and v [R, K * D], mask [R, K] or [R, 0] -> out [R, D].

    shape: K, D, heads, samples. score [K], total [D / heads]: room. products, gated, missed [samples]: what becomes of
    the products is added to them; rows are tick by tick. Where no key is left the result is 0.
    """
    keys, width, heads, samples = shape[0], shape[1], shape[2], shape[3]
    each = width // heads
    masked = mask.shape[1] > 0
    for r in range(q.shape[0]):
        off, done = 0, 0
        for key in range(keys):
            if masked and mask[r, key] == 0:
                off += 1
                continue
            for d in range(width):
                done += (q[r, d] != 0) & (k[r, key * width + d] != 0)
                done += v[r, key * width + d] != 0
        for head in range(heads):
            base = head * each
            highest = -math.inf
            for key in range(keys):
                if masked and mask[r, key] == 0:
                    continue
                x = 0.0
                for d in range(base, base + each):
                    x += float(q[r, d]) * float(k[r, key * width + d])
                score[key] = x * scale
                highest = max(highest, score[key])
            for d in range(each):
                total[d] = 0.0
            norm = 0.0
            for key in range(keys):
                if masked and mask[r, key] == 0:
                    continue
                p = math.exp(score[key] - highest)
                norm += p
                for d in range(each):
                    total[d] += p * float(v[r, key * width + base + d])
            for d in range(each):
                out[r, base + d] = total[d] / norm if norm > 0.0 else 0.0
        products[r % samples] += done
        gated[r % samples] += 2 * off * width
        missed[r % samples] += 2 * (keys - off) * width - done
