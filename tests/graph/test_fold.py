"""Folding pools away: several in a row, windows that are no squares, and what the dense baseline must remember."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuroaccel.graph import AvgPool2d, Conv2d, Flatten, Graph, Input, Linear, Output, SumPool2d, chain, infer
from neuroaccel.graph.fanout import fan_out
from neuroaccel.graph.fold import fold_pools
from neuroaccel.graph.nodes import Pool2d
from neuroaccel.network import Network
from tests.graphs.parts import weights


def outputs(graph: Graph, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(3, 2, 2, size, size, generator=generator) < 0.4).float()
    found: torch.Tensor = Network.from_graph(graph)(x)[0]
    return found


@pytest.mark.parametrize("pool", [SumPool2d, AvgPool2d])
@pytest.mark.parametrize("window", [(1, 2), (4, 2), (2, 8)])
def test_a_window_that_is_no_square_is_folded_exactly(pool: type[Pool2d], window: tuple[int, int]) -> None:
    conv = {"c": Conv2d(weights(1, 3, 2, 1, 1)), "f": Flatten(), "y": Output()}
    dense_inputs = 2 * (16 // window[0]) * (16 // window[1])
    dense = {"f": Flatten(), "w": Linear(weights(2, 5, dense_inputs)), "y": Output()}
    for behind in (conv, dense):
        graph = chain({"x": Input((2, 16, 16)), "p": pool(window, window), **behind})
        folded = fold_pools(graph)
        assert not folded.of_type(Pool2d)
        assert torch.equal(outputs(folded, 16), outputs(graph, 16))


def test_pools_in_a_row_are_all_folded_and_the_layer_as_it_was_is_remembered() -> None:
    layers = {
        "x": Input((2, 12, 12)),
        "a": SumPool2d((3, 3), (3, 3)),
        "b": SumPool2d((2, 2), (2, 2)),
        "f": Flatten(),
        "w": Linear(weights(3, 4, 8)),
        "y": Output(),
    }
    graph = chain(layers)
    folded = fold_pools(graph)
    assert not folded.of_type(Pool2d)
    assert torch.equal(outputs(folded, 12), outputs(graph, 12))
    node = folded.nodes["w"]
    assert isinstance(node, Linear)
    assert node.unfolded_nominal == fan_out(graph.nodes["w"], infer(graph)["f"].shape)[0].sum() == 4 * 8
    assert fan_out(node, infer(folded)["f"].shape)[0].sum() == 4 * 2 * 12 * 12


def test_a_pool_that_a_padded_convolution_would_read_beside_stays() -> None:
    """Windows that overlap: a window in the convolution's padding would still reach the input."""
    for stride, stays in ((1, True), (3, False)):
        weight = np.ones((1, 2, 3, 3), np.float32)
        pool = SumPool2d((3, 3), (stride, stride))
        graph = chain({"x": Input((2, 9, 9)), "p": pool, "c": Conv2d(weight, padding=(1, 1)), "y": Output()})
        folded = fold_pools(graph)
        assert ("p" in folded.nodes) == stays
        assert torch.equal(outputs(folded, 9), outputs(graph, 9))
