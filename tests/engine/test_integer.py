"""Integer arithmetic: random formats against the slow reference, sums by hand, overflow, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.errors import InputError, UnsupportedNode
from neuroaccel.graph import (
    AvgPool2d,
    Conv2d,
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
from neuroaccel.program import IF, LI, LIF, Arithmetic, Assign, Emit, Fire, Fixed, NeuronSpec, Program, State
from tests.engine import integers
from tests.engine.reference import reference, same
from tests.random_graphs import neuron, random_graph, random_input

Examples = Callable[[int, int], int]


def test_random_formats_equal_the_reference(examples: Examples) -> None:
    spikes = 0
    for seed in range(examples(25, 250)):
        rng = np.random.default_rng(seed)
        graph = integers.with_integers(random_graph(rng, "tiny", neurons=integers.NEURONS, dendrites=False), rng)
        x = random_input(graph, rng, 6, 2)
        result = engine.run(graph, x, record=True, arithmetic="integer")
        same(result, reference(graph, x, "integer"), graph)
        spikes += sum(int(np.count_nonzero(s)) for s in result.trace.spikes.values())
    assert spikes > 100


def currents(synapse: Node, x: Any, shape: tuple[int, ...], edge: Any = "count", **options: Any) -> NDArray[np.int64]:
    """Integer currents of one tick of a synapse."""
    state = Arithmetic(state=Fixed(40, 20))
    inputs = Input(np.shape(x), edge, 7 if edge == "count" else 1, **options)
    population = dataclasses.replace(neuron(IF(2.0**10), shape), arithmetic=state)
    graph = chain({"x": inputs, "w": synapse, "n": population, "y": Output()})
    result = engine.run(graph, np.asarray(x)[None, None], record=True, arithmetic="integer")
    found: NDArray[np.int64] = result.trace.currents["n"][0, 0]
    return found


ROW = np.array([[5, -3, 7, 2]], np.float32)


@pytest.mark.parametrize(
    ("arithmetic", "expected"),
    [
        (Arithmetic(weight=Fixed(5)), 5 * 3 - 3 * 1 + 7 * 2 + 2 * 7),  # 40, exact
        (Arithmetic(accumulator=Fixed(5)), 15),  # saturates once, at the end
        (Arithmetic(accumulator=Fixed(5, overflow="wrap")), 40 - 32),
        (Arithmetic(product=Fixed(8, -2, rounding="floor")), 15 // 4 - 1 + 14 // 4 + 14 // 4),  # in units of 4
        (Arithmetic(product=Fixed(4)), 7 - 3 + 7 + 7),  # each product saturates
        (Arithmetic(group=2, group_convert=Fixed(5)), 12 + 15),  # 12, and 28 clipped
        (Arithmetic(group=2, group_convert=Fixed(5), accumulator=Fixed(5)), 15),
        (Arithmetic(group=1, accumulator=Fixed(5)), 15),  # 15, 12, then 26 clipped to 15, and 29 again
        (Arithmetic(group=1, accumulator=Fixed(5, overflow="wrap")), 8),
        # inputs 3, 1, 2, 7: bit 0 of 3, 1, 7 and bit 1 of 3, 2, 7 and bit 2 of 7
        (Arithmetic(bit_serial=True), 40),
        (Arithmetic(bit_serial=True, group=4, group_convert=Fixed(4)), 4 + 2 * 7 + 4 * 2),
        (Arithmetic(input=Fixed(2, signed=False)), 5 * 3 - 3 + 7 * 2 + 2 * 3),  # 7 does not fit 2 bits
    ],
)
def test_sums_by_hand(arithmetic: Arithmetic, expected: int) -> None:
    synapse = Linear(ROW, grid=WeightGrid(0), arithmetic=arithmetic)
    assert currents(synapse, [3, 1, 2, 7], (1,)).tolist() == [expected]


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [("floor", -2), ("toward_zero", -1), ("half_up", -1), ("half_even", -2)],
)
def test_roundings_of_minus_one_and_a_half(rounding: Any, expected: int) -> None:
    how = Arithmetic(accumulator=Fixed(8, 0, rounding=rounding))
    synapse = Linear(np.array([[-1.5]], np.float32), grid=WeightGrid(1), arithmetic=how)
    assert currents(synapse, [1], (1,)).tolist() == [expected]


def test_a_bias_finer_than_the_sum_is_added_before_the_conversion() -> None:
    how = Arithmetic(weight=Fixed(8), accumulator=Fixed(8, 0, rounding="half_up"))
    bias = np.array([0.75], np.float32)
    assert currents(Linear(ROW[:, :1], bias, arithmetic=how), [1], (1,)).tolist() == [6]
    grouped = Arithmetic(weight=Fixed(8), accumulator=Fixed(8, 0, rounding="half_up"), group=1)
    assert currents(Linear(ROW[:, :1], bias, arithmetic=grouped), [1], (1,)).tolist() == [6]


def test_rows_of_a_convolution_are_counted_over_channels_and_taps() -> None:
    """Groups of 3 rows of a [2, 2, 1] kernel: rows 0 to 2, then row 3, each clipped to 3 bits (at most 3)."""
    weight = np.array([1, 2, 3, 2], np.float32).reshape(1, 2, 2, 1)
    how = Arithmetic(group=3, group_convert=Fixed(3))
    synapse = Conv2d(weight, grid=WeightGrid(0), arithmetic=how)
    x = np.ones((2, 2, 1))
    assert currents(synapse, x, (1, 1, 1)).ravel().tolist() == [3 + 2]
    padded = dataclasses.replace(synapse, padding=(1, 0))
    assert currents(padded, x, (1, 3, 1)).ravel().tolist() == [2 + 2, 5, min(1 + 3, 3)]


@pytest.mark.parametrize("more", [{}, {"group": 1}], ids=["events", "groups"])
def test_an_event_that_its_conversion_takes_to_zero_drives_its_neurons_all_the_same(more: dict[str, int]) -> None:
    """In units of 4 an input of 1 is 0: no current, but an event that arrived."""
    how = Arithmetic(input=Fixed(3, -2, signed=False), **more)
    synapse = Linear(np.array([[3], [0]], np.float32), grid=WeightGrid(0), arithmetic=how)
    population = dataclasses.replace(neuron(LIF(1.0, 100.0), (2,)), arithmetic=Arithmetic(state=Fixed(16)))
    graph = chain({"x": Input((1,), "count", 7), "w": synapse, "n": population, "y": Output()})
    result = engine.run(graph, np.array([[[1]], [[0]]]), record=True, arithmetic="integer")
    assert not result.trace.states["n"]["v"].any()
    assert result.counts["n"]["updates_driven"].tolist() == [1]  # the second neuron's weight is 0


def test_overflow_as_an_error_names_the_node_and_leaves_the_session_as_it_was() -> None:
    strict = Fixed(6, 0, overflow="error")
    for how in (Arithmetic(accumulator=strict), Arithmetic(product=strict), Arithmetic(group=1, group_convert=strict)):
        with pytest.raises(InputError, match="tick 0: node 'w': the sum of sample 0 at index 0"):
            currents(Linear(20 * ROW, grid=WeightGrid(0), arithmetic=how), [3, 1, 2, 7], (1,))
    narrow = Arithmetic(input=Fixed(2, signed=False, overflow="error"))
    with pytest.raises(InputError, match="node 'w': the input of sample 0 at index 3"):
        currents(Linear(ROW, grid=WeightGrid(0), arithmetic=narrow), [3, 1, 2, 7], (1,))
    population = dataclasses.replace(neuron(LIF(1.0, 100.0), (2,)), arithmetic=Arithmetic(state=strict))
    graph = chain({"x": Input((2,), "count", 7), "n": population, "y": Output()})
    session = engine.open(graph, 2, arithmetic="integer")
    x = np.array([[3, 7], [1, 6]])
    for _ in range(4):
        session.step(x)
    before, counts = session.state(), session.counts["n"]["updates_driven"].copy()
    assert before["n/v"].tolist() == [[12, 28], [4, 24]]
    with pytest.raises(InputError, match="tick 4: node 'n': a state of sample 0 at index 1"):
        session.step(x)
    assert {key: value.tolist() for key, value in session.state().items()} == {
        key: value.tolist() for key, value in before.items()
    }
    assert session.counts["n"]["updates_driven"].tolist() == counts.tolist()
    assert session.step(np.zeros((2, 2)))["y"].tolist() == [[0, 0], [0, 0]]


def test_every_operation_on_integers() -> None:
    """max, min, neg, abs, shift, floor, compare and select, with fractions, against values worked out by hand."""
    body = (
        Assign("a", "mul", ("i", 0.5)),
        Assign("b", "neg", ("a",)),
        Assign("c", "abs", ("b",)),
        Assign("d", "floor", ("b",)),
        Assign("e", "shift", ("b", -1)),
        Assign("f", "shift", ("i", 2)),
        Assign("g", "max", ("d", "e")),
        Assign("h", "min", ("c", "f")),
        Assign("k", "le", ("h", "g")),
        Assign("v", "select", ("k", "g", "h")),
        Assign("w", "sub", ("d", "e")),
        Assign("u", "eq", ("c", "a")),
    )
    states = (State("v"), State("w"), State("u"), State("one", 1.0))
    program = Program("all", states, (), body, Fire("one", "ge", "one"), emit=Emit("count", "f", 28))
    node = neuron(NeuronSpec(program, {}), (3,))
    node = dataclasses.replace(node, arithmetic=Arithmetic(state=Fixed(16, 3)))
    graph = chain({"x": Input((3,), "count", 7), "n": node, "y": Output()})
    result = engine.run(graph, np.array([[[1, 5, 0]]]), record=True, arithmetic="integer")
    states_found = {key: (value[0, 0] / 8).tolist() for key, value in result.trace.states["n"].items()}
    # i = 5: a = 2.5, b = -2.5, d = -3; e is an arithmetic shift of the integer -5 with one fraction bit: -3, so -1.5.
    assert states_found["v"] == [0.5, 2.5, 0.0]
    assert states_found["w"] == [-1 + 0.5, -3 + 1.5, 0.0]
    assert states_found["u"] == [1, 1, 1]
    assert result.trace.spikes["n"].ravel().tolist() == [4, 20, 0]


def test_readouts_are_real_numbers() -> None:
    population = dataclasses.replace(
        neuron(LI(0.5), (2,)), arithmetic=Arithmetic(state=Fixed(16, 4), parameters={"beta": Fixed(4, 2)})
    )
    weight = np.array([[0.75, 0], [0, -0.5]], np.float32)
    nodes: dict[str, Node] = {"x": Input((2,)), "w": Linear(weight, grid=WeightGrid(2)), "n": population}
    x = np.ones((3, 1, 2))
    v = np.array([[0.75, -0.5], [1.125, -0.75], [1.3125, -0.875]])
    expected = {"mean_membrane": v.sum(axis=0) / 3, "max_membrane": v.max(axis=0), "last_membrane": v[-1]}
    for how, value in expected.items():
        graph = chain({**nodes, "r": Readout(how), "y": Output()})  # type: ignore[arg-type]
        found = engine.run(graph, x, arithmetic="integer").trace.outputs["y"]
        assert found.dtype == np.float64
        assert found[-1, 0].tolist() == value.tolist()
    plain = engine.run(chain({**nodes, "y": Output()}), x, record=True, arithmetic="integer")
    assert plain.trace.outputs["y"][:, 0].tolist() == v.tolist()
    assert plain.trace.states["n"]["v"][:, 0].tolist() == (16 * v).tolist()
    assert plain.current_fractions == {"n": 2}


def refused(nodes: dict[str, Node]) -> dict[str, str]:
    graph = chain({**nodes, "y": Output()})
    reasons = engine.refusals(graph, "integer")
    with pytest.raises(UnsupportedNode) as caught:
        engine.run(graph, np.full((1, 1, 99), np.nan), arithmetic="integer")  # refused before the input is looked at
    assert reasons[caught.value.node] == caught.value.reason
    return reasons


def test_what_integers_cannot_hold_is_refused_with_what_to_do() -> None:
    x, state = Input((2,)), Arithmetic(state=Fixed(16, 4))
    exact = Linear(np.eye(2, dtype=np.float32), grid=WeightGrid(0))

    def population(spec: NeuronSpec, arithmetic: Arithmetic | None = state) -> Neuron:
        return dataclasses.replace(neuron(spec, (2,)), arithmetic=arithmetic)

    def reason(name: str, nodes: dict[str, Node]) -> str:
        reasons = refused(nodes)
        assert list(reasons) == [name]
        return reasons[name]

    assert "give Input.grid" in reason("x", {"x": Input((2,), "analog"), "w": exact})
    off = Linear(np.full((2, 2), 0.3, np.float32))
    assert "lie on no grid; snap the graph" in reason("w", {"x": x, "w": off})
    finer = Linear(np.full((2, 2), 0.5, np.float32), arithmetic=Arithmetic(weight=Fixed(8)))
    assert "0.5 at [0, 0] is no whole multiple" in reason("w", {"x": x, "w": finer})
    assert "give Arithmetic.state" in reason("n", {"x": x, "n": population(IF(), None)})
    assert "has no 'div'" in reason("n", {"x": x, "n": population(LIF(form="decay_input", tau=2.0))})
    coarse = Arithmetic(state=Fixed(16, 4), parameters={"beta": Fixed(8, 7)})
    assert "parameter 'beta': 0.9 at []" in reason("n", {"x": x, "n": population(LIF(0.9), coarse)})
    wide = Arithmetic(state=Fixed(62, 4))
    assert "62 is the most" in reason("n", {"x": x, "n": population(LIF(0.9), wide)})
    gridded = Input((2,), "analog", grid=ValueGrid(0, -4, 4))
    serial = dataclasses.replace(exact, arithmetic=Arithmetic(bit_serial=True))
    assert "bit_serial needs whole, unsigned inputs" in reason("w", {"x": gridded, "w": serial})
    image, mean = Input((1, 3, 3)), AvgPool2d((3, 3), (3, 3))
    assert "no mean over 9 values" in reason("p", {"x": image, "p": mean})
    readout: dict[str, Node] = {"x": x, "r": Readout("spike_count"), "w": exact}
    assert "a readout can only lead to an Output" in reason("w", readout)


def test_floating_point_does_not_look_at_the_integer_formats() -> None:
    rng = np.random.default_rng(1)
    graph: Graph = integers.with_integers(random_graph(rng, "tiny", neurons=integers.NEURONS, dendrites=False), rng)
    x = random_input(graph, rng, 5, 2)
    same(engine.run(graph, x, record=True), reference(graph, x))
