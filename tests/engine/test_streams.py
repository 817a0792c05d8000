"""Event streams through a session: lossless, endless at flat memory, and bad ones leave no trace."""

from __future__ import annotations

import itertools
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine import EventStream, Session
from neuroaccel.engine.inputs import Feed
from neuroaccel.engine.streams import play
from neuroaccel.errors import EventsError, InputError, StateError
from neuroaccel.graph import (
    Add,
    Conv2d,
    Edge,
    Flatten,
    Graph,
    Input,
    Linear,
    Neuron,
    Node,
    Output,
    Readout,
    ValueGrid,
    WeightGrid,
    chain,
)
from neuroaccel.program import IF, LI, LIF, Arithmetic, CubaLIF, Fixed
from tests.engine.reference import Reference, reference
from tests.graphs.parts import neuron, weights
from tests.random_graphs import random_graph, random_input

DT = 1e-3


def streams_of(x: NDArray[Any], dt: float = DT) -> list[EventStream]:
    """One stream for every sample of ``[T, N, *shape]``."""
    return [EventStream.from_dense(x[:, n], dt) for n in range(x.shape[1])]


def dense(found: list[EventStream]) -> NDArray[np.float32]:
    return np.stack([stream.to_dense(np.float32) for stream in found], axis=1)


def untouched(session: Session) -> Callable[[], None]:
    """Call later to check that state, counts and tick are what they are now, bit for bit."""
    state, tick = session.state(), session.tick
    counts = {name: {k: v.copy() for k, v in columns.items()} for name, columns in session.counts.items()}

    def check() -> None:
        assert session.tick == tick
        for key, value in session.state().items():
            assert value.tobytes() == state[key].tobytes(), key
        for name, columns in session.counts.items():
            for column, value in columns.items():
                np.testing.assert_array_equal(value, counts[name][column])

    return check


@pytest.mark.parametrize("seed", range(30))
def test_events_in_and_events_out_are_what_the_reference_gives(seed: int) -> None:
    """Pieces of any length, of none too, in graphs with loops, delays, counts, readouts, and clocks of their own."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, "tiny" if seed % 2 else "small", clocks=seed >= 12, scopes=seed >= 12)
    x = random_input(graph, rng, 14, 2)
    session = engine.open(graph, 2)
    cuts = [0, 1, 1, 4, 5, 14]
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in graph.outputs}
    for first, last in itertools.pairwise(cuts):
        given = streams_of(x[first:last])
        for name, streams in session.step(given).items():
            assert [(s.ticks, s.dt) for s in streams] == [(last - first, DT)] * 2
            found[name].append(dense(streams))
    expected = reference(graph, x)
    for name, parts in found.items():
        np.testing.assert_array_equal(np.concatenate(parts), expected.outputs[name])
    for name, columns in expected.counts.items():
        if name in session.counts:
            assert {k: v.tolist() for k, v in session.counts[name].items()} == {
                k: v.tolist() for k, v in columns.items()
            }


def test_streams_and_dense_ticks_take_turns() -> None:
    """The list of events that a stream left must not outlive it, nor the values of a dense tick."""
    for layers in ({"w": Linear(weights(3, 4, 6))}, {}):  # with a reader of events, and without
        size = 4 if layers else 6
        graph = chain({"x": Input((6,)), **layers, "n": neuron(LIF(0.75, 0.5), size), "y": Output()})
        x = (np.random.default_rng(4).random((30, 1, 6)) < 0.4).astype(np.float32)
        for counts in (True, False):
            session, found = engine.open(graph, counts=counts), []
            for t in range(30):
                if t % 3 == 1:
                    found.append(session.step(x[t])["y"])
                else:
                    found.append(dense([session.step(EventStream.from_dense(x[t : t + 1, 0], DT))["y"]])[0])
            np.testing.assert_array_equal(found, engine.run(graph, x).trace.outputs["y"])


def test_what_comes_out_has_the_type_of_its_edge() -> None:
    """One spiking layer read as spikes, as their count, and by a leaky integrator."""
    graph = Graph(
        {
            "x": Input((3,)),
            "n": neuron(IF(0.5), 3),
            "count": Readout(),
            "w": Linear(np.float32([[0.5, -0.25, 1]])),
            "v": neuron(LI(0.5), 1),
            "spikes": Output(),
            "counts": Output(),
            "analog": Output(),
        },
        (
            *(Edge("x", "n"), Edge("n", "spikes"), Edge("n", "count"), Edge("count", "counts")),
            *(Edge("n", "w"), Edge("w", "v"), Edge("v", "analog")),
        ),
    )
    x = np.zeros((4, 3), np.uint8)
    x[0, 2] = x[1, 1] = x[3, 2] = 1
    out = engine.open(graph).step(EventStream.from_dense(x, 0.25))
    assert all((s.dt, s.merged) == (0.25, 0) for s in out.values())
    assert out["spikes"] == EventStream.from_dense(x, 0.25)
    running = np.float32([1, 1, 1, 1, 1, 1, 2])
    assert out["counts"] == EventStream([0, 1, 3, 5, 7], [2, 1, 2, 1, 2, 1, 2], (3,), 0.25, running)
    for name in ("counts", "analog"):
        value = out[name].value
        assert value is not None
        assert value.dtype == np.float32
    assert out["analog"].to_dense().ravel().tolist() == [1, 0.25, 0.125, 1.0625]


@pytest.mark.parametrize("arithmetic", ["float32", "float64", "integer"])
def test_events_of_an_analog_input_are_brought_to_its_grid(arithmetic: Any) -> None:
    """Rounded half to even, clipped, and no event where that gives 0; an event without a value is a 1."""
    graph = chain({"x": Input((6,), "analog", grid=ValueGrid(1, -4, 4)), "y": Output()})
    x = np.float32([[0.25, 0.75, 1.3, -0.25, 9.0, -9.0]])
    out = engine.open(graph, arithmetic=arithmetic).step(EventStream.from_dense(x, DT))["y"]
    assert out.index.tolist() == [1, 2, 4, 5]
    assert out.value is not None
    assert out.value.tolist() == [1.0, 1.5, 2.0, -2.0]
    ones = engine.open(graph, arithmetic=arithmetic).step(EventStream([0, 2], [0, 3], (6,), DT))["y"]
    assert ones.to_dense().tolist() == [[1, 0, 0, 1, 0, 0]]


def test_wider_numbers_are_rounded_to_float32() -> None:
    """And those that it rounds to 0 are no events."""
    tiny = np.diag(np.float32([0.3, 0.3, 2.0**-140]))
    graph = chain({"x": Input((3,), "analog"), "w": Linear(tiny), "y": Output()})
    x = np.float32([[0.1, -3.3, 2.0**-140], [0, 0, 0], [0, 0.7, 0]])
    out = engine.open(graph, arithmetic="float64").step(EventStream.from_dense(x, DT))["y"]
    wide = engine.run(graph, x[:, None], arithmetic="float64").trace.outputs["y"][:, 0]
    assert wide[0, 2] == 2.0**-280
    assert (out.indptr.tolist(), out.index.tolist()) == ([0, 2, 2, 3], [0, 1, 1])
    np.testing.assert_array_equal(out.to_dense(), wide.astype(np.float32))
    assert (wide[0] != out.to_dense()[0]).all()


def test_several_inputs_and_samples() -> None:
    nodes: dict[str, Node] = {"a": Input((2,)), "b": Input((2,), "count", 3), "s": Add(), "y": Output(), "z": Output()}
    graph = Graph(nodes, (Edge("a", "s"), Edge("b", "s"), Edge("s", "y"), Edge("a", "z")))
    a = np.array([[[1, 0], [0, 0]], [[1, 1], [0, 1]]])
    b = np.array([[[3, 0], [0, 0]], [[0, 1], [0, 2]]])
    out = engine.open(graph, 2).step({"a": streams_of(a), "b": streams_of(b)})
    assert dense(out["y"]).tolist() == (a + b).tolist()
    assert [(s.binning, s.value.dtype) for s in out["y"]] == [("count", np.int32)] * 2
    assert all(s.value is None for s in out["z"])
    assert dense(out["z"]).tolist() == a.tolist()
    one = engine.open(graph).step({"a": streams_of(a)[0], "b": streams_of(b)[0]})
    assert one["y"].to_dense().tolist() == (a + b)[:, 0].tolist()


def core(maximum: int = 1) -> Graph:
    """Two inputs, four neurons; 10 ms ticks."""
    nodes: dict[str, Node] = {
        "x": Input((2, 3), "count" if maximum > 1 else "binary", maximum),
        "flat": Flatten(),
        "w": Linear(weights(7, 4, 6), grid=WeightGrid(5)),
        "n": neuron(CubaLIF(0.5, 0.75, threshold=0.75), 4),
        "y": Output(),
    }
    return chain(nodes, dt=0.01)


def made(x: Any, dt: float = 0.01) -> EventStream:
    return EventStream.from_dense(np.asarray(x, np.float32), dt)


GOOD = (np.random.default_rng(6).random((5, 2, 3)) < 0.5).astype(np.float32)
TWO = GOOD.copy()
TWO[3, 1, 2] = 2

BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "shape": (made(np.zeros((4, 3, 2))), EventsError, r"'x': sample 0 has shape \(3, 2\)"),
    "dt": (made(GOOD, 0.02), EventsError, r"'x' has ticks of 0.02 s; the network was made for ticks of 0.01 s"),
    "count": (made(TWO), InputError, r"'x' is 2.0 at tick 8, sample 0, index \(1, 2\); expected 0 or 1"),
    "negative": (made(-GOOD), InputError, "'x' is -1.0 at tick 5"),
    "fraction": (made(GOOD / 2), InputError, "'x' is 0.5 at tick 5"),
    "batch": ([made(GOOD)] * 2, InputError, "'x' has 2 samples, the session 1"),
    "lengths": ([made(GOOD), made(GOOD[:3])], EventsError, "sample 1 has shape .* and 3 ticks"),
    "dts": ([made(GOOD), made(GOOD, 0.02)], EventsError, "sample 1 has ticks of 0.02 s, expected 0.01 s"),
    "kind": ([made(GOOD), 7], EventsError, "sample 1 is a int, expected an EventStream"),
    "dense shape": (np.zeros((1, 3, 2)), InputError, r"'x' is float64\[1, 3, 2\] at tick 5"),
    "dense NaN": (np.full((1, 2, 3), np.nan), InputError, r"'x' is nan at tick 5, sample 0, index \(0, 0\)"),
    "text": ("spikes", InputError, "input 'x' is <U6"),
    "nothing": (None, InputError, "input 'x' is object"),
    "name": ({"z": made(GOOD)}, InputError, r"inputs \['z'\] are given"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_input_is_named_and_leaves_the_session_as_it_was(what: str) -> None:
    given, error, message = BAD[what]
    session, other = engine.open(core()), engine.open(core())
    for each in (session, other):
        each.step(made(GOOD))
    check = untouched(session)
    for _ in range(2):
        with pytest.raises(error, match=message):
            session.step(given)
        check()
    again = made(GOOD[::-1])
    assert session.step(again)["y"] == other.step(again)["y"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"index": [1, 6, 0]}, r"event 1 \(tick 0, address 6\) lies outside shape \(2, 3\)"),
        ({"index": [-1, 4, 0]}, r"address -1\) lies outside"),
        ({"index": [4, 1, 0]}, r"event 1 \(tick 0, address 1\) is not sorted"),
        ({"index": [4, 4, 0]}, "is a duplicate; expected rising addresses"),
        ({"value": np.float32([1, np.nan, 1])}, r"event 1 \(tick 0, address 4\) has value nan"),
        ({"value": np.float32([1, np.inf, 1])}, "has value inf"),
        ({"value": [1, 0, 1]}, "has value 0"),
        ({"indptr": [0, 2, 1, 3]}, "tick 1 ends at event 1, before its start at 2"),
        ({"indptr": [0, 2, 2]}, "indptr goes from and to"),
        ({"index": [0.5, 1.5, 2.5]}, "expected one dimension of integers"),
        ({"dt": 0.0}, "expected a positive, finite number of seconds"),
    ],
)
def test_events_that_make_no_stream_never_reach_a_session(changes: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"indptr": [0, 2, 2, 3], "index": [1, 4, 0], "shape": (2, 3), "dt": 0.01}
    EventStream(**fields)
    with pytest.raises(EventsError, match=message):
        EventStream(**{**fields, **changes})


@pytest.mark.parametrize(("binning", "value"), [("binary", None), ("count", [3, 1]), ("first", None)])
def test_what_duplicates_mean_is_the_binning_policy_s(binning: Any, value: list[int] | None) -> None:
    """Three events of one pixel and polarity, then one of the other polarity, in one tick."""
    from neuroaccel.datasets import Events

    recorded = Events.from_arrays(*(np.array(a) for a in ([0] * 4, [0] * 4, [1, 2, 3, 4], [1, 1, 1, 0])), (3, 1, 2))
    stream = recorded.bin(0.01, binning=binning)
    graph = chain({"x": Input((2, 1, 3), "count", 3), "y": Output()})
    out = engine.open(graph).step(stream)["y"]
    polarity = {"binary": [0, 3], "count": [0, 3], "first": [3]}[binning]
    assert out.index.tolist() == polarity
    expected = [1, 3] if binning == "count" else [1] * len(polarity)
    assert out.value is not None
    assert out.value.tolist() == expected
    assert value is None or sorted(value) == expected


def test_two_inputs_of_other_lengths_or_kinds_are_refused() -> None:
    nodes: dict[str, Node] = {"a": Input((2, 3)), "b": Input((2, 3)), "s": Add(), "y": Output()}
    session = engine.open(Graph(nodes, (Edge("a", "s"), Edge("b", "s"), Edge("s", "y"))))
    check = untouched(session)
    with pytest.raises(InputError, match=r"the inputs differ in ticks: \{'a': 5, 'b': 4\}"):
        session.step({"a": made(GOOD), "b": made(GOOD[:4])})
    with pytest.raises(InputError, match="input 'b' is a ndarray; give an EventStream for every Input"):
        session.step({"a": made(GOOD), "b": GOOD[:1]})
    with pytest.raises(EventsError, match=r"'b' has ticks of 0.02 s; the others have ticks of 0.01 s"):
        session.step({"a": made(GOOD), "b": made(GOOD, 0.02)})
    check()
    assert session.step({"a": made(GOOD), "b": made(GOOD)})["y"].value is not None


def test_an_overflow_in_any_block_undoes_the_whole_step() -> None:
    """A membrane that adds up all events and may not leave 8 bits, in a session that runs 4 ticks at once."""
    arithmetic = Arithmetic(state=Fixed(8, 0, overflow="error"))
    population = neuron(IF(threshold=100.0), 1, arithmetic=arithmetic)
    nodes: dict[str, Node] = {"x": Input((1,), "count", 60), "n": population, "y": Output()}
    graph = chain({**nodes, "n": population})
    session, other = (Session(engine.compile_graph(graph, "integer"), block=4) for _ in range(2))
    x = np.zeros((12, 1))
    x[[1, 6]] = 60
    for each in (session, other):
        each.step(made(x[:2]))
    check = untouched(session)
    bad = np.ones((12, 1))
    bad[9:] = 60
    with pytest.raises(
        InputError, match=r"tick 11: node 'n': a state of sample 0 at index 0 leaves its integer format"
    ):
        session.step(made(bad))
    check()
    assert session.step(made(x))["y"] == other.step(made(x))["y"]


def test_a_session_that_was_broken_off_asks_for_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    session, other = engine.open(core()), engine.open(core())
    first = session.step(made(GOOD))["y"]
    state = session.state()
    operation = session.plan.steps["node", "n"].operation

    def interrupted(work: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(operation, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.step(made(GOOD))
    for _ in range(2):
        with pytest.raises(StateError, match="from tick 5 on was broken off; reset the session, or restore a state"):
            session.step(made(GOOD))
    session.restore(state)
    other.step(made(GOOD))
    assert session.step(made(TWO * (TWO < 2)))["y"] == other.step(made(TWO * (TWO < 2)))["y"]
    with monkeypatch.context() as patch:
        patch.setattr(operation, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.step(made(GOOD))
    session.reset()
    assert session.step(made(GOOD))["y"] == first


def test_an_output_that_no_stream_can_hold_is_named() -> None:
    graph = chain({"x": Input((1,), "analog"), "w": Linear(np.float32([[3e38]])), "y": Output()})
    with pytest.raises(EventsError, match=r"output 'y', sample 0, whose ticks have run: .* has value inf"):
        engine.open(graph).step(made([[3e38]]))


def test_a_float64_that_float32_cannot_hold_is_refused() -> None:
    graph = chain({"x": Input((1,), "analog"), "y": Output()})
    session = engine.open(graph)
    with pytest.raises(InputError, match=r"'x' is 1e\+300 at tick 0"):
        session.step(np.array([[1e300]]))
    assert engine.open(graph, arithmetic="float64").step(np.array([[1e300]]))["y"].item() == 1e300


def test_play_reports_what_step_gives() -> None:
    graph = core()
    x = (np.random.default_rng(1).random((23, 2, 2, 3)) < 0.3).astype(np.float32)
    given = [made(x[:, n]) for n in range(2)]
    session, other = engine.open(graph, 2), engine.open(graph, 2)
    whole = other.step(given)["y"]
    reports = list(play(session, given, 10))
    assert [(r.tick, r.ticks) for r in reports] == [(10, 10), (20, 10), (23, 3)]
    assert [r.input_events for r in reports] == [int(x[a:b].sum()) for a, b in ((0, 10), (10, 20), (20, 23))]
    spikes = dense(whole).reshape(23, -1).sum(axis=1)
    assert [r.spikes["n"] for r in reports] == [int(spikes[a:b].sum()) for a, b in ((0, 10), (10, 20), (20, 23))]
    assert sum(r.spikes["n"] for r in reports) > 0
    assert all(r.seconds > 0 for r in reports)
    for name, columns in other.counts.items():
        for column, value in columns.items():
            np.testing.assert_array_equal(sum(r.counts[name][column] for r in reports), value)
    assert sum(r.synaptic_events for r in reports) == int(other.counts["w"]["products"].sum()) > 0
    parts = np.concatenate([dense(r.outputs["y"]) for r in reports])  # type: ignore[arg-type]
    np.testing.assert_array_equal(parts, dense(whole))


def test_play_takes_an_endless_source_and_stops_when_nobody_asks() -> None:
    session, other = engine.open(core(), counts=False), engine.open(core())
    taken = itertools.count()

    def source() -> Iterator[EventStream]:
        while True:
            next(taken)
            yield made(GOOD)

    reports = list(itertools.islice(play(session, source(), 4), 5))
    assert [(r.tick, r.ticks) for r in reports] == [(4, 4), (5, 1), (9, 4), (10, 1), (14, 4)]
    assert next(taken) == 3
    assert session.tick == 14
    assert (reports[0].counts, reports[0].spikes, reports[0].synaptic_events) == ({}, {}, 0)
    last = [other.step(made(GOOD))["y"] for _ in range(3)][-1]
    assert reports[-1].outputs["y"] == last.slice(0, 4)
    with pytest.raises(InputError, match="ticks_per_report is 0"):
        next(play(session, made(GOOD), 0))
    with pytest.raises(InputError, match="give an EventStream"):
        next(play(session, GOOD, 4))


def small() -> Graph:
    """A convolution, a Linear with feedback, an integrator: every kind of state that a long stream could wear out."""
    nodes: dict[str, Node] = {
        "x": Input((1, 4, 4)),
        "conv": Conv2d(weights(1, 2, 1, 3, 3), grid=WeightGrid(5), padding=(1, 1)),
        "a": neuron(LIF(0.9375, 0.5), 2, 4, 4),
        "flat": Flatten(),
        "w": Linear(weights(2, 3, 32), grid=WeightGrid(5)),
        "b": neuron(CubaLIF(0.5, 0.96875, threshold=0.5), 3),
        "back": Linear(-np.abs(weights(3, 3, 3)), grid=WeightGrid(5)),
        "out": Linear(weights(4, 2, 3), grid=WeightGrid(5)),
        "v": neuron(LI(0.99), 2),
        "spikes": Output(),
        "y": Output(),
    }
    edges = [Edge("x", "conv"), Edge("conv", "a"), Edge("a", "flat"), Edge("flat", "w"), Edge("w", "b")]
    edges += [Edge("b", "back", recurrent=True), Edge("back", "b"), Edge("b", "out"), Edge("out", "v")]
    return Graph(nodes, (*edges, Edge("b", "spikes"), Edge("v", "y"))).validate()


def pieces(ticks: int, piece: int) -> Iterator[NDArray[np.float32]]:
    """A stream that never repeats: bursts, quiet stretches, long silences."""
    rng = np.random.default_rng(8)
    for first in range(0, ticks, piece):
        rate = rng.choice([0.0, 0.002, 0.02, 0.2], (piece, 1, 1, 1), p=[0.3, 0.3, 0.3, 0.1])
        events = rng.random((piece, 1, 4, 4)) < rate
        if first // piece % 7 == 6:
            events[...] = False
        yield events.astype(np.float32)


def resident() -> int:
    """Bytes of memory that this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Dense:
    """The graph of ``small`` again, written out by hand in float32 matrices: as slow as a million ticks allow."""

    def __init__(self, graph: Graph) -> None:
        one = np.float32
        arrays = {
            name: np.asarray(node.weight) for name, node in graph.nodes.items() if isinstance(node, (Conv2d, Linear))
        }
        self.conv = np.zeros((32, 16), np.float32)
        for place in range(16):
            image = np.zeros((6, 6), np.float32)
            image[1 + place // 4, 1 + place % 4] = 1
            for o, y, x in itertools.product(range(2), range(4), range(4)):
                self.conv[16 * o + 4 * y + x, place] = (arrays["conv"][o, 0] * image[y : y + 3, x : x + 3]).sum()
        self.w, self.back, self.out = (arrays[name] for name in ("w", "back", "out"))
        self.va, self.u, self.vb = np.zeros(32, one), np.zeros(3, one), np.zeros(3, one)
        self.sent, self.v = np.zeros(3, one), np.zeros(2, one)
        self.flush = one(2.0**-100)

    def decayed(self, v: NDArray[np.float32], beta: float) -> NDArray[np.float32]:
        v = np.float32(beta) * v
        return np.where(np.abs(v) < self.flush, np.float32(0), v)

    def step(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.va = self.decayed(self.va, 0.9375) + self.conv @ x
        a = self.va > np.float32(0.5)
        self.va[a] = 0
        self.u = self.decayed(self.u, 0.5) + (self.w @ a.astype(np.float32) + self.back @ self.sent)
        self.vb = self.decayed(self.vb, 0.96875) + self.u
        self.sent = (self.vb > np.float32(0.5)).astype(np.float32)
        self.vb[self.sent > 0] = 0
        self.v = self.decayed(self.v, 0.99) + self.out @ self.sent
        return self.sent, self.v


def test_the_matrices_are_the_reference() -> None:
    graph, x = small(), next(pieces(300, 300))
    slow, mine = Reference(graph, "float32"), Dense(graph)
    for tick in x:
        slow.inputs = {"x": slow.rounded("x", tick.ravel())}
        slow.step()
        sent, v = mine.step(tick.ravel())
        np.testing.assert_array_equal(slow.now["spikes"].values, sent)
        np.testing.assert_array_equal(slow.now["y"].values, v)


def test_a_long_stream_equals_the_reference_at_flat_memory(examples: Callable[[int, int], int]) -> None:
    """Under --long, 10^6 ticks: every spike and every bit of the readout, and no more memory than at its beginning."""
    graph, mine = small(), Dense(small())
    session, piece, ticks = engine.open(graph), 1000, examples(30_000, 1_000_000)
    spikes, began = 0, 0
    for number, x in enumerate(pieces(ticks, piece)):
        found = session.step(EventStream.from_dense(x, DT))
        expected = [mine.step(tick.ravel()) for tick in x]
        assert found["spikes"] == EventStream.from_dense(np.stack([sent for sent, _ in expected]), DT)
        np.testing.assert_array_equal(found["y"].to_dense(), np.stack([v for _, v in expected]))
        spikes += len(found["spikes"])
        if number == 5:
            began = resident()
    for name, states in {"a": (mine.va,), "b": (mine.u, mine.vb), "v": (mine.v,)}.items():
        node = graph.nodes[name]
        assert isinstance(node, Neuron)
        for key, value in zip(node.program.state_names, states, strict=True):
            np.testing.assert_array_equal(session.neuron_state(name)[key].ravel(), value)
    assert session.tick == ticks
    assert spikes > ticks / 100
    assert resident() - began < 4 << 20


def test_one_step_of_many_ticks_is_many_steps(examples: Callable[[int, int], int]) -> None:
    """10^4 ticks at once (10^5 under --long), in pieces, and a tick at a time for the last of them."""
    graph, ticks = small(), examples(10_000, 100_000)
    x = np.concatenate(list(pieces(ticks, 1000)))
    stream = EventStream.from_dense(x, DT)
    session = engine.open(graph)
    whole = session.step(stream)
    other = engine.open(graph)
    parts = [report.outputs for report in play(other, stream, 973)]
    for name in graph.outputs:
        at = 0
        for part in parts:
            found = part[name]
            assert isinstance(found, EventStream)
            assert found == whole[name].slice(at, at + found.ticks)
            at += found.ticks
    one = engine.open(graph)
    one.step(stream.slice(0, ticks - 100))
    for t in range(ticks - 100, ticks):
        assert one.step(stream.slice(t, t + 1))["spikes"] == whole["spikes"].slice(t, t + 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts what Linux says of memory")
def test_memory_does_not_grow_with_steps_of_other_lengths() -> None:
    """Steps of every length up to a block: what is kept for each of them is made once."""
    session, x = engine.open(small()), next(pieces(300, 300))
    for length in range(0, 300, 7):
        session.step(EventStream.from_dense(x[:length], DT))
    began = resident()
    for length in range(0, 300, 7):
        session.step(EventStream.from_dense(x[:length], DT))
    assert resident() - began < 1 << 20


def test_a_feed_of_streams_checks_its_values_once(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Input((2, 3), "count", 2)
    feed, calls = Feed("x", node, made(TWO)), []
    whole = feed._whole
    monkeypatch.setattr(feed, "_whole", lambda *arguments: calls.append(1) or whole(*arguments))
    for first in range(5):
        feed.check(first, first + 1, first, np.float32)
    assert len(calls) == 1
