"""Sum over windows, on events: every event adds itself to the windows that hold it, in the order of addresses."""

SIGNATURE = "void(V[:, ::1], i4[:, ::1], i8[::1], i8[::1], V[:, ::1])"


def kernel(value, index, found, geometry, out):
    """value [N, C * H * W] -> out [N, C * OH * OW]; geometry: H, W, OH, OW, kernel y, x, stride y, x, padding y, x."""
    height, width, rows, columns, taps_y, taps_x, stride_y, stride_x, pad_y, pad_x = geometry
    area = height * width
    for n in range(value.shape[0]):
        out[n, :] = 0
        for e in range(found[n]):
            address = index[n, e]
            x = value[n, address]
            channel, place = address // area, address % area
            y0, x0 = place // width + pad_y, place % width + pad_x
            for ky in range(taps_y):
                y = y0 - ky
                if y < 0 or y % stride_y != 0 or y // stride_y >= rows:
                    continue
                for kx in range(taps_x):
                    z = x0 - kx
                    if z >= 0 and z % stride_x == 0 and z // stride_x < columns:
                        out[n, (channel * rows + y // stride_y) * columns + z // stride_x] += x
