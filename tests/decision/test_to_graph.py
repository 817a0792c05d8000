"""The graph of a spiking decision transformer: exact, and the same in the module, in torch and in the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from neuroaccel.decision.spiking import spike_counts
from neuroaccel.decision.to_graph import graph_inputs, head_grid, snapped, to_graph
from neuroaccel.engine import run
from neuroaccel.errors import UnsupportedNode
from neuroaccel.graph import Linear, Plastic, Scope, infer
from neuroaccel.graph.counting import product_column
from neuroaccel.network import Network
from tests.decision.made_up import model_and_tokens

EXACT: list[dict[str, Any]] = [
    {},
    {"phase": False},
    {"routing": False, "layers": 1},
    {"bias": False},
    {"bias": False, "layers": 1, "heads": 1, "context": 1, "micro_steps": 2, "phase": False, "routing": False},
    {"stream": "analog"},
    {"stream": "analog", "phase": False, "routing": False},
    {"continuous": True, "actions": 1, "low": (-2.0,), "high": (2.0,), "micro_steps": 3},
]


@pytest.mark.parametrize("options", EXACT, ids=str)
def test_module_step_torch_and_engine_agree_bit_for_bit_over_ten_contexts(options: dict[str, Any]) -> None:
    model, x, steps = model_and_tokens(length=10 * 4, **options)
    graph = to_graph(model)
    assert infer(graph)["logits"].exact
    given = graph_inputs(model, x, steps)
    with torch.no_grad():
        expected = model(x, steps).transpose(0, 1)
        by_torch, _, trace = Network.from_graph(graph).trace({k: torch.from_numpy(v) for k, v in given.items()})
    by_engine = run(graph, given, record=True).trace
    logits = by_engine.outputs["logits"]
    assert np.array_equal(by_torch.numpy(), logits)
    found = torch.from_numpy(logits)
    assert torch.equal(found.tanh() if model.config.continuous else found, expected)
    assert found.std() > 0.01
    assert set(trace.spikes) == set(by_engine.spikes)
    for name, spikes in trace.spikes.items():
        assert np.array_equal(spikes, by_engine.spikes[name]), name


def test_spikes_and_synaptic_events_in_the_engine_are_those_of_the_module() -> None:
    model, x, steps = model_and_tokens()
    graph = to_graph(model)
    result = run(graph, graph_inputs(model, x, steps), record=True)
    found = spike_counts(model, x, steps)
    layers = {
        "embed": "embed_spikes/lif",
        **{f"block{i}.qkv": f"block{i}.counts/qkv" for i in range(2)},
        **{f"block{i}.mix": f"block{i}.out/mix" for i in range(2)},
        **{f"block{i}.hidden": f"block{i}.out/hidden" for i in range(2)},
        **{f"block{i}.out": f"block{i}.out/after" for i in range(2)},
    }
    assert set(layers) | {"phase"} == set(found)
    for layer, node in layers.items():
        assert result.counts[node]["spikes"].tolist() == found[layer].sum(1).tolist(), layer
    scope = graph.nodes["block0.counts"]
    assert isinstance(scope, Scope)
    project = scope.graph.nodes["project"]
    assert isinstance(project, Linear)
    spikes = result.trace.spikes["embed_spikes/lif"].sum(0)  # [B, d]
    events = spikes @ (project.weight != 0).sum(0)
    assert product_column(scope.graph, "project", infer(scope.graph)) == "synaptic_events"
    assert result.counts["block0.counts/project"]["products"].tolist() == events.tolist()
    assert events.min() > 0


def test_snapping_twice_changes_nothing_and_once_little() -> None:
    model, _, _ = model_and_tokens(snap=False)
    once = snapped(model)
    twice = snapped(once)
    for (name, a), (_, b), (_, c) in zip(
        once.named_parameters(), twice.named_parameters(), model.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
        limit = 1 / 16 if "router" in name else 1e-3
        assert (a - c).abs().max() <= limit, name
    first, second = to_graph(model), to_graph(once)
    for name, node in first.nodes.items():
        if hasattr(node, "weight"):
            assert np.array_equal(node.weight, second.nodes[name].weight)  # type: ignore[attr-defined]


def test_the_softmax_model_is_close() -> None:
    model, x, steps = model_and_tokens(attention="softmax", length=20, snap=False)
    graph = to_graph(model)
    assert not infer(graph)["logits"].exact
    with torch.no_grad():
        expected = snapped(model)(x, steps).transpose(0, 1).numpy()
    logits = run(graph, graph_inputs(model, x, steps)).trace.outputs["logits"]
    # A spike that falls the other way shows; almost all tokens have none.
    near = np.abs(logits - expected).max(-1) < 1e-4
    assert near.mean() > 0.95


def test_a_plastic_head_learns_the_same_bits_in_both_executors() -> None:
    model, x, steps = model_and_tokens(length=20)
    graph = to_graph(model, Plastic(0.9, 0.05, 2.0))
    assert infer(graph)["logits"].exact
    given = graph_inputs(model, x, steps)
    rng = np.random.default_rng(0)
    given["third"] = (rng.integers(-256, 257, (60, 2, 1)) / 256).astype(np.float32)
    logits = run(graph, given).trace.outputs["logits"]
    by_torch, _ = Network.from_graph(graph)({k: torch.from_numpy(v) for k, v in given.items()})
    assert np.array_equal(by_torch.detach().numpy(), logits)
    with torch.no_grad():
        still = snapped(model, 2.0)(x, steps).transpose(0, 1).numpy()
    assert np.array_equal(logits[:2], still[:2])
    assert not np.array_equal(logits, still)
    given["third"][:] = 0
    assert np.array_equal(run(graph, given).trace.outputs["logits"], still)
    assert head_grid(model, 2.0) <= head_grid(model)


def test_a_learned_vector_of_the_timestep_tells_timesteps_apart_and_has_no_graph() -> None:
    model, x, steps = model_and_tokens(phase=False, timestep=True, snap=False)
    with torch.no_grad():
        model.timestep.weight.mul_(10.0)
        assert not torch.equal(model(x, steps), model(x, steps + 50))
    with pytest.raises(UnsupportedNode, match="timestep"):
        to_graph(model)


def test_without_biases_a_layer_that_no_spike_reaches_is_not_updated() -> None:
    updates = []
    for bias in (True, False):
        model, x, steps = model_and_tokens(bias=bias, layers=1)
        with torch.no_grad():
            model.embed.weight.zero_()
            model.embed.bias.zero_()
        result = run(to_graph(model), graph_inputs(model, x, steps), counts=True)
        updates.append(int(result.counts["block0.counts/qkv"]["updates_driven"].sum()))
    assert updates[0] == x.shape[0] * x.shape[1] * model.config.micro_steps * 3 * model.config.width
    assert updates[1] == 0
