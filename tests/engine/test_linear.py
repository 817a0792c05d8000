"""A Linear on events: every kernel, storage and order of events gives the sums of the plain loop, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.linear import Linear
from neuroaccel.engine.operation import ALL, NONE, SOME, Buffer, Static, Work
from neuroaccel.engine.schedule import Schedule
from neuroaccel.graph import nodes as n

Floats = NDArray[np.float32]


def operation(weight: Floats, bias: Floats | None = None, lead: int = 1, **how: object) -> Linear:
    out, inputs = weight.shape
    port, target = Static.plain((lead, inputs)), Static.plain((lead, out))
    return Linear("layer", n.Linear(weight, bias), port, target, weight, bias, **how)  # type: ignore[arg-type]


def port_of(value: NDArray[np.generic], shuffle: np.random.Generator | None = None) -> Buffer:
    """A buffer with these values, its event lists rising or shuffled."""
    port = Buffer.empty(*value.shape, value.dtype)
    port.value[...] = value
    port.index[...] = -(2**30)  # what is behind a list must not be read
    for row, values in enumerate(value):
        events = np.flatnonzero(values)
        if shuffle is not None:
            shuffle.shuffle(events)
        port.index[row, : len(events)] = events
        port.found[row] = len(events)
    return port


def plain(value: Floats, weight: Floats, bias: Floats | None) -> Floats:
    """The plain loop on rising lists."""
    port = port_of(value)
    current = np.full((len(value), value.shape[1] // weight.shape[1] * weight.shape[0]), 7, value.dtype)
    kernel = cache.load("linear_plain", value.dtype.name)
    rows = np.ascontiguousarray(weight.T)
    kernel(port.value, port.index, port.found, rows, np.zeros(0, value.dtype) if bias is None else bias, current)
    return current


def slow(value: Floats, weight: Floats, bias: Floats | None) -> Floats:
    """The contract, row by row in numpy."""
    out, inputs = weight.shape
    current = np.zeros((len(value), value.shape[1] // inputs, out), value.dtype)
    for row, values in enumerate(value):
        for address in np.flatnonzero(values):
            current[row, address // inputs] += weight[:, address % inputs] * values[address]
    if bias is not None:
        current += bias
    return current.reshape(len(value), -1)


def schedules(op: Linear) -> list[Schedule]:
    tile = max(1, op.inputs // 3)
    found = [
        Schedule("strict", op.inputs),
        Schedule("strict", op.inputs, ahead=True),
        Schedule("blocked", op.inputs, 128),
        Schedule("blocked", tile, 3),
        Schedule("blocked", tile, 128, streamed=True),
        Schedule("blocked", 1, 2),
    ]
    found += [Schedule("csr", op.inputs)] * (op.sparse is not None)
    return found + [Schedule("lines", op.inputs)] * (op.lines is not None)


def assert_all_equal(op: Linear, port: Buffer, expected: Floats, *more: Schedule) -> None:
    for schedule in [None, *schedules(op), *more]:
        current = np.full(expected.shape, 7, np.float32)
        op.currents(port.value, port.index, port.found, current, schedule)
        np.testing.assert_array_equal(current.view(np.int32), expected.view(np.int32), f"{schedule}")


@pytest.mark.parametrize("trial", range(36))
def test_every_kernel_equals_the_plain_loop(trial: int) -> None:
    rng = np.random.default_rng(trial)
    out, inputs, lead, rows = (int(rng.integers(1, top)) for top in (300, 500, 4, 9))
    kind: n.EdgeKind = ("binary", "analog", "count")[trial % 3]  # type: ignore[assignment]
    weight = rng.standard_normal((out, inputs)).astype(np.float32)
    if trial // 3 % 3 == 1:
        weight = (weight.view(np.uint32) & 0xFFFF0000).view(np.float32)
    if trial % 4 == 3:
        weight *= rng.random(weight.shape) < 0.1
    bias = rng.standard_normal(out).astype(np.float32) if trial % 2 else None
    value = (rng.random((rows, lead * inputs)) < (0.02, 0.2, 1.0)[trial // 9 % 3]).astype(np.float32)
    if kind == "analog":
        value *= rng.standard_normal(value.shape).astype(np.float32)
    if kind == "count":
        value *= rng.integers(1, 9, value.shape).astype(np.float32)
    expected = plain(value, weight, bias)
    np.testing.assert_array_equal(expected, slow(value, weight, bias))
    op = operation(weight, bias, lead, kind=kind)
    assert op.storage == ("bf16" if trial // 3 % 3 == 1 else "f4")
    assert_all_equal(op, port_of(value), expected)
    assert_all_equal(op, port_of(value, rng), expected)


@pytest.mark.parametrize("out", [1, 15, 16, 17, 30, 33, 63, 64, 65, 100, 127, 128, 129, 255, 257])
def test_outputs_that_do_not_fill_a_panel(out: int) -> None:
    rng = np.random.default_rng(out)
    weight = rng.standard_normal((out, 37)).astype(np.float32)
    value = (rng.random((5, 2 * 37)) < 0.3).astype(np.float32)
    # A frame around the currents shows whether a kernel writes past its own.
    frame = np.full((7, 2 * out), 7, np.float32)
    op = operation(weight, None, 2, kind="binary")
    for schedule in schedules(op):
        frame[...] = 7
        port = port_of(value)
        op.currents(port.value, port.index, port.found, frame[1:6], schedule)
        np.testing.assert_array_equal(frame[1:6], plain(value, weight, None))
        assert (frame[[0, 6]] == 7).all()


@pytest.mark.parametrize("rate", [0.0, 0.05, 1.0])
def test_int8_weights_at_their_extremes(rate: float) -> None:
    rng = np.random.default_rng(1)
    weight = rng.choice(np.array([-127, 127], np.float32), (70, 1000)) / np.float32(4)
    weight[0], weight[1], weight[2] = 127 / 4, -127 / 4, 0
    bias = np.arange(70, dtype=np.float32) / 4
    value = (rng.random((6, 2000)) < rate).astype(np.float32)
    op = operation(weight, bias, 2, kind="binary", exact=True)
    assert (op.storage, op.scale, op.most) == ("i1", 0.25, 258)
    expected = plain(value, weight, bias)
    assert rate < 1 or expected[0, 0] == 127_000 / 4
    assert_all_equal(op, port_of(value), expected, Schedule("dense", 1000))
    assert_all_equal(op, port_of(value, rng), expected)


def test_int8_needs_sums_that_are_exact_and_inputs_that_are_0_or_1() -> None:
    weight = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)
    assert operation(weight, kind="binary", exact=True).storage == "i1"
    assert operation(weight, kind="binary").storage == "bf16"
    assert operation(weight, kind="count", exact=True).storage == "bf16"


def test_dense_products_on_grids_equal_the_sums() -> None:
    rng = np.random.default_rng(2)
    weight = rng.integers(-4000, 4000, (33, 40)).astype(np.float32) / 512
    bias = rng.integers(-9, 9, 33).astype(np.float32) / 512
    value = rng.integers(-3, 4, (8, 80)).astype(np.float32)
    value[0] = 0
    for b in (bias, None):
        op = operation(weight, b, 2, kind="analog", exact=True)
        assert_all_equal(op, port_of(value), plain(value, weight, b), Schedule("dense", 40))


def test_csr_with_empty_rows() -> None:
    weight = np.zeros((50, 60), np.float32)
    weight[3, 5], weight[49, 5], weight[0, 59] = 0.1, -0.2, 3
    value = np.ones((4, 60), np.float32)
    op = operation(weight, kind="binary")
    assert op.sparse is not None
    assert_all_equal(op, port_of(value), plain(value, weight, None))
    silent = operation(np.zeros((5, 6), np.float32), kind="binary")
    assert_all_equal(silent, port_of(value[:, :6].copy()), np.zeros((4, 5), np.float32))


@pytest.mark.parametrize("rows", [1, 16, 33, 64, 100, 129, 256, 300])
@pytest.mark.parametrize("out", [1, 16, 64, 70, 128])
def test_targets_one_by_one_in_many_rows(rows: int, out: int) -> None:
    """Rows that fill no group of 16, no run of 256; targets that fill no tile."""
    rng = np.random.default_rng(rows)
    weight = (rng.standard_normal((out, 90)) * (rng.random((out, 90)) < 0.15)).astype(np.float32)
    bias = rng.standard_normal(out).astype(np.float32) if rows % 2 else None
    value = (rng.random((rows, 90)) < 0.3).astype(np.float32)
    op = operation(weight, bias, kind="binary")
    expected, port = slow(value, weight, bias), port_of(value, rng)
    frame = np.full((rows + 2, out), 7, np.float32)
    op.currents(port.value, port.index, port.found, frame[1:-1], Schedule("lines", 90))
    np.testing.assert_array_equal(frame[1:-1].view(np.int32), expected.view(np.int32))
    assert (frame[[0, -1]] == 7).all()


def test_targets_one_by_one_are_for_pruned_weights_and_events_of_1() -> None:
    few = np.eye(8, dtype=np.float32)
    assert operation(few, kind="binary").lines is not None
    for op in (operation(few, kind="count"), operation(few, lead=2, kind="binary"), operation(few + 1, kind="binary")):
        assert op.lines is None
        port = port_of(np.ones((1, op.input_size), np.float32))
        with pytest.raises(ValueError, match="'layer': no living weights by target"):
            op.currents(
                port.value, port.index, port.found, np.zeros((1, op.input_size), np.float32), Schedule("lines", 8)
            )


def test_csr_rows_are_asked_for_where_there_are_none() -> None:
    op = operation(np.ones((3, 4), np.float32), kind="binary")
    port = port_of(np.ones((1, 4), np.float32))
    with pytest.raises(ValueError, match="'layer'"):
        op.currents(port.value, port.index, port.found, np.zeros((1, 3), np.float32), Schedule("csr", 4))


@pytest.mark.parametrize("number", ["float64", "int64"])
def test_other_numbers_take_the_plain_loop(number: str) -> None:
    rng = np.random.default_rng(3)
    weight = rng.integers(-(2**40), 2**40, (9, 21)).astype(number)
    value = rng.integers(-2, 3, (4, 63)).astype(number)
    port, static = Static.plain((3, 21)), Static.plain((3, 9))
    op = Linear("layer", n.Linear(weight.astype(np.float32), None), port, static, weight, weight[:, 0].copy())
    current = np.zeros((4, 27), number)
    events = port_of(value, rng)
    assert op.currents(events.value, events.index, events.found, current).kind == "plain"
    np.testing.assert_array_equal(current, slow(value, weight, weight[:, 0]))
    assert number in op.explain()


@pytest.mark.parametrize("trial", range(24))
def test_flags_tell_which_targets_a_living_weight_reaches(trial: int) -> None:
    rng = np.random.default_rng(trial)
    out, inputs, lead, rows = (int(rng.integers(1, top)) for top in (1400, 200, 4, 9))
    weight = rng.standard_normal((out, inputs)) * (rng.random((out, inputs)) < (0.001, 0.05, 0.5, 1)[trial % 4])
    value = (rng.random((rows, lead * inputs)) < (0.0, 0.03, 0.9)[trial // 4 % 3]).astype(np.float32)
    op = operation(weight.astype(np.float32), None, lead, kind="binary")
    expected = (np.einsum("rli,oi->rlo", value.reshape(rows, lead, -1), op.matrix != 0) > 0).reshape(rows, -1)
    port, dtype = port_of(value, rng), np.dtype(np.float32)
    for track in (True, False):
        work = Work((port,), Buffer.empty(rows, lead * out, dtype), track=track)
        work.out.touched[...] = 9
        op.sums(work, port.value)
        np.testing.assert_array_equal(work.out.value, plain(value, op.matrix, None))
        reach = np.where(expected.all(1), ALL, np.where(expected.any(1), SOME, NONE))
        if track:
            np.testing.assert_array_equal(work.out.reach, reach)
            np.testing.assert_array_equal(work.out.flags(), expected)
        else:
            assert (work.out.flags() >= expected).all()


def test_explain_names_the_kernel_and_the_numbers() -> None:
    rng = np.random.default_rng(4)
    op = operation(rng.integers(-100, 100, (64, 96)).astype(np.float32), kind="binary", exact=True)
    assert "linear 96 -> 64: int8 weights" in op.explain()
