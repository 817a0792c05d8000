"""Count what the inputs of a synapse set in motion: products of events, and products that a zero input kept away."""

SIGNATURE = "void(V[:, ::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1])"


def kernel(value, full, living, products, zero_input, read):
    """value [N, size]; full, living [size]; adds to products, zero_input (living) and read (full), each [N]."""
    for n in range(value.shape[0]):
        executed, silent, touched = 0, 0, 0
        for k in range(value.shape[1]):
            if value[n, k] != 0:
                executed += living[k]
                touched += full[k]
            else:
                silent += living[k]
        products[n] += executed
        zero_input[n] += silent
        read[n] += touched
