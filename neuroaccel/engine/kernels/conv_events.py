"""What the kernels of convolutions share: events sorted by rows of the input, and what they add to which sums.

``shape`` is an i8 array: in order, the fields of ``neuroaccel.engine.convolution.FIELDS``. ``rows`` [H, 3] and
``columns`` [W, 3] say for every input row (column): its first tap among the stored ones, how many taps of it stay
inside the border, and the output row (column) that the first of them leads to. Weights lie as [C, Ky, Kx, O / groups],
taps in stored order, in which those of one input follow one another along rising outputs. A cell is a place of the
output with all its channels. Sums take events row by row of the input, and in a row in the order of their list.
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
def listed(value, index, found, sample, samples, ticks, shape, starts, events, numbers):
    """List the events of one sample: row after row, in a row tick after tick, and then in the order of their list.

    Those of row y and tick t are [starts[y * ticks + t], starts[y * ticks + t + 1]): channel << 32 | column, and in
    ``numbers`` their values. It is empty where all of them are 1.
    """
    starts[:] = 0
    count, gather = starts[2:], numbers.shape[0] > 0
    for t in range(ticks):
        r = t * samples + sample
        for e in range(found[r]):
            _, y, _ = position(index[r, e], shape)
            count[y * ticks + t] += 1
    for key in range(count.shape[0]):
        count[key] += starts[key + 1]
    cursor = starts[1:]
    for t in range(ticks):
        r = t * samples + sample
        for e in range(found[r]):
            address = index[r, e]
            c, y, z = position(address, shape)
            place = cursor[y * ticks + t]
            cursor[y * ticks + t] = place + 1
            events[place] = c << 32 | z
            if gather:
                numbers[place] = value[r, address]


@njit(nogil=True, error_model="numpy", forceinline=True)
def seen_rows(begin, end, shape):
    """The input rows, from and to, whose taps can lead to output rows begin to end."""
    top = begin * shape[15] - shape[17]
    return max(top, 0), min(top + (end - 1 - begin) * shape[15] + (shape[10] - 1) * shape[19] + 1, shape[21])


@njit(nogil=True, error_model="numpy", forceinline=True)
def inside(target, count, step, begin, end):
    """Of outputs target, target + step, ..: which of the ``count`` are the first and the last + 1 in [begin, end)."""
    if step == 1:
        return max(begin - target, 0), min(end - target, count)
    first = 0 if target >= begin else (begin - target + step - 1) // step
    return first, min((end - target + step - 1) // step, count)


@njit(nogil=True, error_model="numpy")
def scatter(t, ticks, starts, events, numbers, weight, rows, columns, shape, begin, end, sums):
    """Add the listed events of a tick to ``sums`` [(end - begin) * OW * O], output rows begin to end."""
    outputs, line, per_group, in_group = shape[6], shape[7], shape[8], shape[9]
    taps_y, taps_x, step_y, step_x = shape[10], shape[11], shape[12], shape[13]
    together, gather = outputs == per_group and step_x == 1, numbers.shape[0] > 0
    apart, stride, x = step_y * line * outputs, taps_x * per_group, weight.dtype.type(1)
    low, high = seen_rows(begin, end, shape)
    for y in range(low, high):
        first, last = starts[y * ticks + t], starts[y * ticks + t + 1]
        target = rows[y, 2]
        top, bottom = inside(target, rows[y, 1], step_y, begin, end)
        if first == last or top >= bottom:
            continue
        line_at = (target + top * step_y - begin) * line
        for e in range(first, last):
            c, z = events[e] >> 32, events[e] & 0xFFFFFFFF
            count_x = columns[z, 1]
            at = (line_at + columns[z, 2]) * outputs
            start = ((c * taps_y + rows[y, 0] + top) * taps_x + columns[z, 0]) * per_group
            if gather:
                x = numbers[e]
            if together:
                add_rows(sums, at, apart, weight, start, stride, bottom - top, count_x * outputs, x)
                continue
            at += c // in_group * per_group
            for i in range(count_x):
                beside, from_ = at + i * step_x * outputs, start + i * per_group
                add_rows(sums, beside, apart, weight, from_, stride, bottom - top, per_group, x)


@njit(nogil=True, error_model="numpy")
def mark(t, ticks, starts, events, masks, rows, columns, shape, begin, end, marks, bits, seen):
    """Set ``marks`` u1 [(end - begin) * OW] to 1 where a listed event of a tick reaches a cell; False if none can.

    ``masks`` u8 [C, Ky, Kx, words] has a bit per channel to which a weight leads that is not 0; they are added to
    ``bits`` u8 [.. * OW * words]. Both are empty where all channels of a reached cell are reached. ``seen`` u1 [2, W]:
    scratch.
    """
    line, taps_y, taps_x, step_y, step_x, words = shape[7], shape[10], shape[11], shape[12], shape[13], shape[14]
    low, high = seen_rows(begin, end, shape)
    reached = False
    for y in range(low, high):
        first, last = starts[y * ticks + t], starts[y * ticks + t + 1]
        target = rows[y, 2]
        top, bottom = inside(target, rows[y, 1], step_y, begin, end)
        if first == last or top >= bottom:
            continue
        reached = True
        at = (target + top * step_y - begin) * line
        if masks.shape[0] == 0:
            _widened(first, last, events, columns, shape, seen)
            _take(seen[1], bottom - top, step_y, line, marks[at:])
            continue
        for e in range(first, last):
            c, z = events[e] >> 32, events[e] & 0xFFFFFFFF
            for j in range(bottom - top):
                cell = at + j * step_y * line + columns[z, 2]
                tap = (c * taps_y + rows[y, 0] + top + j) * taps_x + columns[z, 0]
                for _ in range(columns[z, 1]):
                    for b in range(words):
                        mask = masks[tap * words + b]
                        bits[cell * words + b] |= mask
                        if mask != 0:
                            marks[cell] = 1
                    cell += step_x
                    tap += 1
    return reached


@njit(nogil=True, error_model="numpy")
def _take(reach, rows, step_y, line, marks):
    for j in range(rows):
        out = marks[j * step_y * line : j * step_y * line + line]
        for k in range(line):
            out[k] = reach[k] if reach[k] != 0 else out[k]


@njit(nogil=True, error_model="numpy")
def mark_pixels(t, ticks, pixels, rows, shape, begin, end, marks, seen):
    """As ``mark`` without masks, for the lists of ``conv_lists.by_pixels``."""
    width, line, step_y = shape[5], shape[7], shape[12]
    low, high = seen_rows(begin, end, shape)
    reached = False
    for y in range(low, high):
        key, target = (y * ticks + t) * width, rows[y, 2]
        top, bottom = inside(target, rows[y, 1], step_y, begin, end)
        if pixels[key] == pixels[key + width] or top >= bottom:
            continue
        reached = True
        here, there, after = seen[0], pixels[key : key + width], pixels[key + 1 : key + 1 + width]
        for z in range(width):
            here[z] = after[z] > there[z]
        across(shape, seen)
        _take(seen[1], bottom - top, step_y, line, marks[(target + top * step_y - begin) * line :])
    return reached


@njit(nogil=True, error_model="numpy")
def _widened(first, last, events, columns, shape, seen):
    """seen[1, : OW] = the output columns that a row's events reach."""
    pixels, out = seen[0], seen[1]
    if last - first <= 8:
        out[: shape[7]] = 0
        for e in range(first, last):
            z = events[e] & 0xFFFFFFFF
            for i in range(columns[z, 1]):
                out[columns[z, 2] + i * shape[13]] = 1
        return
    pixels[: shape[5]] = 0
    for e in range(first, last):
        pixels[events[e] & 0xFFFFFFFF] = 1
    across(shape, seen)


@njit(nogil=True, error_model="numpy")
def across(shape, seen):
    """seen[1, : OW] = the output columns that the pixels of seen[0, : W] reach."""
    width, line, taps_x = shape[5], shape[7], shape[11]
    stride, pad, dilation = shape[16], shape[18], shape[20]
    pixels, out = seen[0], seen[1]
    out[:line] = 0
    if stride > 2:
        for k in range(line):
            for i in range(taps_x):
                z = k * stride + i * dilation - pad
                if 0 <= z < width:
                    out[k] |= pixels[z]
        return
    for i in range(taps_x):
        offset = i * dilation - pad
        # the outputs whose tap lies inside: ox * stride + offset in [0, width)
        left = 0 if offset >= 0 else (stride - 1 - offset) // stride
        right = min(line, (width - 1 - offset) // stride + 1) if offset < width else 0
        if right > left:
            there, here = out[left:right], pixels[left * stride + offset :]
            if stride == 1:
                for k in range(right - left):
                    there[k] |= here[k]
            else:
                for k in range(right - left):
                    there[k] |= here[2 * k]
