"""Counts of what differs between two traces, and what counts as a difference."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from neuroaccel.graph import Graph, Trace
from neuroaccel.verify import Comparison, compare
from neuroaccel.verify.executors import engine_trace
from neuroaccel.verify.inputs import part
from tests.verify.networks import conv_network, events


@pytest.fixture(name="graph", scope="module")
def graph_fixture() -> Graph:
    return conv_network()


@pytest.fixture(name="trace", scope="module")
def trace_fixture(graph: Graph) -> Trace:
    return engine_trace(graph, {"events": events(graph)}, "float32")


def with_value(trace: Trace, kind: str, name: str, at: tuple[int, ...], value: float, state: str = "v") -> Trace:
    """A copy with one value changed."""
    values: Any = dict(getattr(trace, kind))
    array = values[name][state] if kind == "states" else values[name]
    array = array.astype(np.float64) if kind != "spikes" else array.copy()
    array[at] = value
    values[name] = {**values[name], state: array} if kind == "states" else array
    return dataclasses.replace(trace, **{kind: values})


def test_a_trace_is_identical_to_itself(graph: Graph, trace: Trace) -> None:
    found = compare(graph, trace, trace)
    assert found.identical
    assert found.divergence is None
    assert found.samples == 5
    assert found.spikes == found.reference_spikes == sum(int(s.sum()) for s in trace.spikes.values()) > 0


def test_each_kind_of_value_is_counted_in_its_own_column(graph: Graph, trace: Trace) -> None:
    spike = 1 - int(trace.spikes["second"][3, 1, 2])
    found = compare(graph, trace, with_value(trace, "spikes", "second", (3, 1, 2), spike))
    assert (found.differing, found.states_differing, found.currents_differing, found.outputs_differing) == (1, 0, 0, 0)
    assert found.spikes - found.reference_spikes == 2 * spike - 1

    membrane = trace.states["second"]["v"][3, 1, 2]
    found = compare(graph, trace, with_value(trace, "states", "second", (3, 1, 2), membrane + 0.25))
    assert (found.differing, found.states_differing, found.currents_differing, found.outputs_differing) == (0, 1, 0, 0)
    assert found.max_membrane_error == pytest.approx(0.25, rel=1e-6)

    found = compare(graph, trace, with_value(trace, "currents", "first", (0, 0, 0, 0, 0), 9.0))
    assert (found.differing, found.states_differing, found.currents_differing, found.outputs_differing) == (0, 0, 1, 0)

    found = compare(graph, trace, with_value(trace, "outputs", "class", (11, 4, 3), -1.0))
    assert (found.differing, found.states_differing, found.currents_differing, found.outputs_differing) == (0, 0, 0, 1)
    assert found.divergence is not None
    assert (found.divergence.operation, found.divergence.node, found.divergence.index) == ("output", "class", (3,))
    assert not found.identical


def test_minus_zero_is_zero_and_a_nan_differs_even_from_itself(graph: Graph, trace: Trace) -> None:
    at = (2, 0, 1)
    zero, minus = (with_value(trace, "states", "second", at, value) for value in (0.0, -0.0))
    assert compare(graph, zero, minus).identical
    nan = with_value(trace, "states", "second", at, np.nan)
    found = compare(graph, nan, nan)
    assert found.states_differing == 1
    assert found.max_membrane_error == np.inf


def test_what_is_not_recorded_is_no_agreement(graph: Graph, trace: Trace) -> None:
    found = compare(graph, trace, dataclasses.replace(trace, states={}))
    assert not found.identical
    assert found.lacking[0] == "state v of 'first': nothing from the other, shape (12, 5, 3, 6, 6) from the reference"
    short = dataclasses.replace(trace, outputs={"class": trace.outputs["class"][:-1]})
    assert not compare(graph, trace, short).identical


def test_parts_of_a_run_add_up_to_the_whole(graph: Graph, trace: Trace) -> None:
    other = with_value(trace, "states", "second", (3, 4, 2), 7.0)
    other = with_value(other, "states", "first", (6, 1, 0, 0, 0), 7.0)

    def cut(t: Trace, first: int, last: int) -> Trace:
        states = {name: part(dict(values), first, last) for name, values in t.states.items()}
        outputs, spikes, currents = (part(dict(v), first, last) for v in (t.outputs, t.spikes, t.currents))
        return Trace(outputs, spikes, states, currents)  # type: ignore[arg-type]

    whole = compare(graph, trace, other)
    total = Comparison()
    for first, last in ((0, 2), (2, 5)):
        total += compare(graph, cut(trace, first, last), cut(other, first, last), first_sample=first)
    assert total == whole
    assert whole.divergence is not None
    assert (whole.divergence.tick, whole.divergence.sample) == (3, 4)
