"""EventStream: lossless against dense, strict about what it holds, and its file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroaccel.engine.events import EventStream
from neuroaccel.errors import EventsError, FileFormatError

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
FLOATS = st.one_of(st.just(0.0), st.floats(allow_nan=False, allow_infinity=False, width=32))
INTEGERS = st.one_of(st.just(0), st.integers(-(2**31), 2**31 - 1))


def stream(**changes):
    """Three ticks of shape (2, 3): addresses 1 and 4, nothing, 0."""
    fields = {"indptr": [0, 2, 2, 3], "index": [1, 4, 0], "shape": (2, 3), "dt": 0.01, "value": [2, 3, 1]}
    return EventStream(**{**fields, **changes})


@given(
    st.one_of(
        hnp.arrays(np.float32, SHAPES, elements=FLOATS),
        hnp.arrays(np.int32, SHAPES, elements=INTEGERS),
        hnp.arrays(np.bool_, SHAPES),
        hnp.arrays(np.uint8, SHAPES),
    )
)
def test_dense_to_stream_and_back_loses_nothing(x):
    made = EventStream.from_dense(x, 0.01)
    back = made.to_dense(x.dtype)
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(back, x)
    assert EventStream.from_dense(back, 0.01) == made
    assert made.ticks == len(x)
    assert made.shape == x.shape[1:]
    assert len(made) == np.count_nonzero(x)
    assert made.rate == (np.count_nonzero(x) / x.size if x.size else 0)


@given(hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 2)), st.data())
def test_slice_is_the_slice_of_the_dense_sequence(x, data):
    t0 = data.draw(st.integers(0, len(x)))
    t1 = data.draw(st.integers(t0, len(x)))
    part = EventStream.from_dense(x, 0.01, "count", merged=7).slice(t0, t1)
    np.testing.assert_array_equal(part.to_dense(), x[t0:t1])
    assert part.merged == (7 if t1 - t0 == len(x) else 0)


def test_layout_is_ticks_then_c_order():
    x = np.zeros((2, 2, 3, 4))
    x[1, 1, 2, 3] = x[1, 0, 0, 1] = x[0, 1, 0, 0] = 1
    made = EventStream.from_dense(x, 0.01)
    assert made.indptr.tolist() == [0, 1, 3]
    assert made.index.tolist() == [12, 1, 23]
    assert made.indptr.dtype == np.int64
    assert made.index.dtype == np.int32
    assert made.value is None
    assert made.nbytes == 3 * 8 + 3 * 4
    assert made.tick_of_event.tolist() == [0, 1, 1]


def test_values_are_kept_only_where_they_differ_from_one():
    assert EventStream.from_dense(np.array([[1, 0]]), 0.01).value is None
    counted = EventStream.from_dense(np.array([[1, 2]]), 0.01, "count")
    assert counted.value.dtype == np.int32
    assert EventStream.from_dense(np.array([[0.5, 0]]), 0.01).value.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"index": [4, 1, 0]}, r"event 1 \(tick 0, address 1\) is not sorted"),
        ({"index": [4, 4, 0]}, r"event 1 \(tick 0, address 4\) is a duplicate"),
        ({"index": [1, 6, 0]}, r"event 1 \(tick 0, address 6\) lies outside shape \(2, 3\)"),
        ({"index": [1, 4, -1]}, r"event 2 \(tick 2, address -1\) lies outside"),
        ({"index": [1, 4, 2**31]}, r"index\[2\] is 2147483648, too large for int32"),
        ({"index": [1.0, 4.0, 0.0]}, "index is float64"),
        ({"index": [[1, 4, 0]]}, "expected one dimension of integers"),
        ({"indptr": [0, 2, 1, 3]}, "tick 1 ends at event 1, before its start at 2"),
        ({"indptr": [0, 2, 2, 2]}, r"\(0, 2\); expected \(0, 3\)"),
        ({"indptr": [1, 2, 2, 3]}, r"\(1, 3\); expected \(0, 3\)"),
        ({"indptr": []}, "nothing; expected"),
        ({"value": [1.0, np.nan, 1.0]}, r"event 1 \(tick 0, address 4\) has value nan"),
        ({"value": [1.0, 1.0, np.inf]}, r"event 2 \(tick 2, address 0\) has value inf"),
        ({"value": [1, 0, 1]}, r"event 1 \(tick 0, address 4\) has value 0"),
        ({"value": [1, 2]}, "2 values for 3 events"),
        ({"value": [1, 2**31, 1]}, "event 1 has value 2147483648, which int32 loses"),
        ({"value": [1.0, 0.1, 1.0]}, "event 1 has value 0.1, which float32 loses"),
        ({"value": ["a", "b", "c"]}, "expected one dimension of integers or floats"),
        ({"shape": (2, -3)}, r"shape \(2, -3\)"),
        ({"shape": (2**16, 2**16)}, "no int32 addresses"),
        ({"dt": 0}, "dt is 0.0 s"),
        ({"dt": float("nan")}, "dt is nan s"),
        ({"binning": "mean"}, "'mean'; expected one of binary, count, first"),
        ({"merged": -1}, "merged is -1"),
    ],
)
def test_bad_streams_are_refused_by_name(changes, message):
    with pytest.raises(EventsError, match=message):
        stream(**changes)


def test_first_event_of_a_tick_may_lie_below_the_last_one_before():
    assert stream(index=[1, 4, 4]).index.tolist() == [1, 4, 4]
    with pytest.raises(EventsError, match="event 2"):
        stream(indptr=[0, 1, 3, 3], index=[4, 1, 1])


def test_dense_that_is_not_finite_or_too_fine_is_refused():
    x = np.zeros((3, 4))
    x[1, 2] = np.nan
    with pytest.raises(EventsError, match=r"event 0 \(tick 1, address 2\) has value nan"):
        EventStream.from_dense(x, 0.01)
    with pytest.raises(EventsError, match="float32 loses"):
        EventStream.from_dense(np.full((1, 1), 1 / 3), 0.01)
    with pytest.raises(EventsError, match="scalar"):
        EventStream.from_dense(1.0, 0.01)


@pytest.mark.parametrize(("value", "dtype"), [(2**24 + 1, np.float32), (300, np.uint8), (-1, np.uint8), (2, bool)])
def test_to_dense_refuses_a_type_that_loses_a_value(value, dtype):
    made = EventStream.from_dense(np.array([[0, value]]), 0.01)
    with pytest.raises(EventsError, match=rf"event 0 \(tick 0, address 1\) has value {value}, which .* loses"):
        made.to_dense(dtype)


@pytest.mark.parametrize(("t0", "t1"), [(-1, 2), (2, 1), (0, 4)])
def test_slice_outside_is_refused(t0, t1):
    with pytest.raises(EventsError, match="within the stream's 3 ticks"):
        stream().slice(t0, t1)


def test_equality_sees_every_field():
    assert stream() == stream()
    changed = [{"value": [2, 3, 2]}, {"value": None}, {"index": [1, 5, 0]}, {"indptr": [0, 2, 3, 3]}]
    changed += [{"dt": 0.02}, {"shape": (6,)}, {"binning": "count"}, {"merged": 1}]
    assert all(stream(**change) != stream() for change in changed)
    assert stream() != "stream"


@pytest.mark.parametrize("value", [None, [2, 3, 1], [0.5, -1.0, 2.0]])
def test_file_round_trip(tmp_path, value):
    made = stream(value=value, binning="count", merged=5)
    path = made.save(tmp_path / "events.npz")
    read = EventStream.load(path)
    assert read == made
    assert (read.value is None) == (value is None)
    assert value is None or read.value.dtype == made.value.dtype


def test_every_truncated_file_is_refused(tmp_path):
    path = stream().save(tmp_path / "events.npz")
    whole = path.read_bytes()
    for length in range(0, len(whole), 29):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=r"events\.npz"):
            EventStream.load(path)


def test_file_with_inconsistent_arrays_is_refused(tmp_path):
    path = stream().save(tmp_path / "events.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    damages = {
        "index": np.array([4, 1, 0]),
        "indptr": np.array([0.5, 2.5]),
        "dt": np.array([0.01, 0.02]),
        "shape": np.array([[2, 3]]),
        "binning": np.array(3),
        "merged": np.array("many"),
    }
    for name, array in damages.items():
        np.savez(path, **{**arrays, name: array})
        with pytest.raises(FileFormatError, match=r"events\.npz: the file is inconsistent"):
            EventStream.load(path)
