"""The first tick, node, neuron and operation at which two executors part, for mistakes whose place is known."""

from __future__ import annotations

import numpy as np
import pytest

from neuroaccel.graph import Graph, Input, Linear, Output, WeightGrid, chain
from neuroaccel.hardware.lava import quantise
from neuroaccel.program import ALIF, LI, LIF, CubaLIF, NeuronSpec
from neuroaccel.verify import Divergence, first_divergence, verify
from neuroaccel.verify.executors import Number, engine_trace
from tests.verify.networks import conv_network, events, impostor, nudged, population, with_threshold


def one_layer(spec: NeuronSpec, weights: list[list[float]]) -> Graph:
    weight = np.array(weights, np.float32)
    return chain(
        {
            "x": Input((weight.shape[1],)),
            "w": Linear(weight, grid=WeightGrid(6)),
            "layer": population(spec, len(weight)),
            "y": Output(),
        }
    )


def part_at(graph: Graph, other: Graph, x: np.ndarray, number: Number = "float32") -> Divergence:
    traces = [engine_trace(g, {name: x for name in g.inputs}, number) for g in (graph, other)]
    found = first_divergence(graph, *traces)
    assert found is not None
    return found


def test_a_weight_of_one_unit_is_found_as_a_current() -> None:
    graph = conv_network()
    x = events(graph)
    found = part_at(graph, nudged(graph, "dense", (2, 7)), x)
    assert (found.node, found.index, found.operation) == ("second", (2,), "current")
    assert found.expression == "i, the sum of dense"
    assert found.found - found.expected == pytest.approx(2.0**-6)
    # The earliest pooled event on the changed weight is where they part.
    pooled = engine_trace(graph, {"events": x}, "float32").spikes["first"]
    pooled = pooled.reshape(*pooled.shape[:3], 3, 2, 3, 2).sum(axis=(4, 6)).reshape(*pooled.shape[:2], 27)[..., 7]
    tick = int(np.argmax(pooled.any(axis=1)))
    assert (found.tick, found.sample) == (tick, int(np.argmax(pooled[tick] > 0)))


def test_a_threshold_one_float_higher_is_found_as_the_comparison_with_its_distance() -> None:
    graph = one_layer(LIF(beta=0.5, threshold=1.0, tie="ge"), [[0.5], [0.75], [0.25]])
    higher = np.array([1.0, np.nextafter(np.float32(1.0), np.float32(2.0)), 1.0], np.float32)
    # v of neuron 1: 0.75, 1.125, reset, ... ; with w = 0.5: 0.5, 0.75, 0.875, ... never 1.
    x = np.ones((6, 1, 1), np.float32)
    assert first_divergence(graph, *[engine_trace(g, {"x": x}, "float32") for g in (graph, graph)]) is None
    exact = one_layer(LIF(beta=0.5, threshold=1.0, tie="ge"), [[0.5], [1.0], [0.25]])
    found = part_at(exact, with_threshold(exact, "layer", higher), x)
    assert (found.tick, found.sample, found.node, found.index) == (0, 0, "layer", (1,))
    assert (found.operation, found.expression) == ("spike", "v >= threshold")
    assert (found.expected, found.found, found.distance) == (1, 0, 0.0)
    assert str(found) == (
        "tick 0, sample 0, 'layer'[1]: spike (v >= threshold) is 1 in the reference and 0 in the other; "
        "the membrane stood on its threshold"
    )


def test_a_lower_threshold_is_found_with_the_distance_of_the_reference() -> None:
    graph = one_layer(LIF(beta=0.5, threshold=1.0), [[0.75]])
    other = with_threshold(graph, "layer", np.float32(0.625))
    found = part_at(graph, other, np.ones((3, 1, 1), np.float32))
    assert (found.tick, found.operation, found.expected, found.found) == (0, "spike", 0, 1)
    assert found.distance == -0.25
    assert "the membrane stood 0.25 below its threshold" in str(found)


@pytest.mark.parametrize("tick", [0, 2])
def test_a_decay_is_found_as_a_state_in_the_tick_after_its_first_use(tick: int) -> None:
    graph = one_layer(LI(beta=0.5), [[0.5], [0.25]])
    other = one_layer(LI(beta=0.75), [[0.5], [0.25]])
    x = np.zeros((6, 2, 1), np.float32)
    x[tick, 1] = 1
    found = part_at(graph, other, x)
    assert (found.tick, found.sample, found.index) == (tick + 1, 1, (0,))
    assert (found.operation, found.expression) == ("state v", "v = add(v, i)")
    assert (found.expected, found.found, found.distance) == (0.25, 0.375, None)


def test_of_several_states_the_first_in_the_program_is_named() -> None:
    x = np.ones((4, 1, 1), np.float32)
    weights = [[0.25]]
    slow, fast = (one_layer(CubaLIF(beta_syn=b, beta=0.5, threshold=4.0), weights) for b in (0.5, 0.75))
    found = part_at(slow, fast, x)
    assert (found.tick, found.operation) == (1, "state u")
    assert found.distance == pytest.approx(0.5 * 0.25 + 0.375 - 4.0)


def test_the_distance_of_an_adaptive_neuron_is_to_its_own_threshold() -> None:
    x = np.ones((8, 1, 1), np.float32)
    specs = [ALIF(0.5, 0.5, rho=0.75, kappa=k) for k in (0.25, 0.375)]
    graph, other = (one_layer(spec, [[0.75]]) for spec in specs)
    found = part_at(graph, other, x)
    # Both fire at tick 0 (0.75 > 0.5). At tick 1 v = 0.75 still, the thresholds are 0.5 + 0.75·κ.
    assert (found.tick, found.operation, found.expression) == (1, "state level", "level = add(k, threshold)")
    assert (found.expected, found.found) == (0.5 + 0.75 * 0.25, 0.5 + 0.75 * 0.375)
    assert found.distance == 0.75 - found.expected


def test_integers_part_with_a_distance_too() -> None:
    graph = quantise(one_layer(LIF(beta=0.5, threshold=1.0), [[0.75], [0.5]]))[0]
    node = graph.nodes["layer"]
    threshold = np.asarray(node.parameters["threshold"])  # type: ignore[attr-defined]
    other = with_threshold(graph, "layer", np.float32(threshold / 2))
    found = part_at(graph, other, np.ones((3, 1, 1), np.float32), "integer")
    assert (found.tick, found.index, found.operation, found.found) == (0, (0,), "spike", 1)
    assert found.distance is not None
    assert -float(threshold) / 2 < found.distance < 0


def test_a_body_that_parts_is_not_blamed_on_the_comparison_that_follows() -> None:
    """0.5·0.75 + 0.75 fires; with a decay of 0.25 the same neuron stays silent."""
    graph, other = (one_layer(LIF(beta=b, threshold=1.0), [[0.75]]) for b in (0.5, 0.25))
    found = part_at(graph, other, np.ones((3, 1, 1), np.float32))
    assert (found.tick, found.operation, found.expression) == (1, "state v", "v = add(v, i)")
    assert (found.expected, found.found, found.distance) == (0.0, 0.9375, 0.125)


def test_the_earliest_tick_comes_before_the_earliest_node() -> None:
    graph = conv_network()
    x = events(graph)
    late = with_threshold(graph, "first", np.float32(1e6))  # silent: parts at the first spike of `first`
    found = part_at(graph, late, x)
    first = engine_trace(graph, {"events": x}, "float32").spikes["first"]
    assert (found.node, found.operation) == ("first", "spike")
    assert found.tick == int(np.argmax(first.reshape(len(first), -1).any(axis=1)))
    both = nudged(late, "dense", (0, 0))
    assert part_at(graph, both, x) == found


def test_verify_names_the_divergence_and_the_two_executors() -> None:
    graph = conv_network()
    report = verify(graph, events(graph), executors=("torch", impostor(nudged(graph, "conv", (1, 0, 2, 2)))), chunk=2)
    assert not report.ok
    assert report.executor("torch").status == "ok"
    row = report.executor("impostor")
    assert row.status == "differs"
    assert row.currents_differing
    assert row.first_divergence is not None
    assert row.first_divergence.node == "first"
    assert row.first_divergence.index[0] == 1
    assert "in engine float32" in row.reason
    assert "in impostor" in row.reason
    whole = verify(graph, events(graph), executors=(impostor(nudged(graph, "conv", (1, 0, 2, 2))),))
    assert whole.executor("impostor") == row
