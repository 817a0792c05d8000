"""Schedules, block lengths, threads, lazy neurons: no result depends on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.engine.variants import differing, variants
from tests.random_graphs import random_graph, random_input


def test_no_variant_differs(examples: Callable[[int, int], int]) -> None:
    spikes = 0
    for seed in range(examples(60, 2000)):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng, "small")
        x = random_input(graph, rng, T=9, N=3)
        assert differing(graph, x) == {}, seed
        spikes += (
            sum(int(np.count_nonzero(v)) for v in variants(graph, x)["default"].outputs.values()) if seed < 9 else 0
        )
    assert spikes > 100  # silence would prove nothing


def test_a_difference_is_seen() -> None:
    rng = np.random.default_rng(1)
    graph = random_graph(rng, "small")
    found = variants(graph, random_input(graph, rng, T=9, N=3))
    default, other = found["default"], found["tick by tick"]
    key = next(iter(other.state))
    other.state[key] = other.state[key] + 1
    name, columns = next((name, c) for name, c in other.counts.items() if c)
    column = next(iter(columns))
    columns[column] = columns[column] + 1
    assert set(default.differences(other)) == {key, f"{name}:{column}"}
