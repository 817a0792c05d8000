"""Pools of counts, event by event: what was emitted before is cleared, and what an event reaches is listed."""

from neuroaccel.engine.kernels.conv_events import position

SIGNATURE = (
    "void(V[:, ::1], i4[:, ::1], i8[::1], i8[:, ::1], i8[:, ::1], i8[::1], b1, V, V[:, ::1], i4[:, ::1], i8[::1])"
)


def kernel(value, index, found, rows, columns, shape, either, window, out, out_index, out_found):
    """value >= 0 [R, C * H * W] -> out [R, C * OH * OW] and its events, in the order in which they came up.

    rows [H, 3], columns [W, 3], shape: as ``conv_events`` has them, outputs without channels. either: the output is 1
    where an event arrives, else the sum of events, divided by ``window`` unless that is 0.
    """
    line = shape[7]
    places = out.shape[1] // (value.shape[1] // shape[2])
    for r in range(value.shape[0]):
        for e in range(out_found[r]):
            out[r, out_index[r, e]] = 0
        events = 0
        for e in range(found[r]):
            x = value[r, index[r, e]]
            c, y, z = position(index[r, e], shape)
            for j in range(rows[y, 1]):
                first = c * places + (rows[y, 2] + j) * line + columns[z, 2]
                for target in range(first, first + columns[z, 1]):
                    if out[r, target] == 0:
                        out_index[r, events] = target
                        events += 1
                    out[r, target] = 1 if either else out[r, target] + x
        if window != 0:
            for e in range(events):
                out[r, out_index[r, e]] = out[r, out_index[r, e]] / window
        out_found[r] = events
