"""Torch and the engine on random graphs: not one current, membrane or spike may differ."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.verify import verify
from neuroaccel.verify.decisions import is_exact
from tests.conftest import examples
from tests.random_graphs import random_graph, random_input


@settings(max_examples=examples(200, 2000))
@given(st.integers(0, 2**32 - 1))
def test_torch_equals_the_engine(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, clocks=seed % 2 == 0, scopes=seed % 2 == 0)
    assert is_exact(graph)
    report = verify(graph, random_input(graph, rng, T=int(rng.integers(1, 12)), N=3), executors=("torch", "engine"))
    for row in report.executors:
        assert row.status == "ok", row.reason
        assert (row.differing, row.currents_differing, row.states_differing) == (0, 0, 0)
        assert (row.outputs_differing, row.max_membrane_error) == (0, 0.0)
    assert report.ok


def test_random_graphs_do_spike() -> None:
    """What the property above compares is not silence."""
    spikes = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng)
        report = verify(graph, random_input(graph, rng, T=8, N=2), executors=("torch",))
        spikes.append(report.executors[0].spikes or 0)
    assert np.mean(np.array(spikes) > 0) > 0.7
