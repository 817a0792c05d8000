# weight [out, in] -> panels [ceil(out / 64) · in · 64]: of every panel of 64 outputs the inputs' rows, one behind the
# other, zeros where the last panel has no output. A row of the matrix's own transpose would share its place in the
# cache with every other one.
import numpy as np

SIGNATURE = "void(V[:, ::1], V[::1], i8, i8)"
WIDTH = 64
TILE = 16


def kernel(weight, panels, start, stop):
    outputs, inputs = weight.shape
    for p in range(start, stop):
        first = p * WIDTH
        width = min(WIDTH, outputs - first)
        panel = panels[p * inputs * WIDTH : (p + 1) * inputs * WIDTH]
        if width < WIDTH:
            panel[:] = np.float32(0)
        whole = inputs // TILE * TILE if width == WIDTH else 0
        for i in range(0, whole, TILE):
            for j in range(0, WIDTH, TILE):
                for o in range(TILE):  # counts that the compiler knows: four times as fast
                    for k in range(TILE):
                        panel[(i + k) * WIDTH + j + o] = weight[first + j + o, i + k]
        for o in range(width):
            for k in range(whole, inputs):
                panel[k * WIDTH + o] = weight[first + o, k]
