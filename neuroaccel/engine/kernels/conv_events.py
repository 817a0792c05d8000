"""What the kernels of convolutions share: where events lie, in which band, and what they add to which sums.

``shape`` is an i8 array: in order, the fields of ``neuroaccel.engine.convolution.FIELDS``. ``rows`` [H, 5] and
``columns`` [W, 3] say for every input row (column): its first tap among the stored ones, how many taps of it stay inside
the border, and the output row (column) that the first of them leads to; ``rows`` also the first band of output rows that
it reaches, and the last. Weights lie as [C, Ky, Kx, O / groups], taps in stored order, in which those of one input follow
one another along rising outputs. A cell is a place of the output with all its channels.
"""

from numba import njit

from neuroaccel.engine.kernels.conv_rows import add_rows


@njit(nogil=True, error_model="numpy", forceinline=True)
def position(address, shape):
    """C-order address -> channel, row, column; quotients by multiplication (Granlund and Montgomery 1994)."""
    channel = (address * shape[0]) >> shape[1]
    place = address - channel * shape[2]
    y = (place * shape[3]) >> shape[4]
    return channel, y, place - y * shape[5]


@njit(nogil=True, error_model="numpy")
def listed(value, index, found, sample, samples, ticks, rows, shape, ends, events, numbers):
    """List the events of one sample: band after band, in a band tick after tick, and then in the order of their list.

    Addresses of those of band b and tick t end at ``ends[b * ticks + t]`` in ``events``, their values in ``numbers``. An
    event that reaches several bands is listed in each.
    """
    ends[:] = 0
    for t in range(ticks):
        r = t * samples + sample
        for e in range(found[r]):
            _, y, _ = position(index[r, e], shape)
            for band in range(rows[y, 3], rows[y, 4] + 1):
                ends[band * ticks + t] += 1
    total = 0
    for key in range(ends.shape[0]):
        here = ends[key]
        ends[key] = total
        total += here
    for t in range(ticks):
        r = t * samples + sample
        for e in range(found[r]):
            address = index[r, e]
            x = value[r, address]
            _, y, _ = position(address, shape)
            for band in range(rows[y, 3], rows[y, 4] + 1):
                key = band * ticks + t
                place = ends[key]
                ends[key] = place + 1
                events[place] = address
                numbers[place] = x


@njit(nogil=True, error_model="numpy", forceinline=True)
def inside(target, count, step, begin, end):
    """Of outputs target, target + step, ..: which of the ``count`` are the first and the last + 1 in [begin, end)."""
    if step == 1:
        return max(begin - target, 0), min(end - target, count)
    first = 0 if target >= begin else (begin - target + step - 1) // step
    return first, min((end - target + step - 1) // step, count)


@njit(nogil=True, error_model="numpy")
def scatter(first, last, events, numbers, weight, rows, columns, shape, begin, end, sums):
    """Add the listed events [first, last) to ``sums`` [(end - begin) * OW * O], output rows begin to end."""
    outputs, line, per_group, in_group = shape[6], shape[7], shape[8], shape[9]
    taps_y, taps_x, step_y, step_x = shape[10], shape[11], shape[12], shape[13]
    together = outputs == per_group and step_x == 1
    apart, stride = step_y * line * outputs, taps_x * per_group
    for e in range(first, last):
        c, y, z = position(events[e], shape)
        target = rows[y, 2]
        top, bottom = inside(target, rows[y, 1], step_y, begin, end)
        tap_x, count_x, ox = columns[z, 0], columns[z, 1], columns[z, 2]
        at = ((target + top * step_y - begin) * line + ox) * outputs
        start = ((c * taps_y + rows[y, 0] + top) * taps_x + tap_x) * per_group
        if together:
            add_rows(sums, at, apart, weight, start, stride, bottom - top, count_x * outputs, numbers[e])
            continue
        at += c // in_group * per_group
        for i in range(count_x):
            beside, from_ = at + i * step_x * outputs, start + i * per_group
            add_rows(sums, beside, apart, weight, from_, stride, bottom - top, per_group, numbers[e])


@njit(nogil=True, error_model="numpy")
def mark(first, last, events, masks, rows, columns, shape, begin, end, marks, bits, seen):
    """Set ``marks`` u1 [(end - begin) * OW] to 1 where one of the listed events [first, last) reaches a cell.

    ``masks`` u8 [C, Ky, Kx, words] has a bit per channel to which a weight leads that is not 0; they are added to
    ``bits`` u8 [.. * OW * words]. Both are empty where all channels of a reached cell are reached. ``seen`` u1 [>= 2, W]:
    scratch, 0 on entry and on return.
    """
    if masks.shape[0] == 0 and last - first > 16:
        _spread(first, last, events, rows, shape, begin, end, marks, seen)
        return
    line, taps_y, taps_x, step_y, step_x, words = shape[7], shape[10], shape[11], shape[12], shape[13], shape[14]
    for e in range(first, last):
        c, y, z = position(events[e], shape)
        target = rows[y, 2]
        top, bottom = inside(target, rows[y, 1], step_y, begin, end)
        for j in range(top, bottom):
            cell = (target + j * step_y - begin) * line + columns[z, 2]
            tap = (c * taps_y + rows[y, 0] + j) * taps_x + columns[z, 0]
            for i in range(columns[z, 1]):
                if masks.shape[0] == 0:
                    marks[cell] = 1
                for b in range(words if masks.shape[0] > 0 else 0):
                    mask = masks[tap * words + b]
                    bits[cell * words + b] |= mask
                    if mask != 0:
                        marks[cell] = 1
                cell += step_x
                tap += 1


@njit(nogil=True, error_model="numpy")
def _spread(first, last, events, rows, shape, begin, end, marks, seen):
    """Mark by widening: the pixels of events, first along columns, then along rows."""
    width, line = shape[5], shape[7]
    stride_y, stride_x, pad_y, pad_x = shape[16], shape[17], shape[18], shape[19]
    dilation_y, dilation_x, taps_y, taps_x = shape[20], shape[21], shape[10], shape[11]
    low = max(begin * stride_y - pad_y, 0)
    high = min((end - 1) * stride_y - pad_y + (taps_y - 1) * dilation_y + 1, rows.shape[0])
    for e in range(first, last):
        _, y, z = position(events[e], shape)
        seen[y - low, z] = 1
    across = seen[seen.shape[0] - 1]
    for target in range(begin, end):
        out = marks[(target - begin) * line : (target - begin + 1) * line]
        for j in range(taps_y):
            y = target * stride_y - pad_y + j * dilation_y
            if y >= low and y < high:
                pixels = seen[y - low]
                for z in range(width):
                    across[z] |= pixels[z]
        for i in range(taps_x):
            offset = i * dilation_x - pad_x
            # the outputs whose tap lies inside: ox * stride + offset in [0, width)
            left = 0 if offset >= 0 else (stride_x - 1 - offset) // stride_x
            right = min(line, (width - 1 - offset) // stride_x + 1) if offset < width else 0
            if right <= left:
                continue
            there, pixels = out[left:right], across[left * stride_x + offset :]
            if stride_x == 1:
                for k in range(right - left):
                    there[k] |= pixels[k]
            else:
                for k in range(right - left):
                    there[k] |= pixels[k * stride_x]
        across[:] = 0
    seen[: high - low] = 0
