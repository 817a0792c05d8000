# i [rows · LENGTH]: (y · z + y) + bias, each operation rounded on its own. Rows of y and z [LENGTH] lie `step` apart;
# bias has as many values as a row, or none.
SIGNATURE = "void(V[::1], V[::1], V[::1], V[::1], i8, i8, i8, i8)"


def kernel(y, z, bias, i, length, step, start, stop):
    biased = bias.size > 0
    for r in range(start, stop):
        a, b = y[r * step : r * step + length], z[r * step : r * step + length]
        out = i[r * length : (r + 1) * length]
        if biased:
            for k in range(length):
                product = a[k] * b[k]
                out[k] = (product + a[k]) + bias[k]
        else:
            for k in range(length):
                product = a[k] * b[k]
                out[k] = product + a[k]
