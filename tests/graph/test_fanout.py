"""Fan-out against a loop over every product, on random convolutions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from neuroaccel.graph import Conv1d, Conv2d, Dendrite, Flatten, Linear
from neuroaccel.graph.fanout import fan_out
from tests.conftest import examples
from tests.graphs.parts import weights


def brute(
    weight: np.ndarray,
    shape: tuple[int, int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Every (output, tap) pair on its own."""
    out, per_group, ky, kx = weight.shape
    full, living = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    rows = (shape[1] + 2 * padding[0] - dilation[0] * (ky - 1) - 1) // stride[0] + 1
    columns = (shape[2] + 2 * padding[1] - dilation[1] * (kx - 1) - 1) // stride[1] + 1
    for o, r, c, i, y, x in itertools.product(*map(range, (out, rows, columns, per_group, ky, kx))):
        row, column = r * stride[0] + y * dilation[0] - padding[0], c * stride[1] + x * dilation[1] - padding[1]
        if 0 <= row < shape[1] and 0 <= column < shape[2]:
            channel = o // (out // groups) * per_group + i
            full[channel, row, column] += 1
            living[channel, row, column] += int(weight[o, i, y, x] != 0)
    return full, living


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Conv2d, tuple[int, int, int]]:
    groups = draw(st.sampled_from([1, 2, 3]))
    per_group, out_per_group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    stride, dilation = (draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) for _ in range(2))
    padding = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    spans = zip(size, kernel, padding, dilation, strict=True)
    assume(all(n + 2 * p - d * (k - 1) >= 1 for n, k, p, d in spans))
    weight = weights(
        draw(st.integers(0, 10**6)),
        groups * out_per_group,
        per_group,
        *kernel,
        living=draw(st.sampled_from([0.0, 0.3, 1.0])),
    )
    node = Conv2d(weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return node, (groups * per_group, *size)


@settings(max_examples=examples(150, 2000))
@given(convolutions())
def test_conv2d_and_dendrite(case: tuple[Conv2d, tuple[int, int, int]]) -> None:
    node, shape = case
    expected = brute(node.weight, shape, node.stride, node.padding, node.dilation, node.groups)
    for found, wanted in zip(fan_out(node, shape), expected, strict=True):
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, wanted)
    dendrite = Dendrite(
        node.weight,
        np.ones_like(node.weight),
        stride=node.stride,
        padding=node.padding,
        dilation=node.dilation,
        groups=node.groups,
    )
    np.testing.assert_array_equal(fan_out(dendrite, shape)[1], expected[1])


@settings(max_examples=examples(80, 800))
@given(
    seed=st.integers(0, 10**6),
    length=st.integers(1, 9),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 3),
    groups=st.sampled_from([1, 2]),
)
def test_conv1d(seed: int, length: int, kernel: int, stride: int, padding: int, dilation: int, groups: int) -> None:
    assume(length + 2 * padding - dilation * (kernel - 1) >= 1)
    weight = weights(seed, 2 * groups, 2, kernel, living=0.5)
    node = Conv1d(weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
    shape = (2 * groups, 1, length)
    expected = brute(weight[:, :, None, :], shape, (1, stride), (0, padding), (1, dilation), groups)
    for found, wanted in zip(fan_out(node, (2 * groups, length)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted[:, 0])


def test_linear_and_dense_dendrite() -> None:
    weight = np.array([[1, 0, 2], [0, 0, 3]], np.float32)
    for node in (Linear(weight), Dendrite(weight, np.ones_like(weight))):
        full, living = fan_out(node, (2, 3))
        assert full.tolist() == [[2, 2, 2], [2, 2, 2]]
        assert living.tolist() == [[1, 0, 2], [1, 0, 2]]


def test_a_node_without_weights_has_none() -> None:
    with pytest.raises(TypeError, match="Flatten has no fan-out"):
        fan_out(Flatten(), (3,))
