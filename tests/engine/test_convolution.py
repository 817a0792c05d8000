"""Convolutions on events against dense matrices, slowly built; their order of sums, flags, counts, tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from neuroaccel.engine import convolution
from neuroaccel.engine.convolution import Convolution, axis, cell_order, division, from_cells, to_cells
from neuroaccel.engine.kernels import conv_rows
from neuroaccel.engine.operation import ALL, NONE, Static
from neuroaccel.engine.synapses import Synapses
from neuroaccel.graph import Conv1d
from tests.conftest import examples
from tests.engine.convolutions import layer, listed, random_layer, work
from tests.engine.reference import matrix

NUMBERS = ("float32", "float64", "int64")


def drawn(rng: np.random.Generator, rows: int, size: int) -> Any:
    """Events with values 1 to 3: few, many or everywhere."""
    return (rng.random((rows, size)) < rng.choice([0, 0.03, 0.3, 1])) * rng.integers(1, 4, (rows, size))


@settings(max_examples=examples(60, 1500))
@given(st.integers(0, 2**32 - 1), st.sampled_from(NUMBERS), st.booleans(), st.sampled_from([64, 1 << 18]))
def test_sums_flags_and_counts_of_any_geometry(seed: int, number: str, cells: bool, band: int) -> None:
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "BAND", band)
        conv, node, source = random_layer(rng, number=number, cells=cells)
    m = matrix(node, source, conv.static.shape)
    w = work(conv, listed(np.zeros((3, conv.input_size)), number))
    for _ in range(2):  # a block leaves nothing behind for the next one
        x = drawn(rng, 3, conv.input_size)
        w.ports = (listed(x, number),)
        before = {key: value.copy() for key, value in w.counts.items()}
        conv.run(w)
        want = x @ m.weight.astype(np.int64).T + (m.bias if node.bias is not None else 0)
        assert np.array_equal(conv.outward("", w.out.value), want)
        touched = (x != 0) @ (m.weight != 0).T
        reach = w.out.reach.copy()
        assert np.array_equal(conv.outward("", w.out.flags()), touched)
        assert touched[reach == ALL].all()
        assert not touched[reach == NONE].any()
        assert np.array_equal(
            w.counts["products"] - before["products"], ((x != 0) @ (m.weight != 0).T.astype(int)).sum(1)
        )
        assert np.array_equal(
            w.counts["weights_read"] - before["weights_read"], ((x != 0) @ m.inside.T.astype(int)).sum(1)
        )


@settings(max_examples=examples(15, 300))
@given(st.integers(0, 2**32 - 1), st.sampled_from(["float32", "float64"]), st.booleans())
def test_raw_floats_are_added_row_by_row_and_in_a_row_in_the_order_of_the_list(
    seed: int, number: str, cells: bool
) -> None:
    rng = np.random.default_rng(seed)
    conv, node, source = random_layer(rng, number=number, cells=cells)
    weight = rng.normal(size=node.weight.shape)
    bias = rng.normal(size=len(weight))
    options = {"stride": node.stride, "padding": node.padding, "dilation": node.dilation, "groups": node.groups}
    conv, node, source = layer(weight, bias, source[1:], number=number, cells=cells, **options)
    m = matrix(node, source, conv.static.shape)
    port = listed(drawn(rng, 1, conv.input_size) * rng.normal(size=conv.input_size), number)
    order = rng.permutation(port.index[0, : port.found[0]])
    port.index[0, : len(order)] = order
    w = work(conv, port)
    conv.run(w)
    total = np.zeros(conv.static.size, number)
    area, width = source[1] * source[2], source[2]
    for k in sorted(order, key=lambda k: k % area // width):  # sorted() keeps equals in order
        total[m.inside[:, k]] += (m.weight[:, k].astype(number) * port.value[0, k])[m.inside[:, k]]
    assert np.array_equal(conv.outward("", w.out.value)[0], total + m.bias.astype(number))


def test_one_dimension() -> None:
    rng = np.random.default_rng(3)
    node = Conv1d(rng.integers(-4, 5, (6, 2, 3)).astype(np.float32), None, stride=2, padding=1, dilation=2, groups=2)
    source, target = Static.plain((4, 11)), Static.plain((6, 5))
    conv = Convolution("c", node, source, target, node.weight, None)
    x = drawn(rng, 4, 44)
    w = work(conv, listed(x, "float32"))
    conv.run(w)
    m = matrix(node, source.shape, target.shape)
    assert np.array_equal(w.out.value, x @ m.weight.T)


def test_values_of_binary_edges_are_not_read() -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-4, 5, (8, 2, 3, 3))
    x = (rng.random((2, 98)) < 0.2) * 1
    sums = []
    for ones in (False, True):
        conv, _, _ = layer(weight, None, (7, 7), ones=ones, padding=(1, 1))
        port = listed(x, "float32")
        if ones:
            port.value[...] = np.nan
        w = work(conv, port)
        conv.run(w)
        sums.append(w.out.value)
    assert np.array_equal(*sums)


def test_counting_by_tables_is_counting_by_fan_out() -> None:
    rng = np.random.default_rng(1)
    conv, _, _ = layer(rng.integers(1, 5, (4, 2, 3, 2)), None, (9, 8), padding=(2, 0), stride=(2, 1))
    port = listed(drawn(rng, 6, conv.input_size) > 0, "float32")
    quick, slow = work(conv, port, ticks=3), work(conv, port, ticks=3)
    assert conv.counting is not None
    conv.count(quick)
    Synapses.count(conv, slow)
    assert {k: v.tolist() for k, v in quick.counts.items()} == {k: v.tolist() for k, v in slow.counts.items()}


def test_without_counting_nothing_is_flagged() -> None:
    rng = np.random.default_rng(2)
    conv, _, _ = random_layer(rng)
    w = work(conv, listed(np.ones((2, conv.input_size)), "float32"), track=False)
    conv.run(w)
    assert not w.out.touched.any()
    assert not any(column.any() for column in w.counts.values())


@settings(max_examples=examples(60, 2000))
@given(st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_a_quotient_is_a_product(by: int, x: int) -> None:
    factor, shift = division(by)
    for value in (x, x // by * by, max(x // by * by - 1, 0), 2**31 - 1):
        assert value * factor < 2**63
        assert value * factor >> shift == value // by


@settings(max_examples=examples(60, 2000))
@given(*(st.integers(1, 9) for _ in range(4)), st.integers(0, 6))
def test_taps_of_an_input_lie_side_by_side(size: int, taps: int, stride: int, dilation: int, padding: int) -> None:
    out = (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    if out < 1:
        return
    a = axis(size, out, taps, stride, padding, dilation)
    assert sorted(a.order) == list(range(taps))
    for i in range(size):
        first, count, target = a.table[i]
        found = [(int(a.order[first + j]), int(target) + j * a.step) for j in range(count)]
        pairs = [(k, o) for k in range(taps) for o in range(out) if o * stride + k * dilation - padding == i]
        assert sorted(found) == sorted(pairs)


@pytest.mark.parametrize("number", ["float32", "float64", "int64"])
def test_rows_in_vectors_are_rows_one_by_one(number: str) -> None:
    @njit
    def added(sums: Any, weight: Any, rows: int, count: int, x: Any) -> None:
        conv_rows.add_rows(sums, 3, 250, weight, 5, 240, rows, count, x)

    @njit
    def filled(target: Any, count: int, x: Any) -> None:
        conv_rows.fill_row(target, 400, count, x)
        conv_rows.prefetch_row(target, 0, count)

    rng = np.random.default_rng(0)
    for count in (*range(40), 63, 64, 65, 100, 192, 200):
        weight, sums = (rng.normal(size=800) * 1000).astype(number), (rng.normal(size=800) * 1000).astype(number)
        x, plain = weight.dtype.type(rng.normal() * 10), sums.copy()
        added(sums, weight, 3, count, x)
        conv_rows.add_rows_plain(plain, 3, 250, weight, 5, 240, 3, count, x)
        assert np.array_equal(sums, plain)
        filled(sums, count, x)
        plain[400 : 400 + count] = x
        assert np.array_equal(sums, plain)


def test_order_of_cells() -> None:
    shape = (3, 2, 4)
    values = np.arange(48).reshape(2, 24)
    assert np.array_equal(to_cells(values, shape), values[:, cell_order(shape)])
    assert np.array_equal(from_cells(to_cells(values, shape), shape), values)


def test_explains() -> None:
    conv, _, _ = layer(np.ones((4, 2, 3, 3)), None, (8, 8), cells=True)
    assert "rows of 12 weights" in conv.explain()
    assert "byte per cell" in conv.explain()
