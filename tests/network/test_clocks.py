"""Windows, dropped ticks, memories and scopes in torch: by hand, against the slow reference, in pieces."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel import Network
from neuroaccel.errors import GraphError, InputError, StateError
from neuroaccel.graph import Edge, Graph, Input, Node, Output, chain
from neuroaccel.graph import Keep as KeepNode
from neuroaccel.graph import Linear as LinearNode
from neuroaccel.graph import Readout as ReadoutNode
from neuroaccel.graph import Window as WindowNode
from neuroaccel.network import Keep, Memory, Scope, Window
from neuroaccel.network.nodes import InputPort, OutputPort
from neuroaccel.neurons import LI, LIF
from neuroaccel.program import LIF as LIF_SPEC
from neuroaccel.synapses import Delay, Flatten, Linear, Readout, Recurrent
from tests.conftest import examples
from tests.engine.reference import reference, same_trace
from tests.graphs import GRAPHS
from tests.random_graphs import neuron, random_graph, random_input


def spikes(*shape: int, seed: int = 0, rate: float = 0.4) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def masked(layers: dict[str, torch.nn.Module], mask: str = "frames") -> Network:
    """A row of layers behind a Keep, with its mask as a second input."""
    nodes = {"x": InputPort(), mask: InputPort(), "keep": Keep(), **layers, "y": OutputPort()}
    names = ["keep", *layers, "y"]
    pairs = [Edge(a, b) for a, b in itertools.pairwise(names)]
    return Network(nodes, [Edge("x", "keep"), Edge(mask, "keep", "mask"), *pairs])


@settings(max_examples=examples(60, 600))
@given(st.integers(0, 2**32 - 1))
def test_random_graphs_equal_the_slow_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, "tiny" if seed % 2 else "small", clocks=True, scopes=True)
    x = random_input(graph, rng, T=int(rng.integers(1, 10)), N=2)
    with torch.no_grad():
        _, _, trace = Network.from_graph(graph).eval().trace(torch.from_numpy(x))
    same_trace(trace, reference(graph, x))


@settings(max_examples=examples(40, 400))
@given(st.integers(0, 2**32 - 1))
def test_pieces_steps_and_masked_resets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, "tiny", clocks=True, scopes=True)
    net = Network.from_graph(graph).eval()
    x = torch.from_numpy(random_input(graph, rng, T=9, N=3))

    def outputs(x: torch.Tensor, state: Any = None) -> tuple[dict[str, torch.Tensor], Any]:
        y, state = net(x, state)
        return (y if isinstance(y, dict) else {"y": y}), state

    with torch.no_grad():
        whole, _ = outputs(x)
        first, state = outputs(x[:4])
        second, _ = outputs(x[4:], state)
        done = torch.tensor([False, True, False])
        after, _ = outputs(x[4:], net.reset(state, done))
        alone, _ = outputs(x[4:])
        stepped: list[dict[str, torch.Tensor]] = []
        state = None
        for t in range(9):
            y, state = net.step(x[t], state)
            stepped.append(y if isinstance(y, dict) else {"y": y})
    for name, values in whole.items():
        assert torch.equal(torch.cat([first[name], second[name]]), values)
        assert torch.equal(torch.stack([y[name] for y in stepped]), values)
        assert torch.equal(after[name][:, 1], alone[name][:, 1])
        assert torch.equal(after[name][:, ::2], values[4:, ::2])


def test_a_window_by_hand() -> None:
    net = Network([Window(3, 2), Flatten(1)])
    x = torch.arange(1.0, 8).reshape(7, 1, 1)
    y, _ = net(x)
    rows = {2: [1, 2, 3], 4: [3, 4, 5], 6: [5, 6, 7]}
    assert y.squeeze(1).tolist() == [[float(v) for v in rows.get(t, [0, 0, 0])] for t in range(7)]


def test_a_window_with_gaps_between_its_ticks() -> None:
    y, _ = Network([Window(1, 3), Flatten(1)])(torch.arange(1.0, 9).reshape(8, 1, 1))
    assert y.flatten().tolist() == [1, 0, 0, 4, 0, 0, 7, 0]


def test_a_memory_by_hand() -> None:
    y, state = Network([Memory(3)])(torch.arange(1.0, 5).reshape(4, 1, 1))
    assert y.reshape(4, 3).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert state["0"].flatten().tolist() == [3, 4]


def test_neurons_behind_a_window_rest_between_its_ticks() -> None:
    net = Network({"w": Window(1, 2), "f": Flatten(1), "n": LI(beta=0.5)})
    y, _, trace = net.trace(torch.ones(5, 1, 1))
    assert y.flatten().tolist() == [1, 0, 1.5, 0, 1.75]
    assert trace.states["n"]["v"].flatten().tolist() == [1, 1, 1.5, 1.5, 1.75]
    assert trace.currents["n"].flatten().tolist() == [1, 0, 1, 0, 1]


def test_neurons_behind_a_keep_catch_up() -> None:
    """What a Keep gives them is step(gap=...), bit for bit, for every sample by itself."""
    torch.manual_seed(0)
    layer, synapse = LIF(beta=0.9, threshold=0.4, v_leak=0.3), Linear(4, 3)
    with torch.no_grad():
        synapse.weight.abs_()
    net = masked({"w": synapse, "n": layer})
    x, mask = spikes(20, 3, 4), spikes(20, 3, 1, seed=5)
    y, _, trace = net.trace({"x": x, "frames": mask})
    assert 0 < y.sum() < y.numel()
    for sample in range(3):
        state, gap = None, 0
        for t in range(20):
            gap += 1
            if mask[t, sample, 0] == 0:
                assert y[t, sample].abs().sum() == 0
                continue
            current = synapse(x[t : t + 1, sample : sample + 1])[0][0]
            spike, state = layer.step(current, state, gap=gap)
            gap = 0
            assert torch.equal(spike[0], y[t, sample])
            assert np.array_equal(state["v"][0].detach().numpy(), trace.states["n"]["v"][t, sample])


def test_a_spike_in_a_silent_step_resets_and_is_not_sent() -> None:
    net = masked({"n": LIF(beta=1.0, threshold=0.5, v_leak=0.0, reset_delay=1)})
    x = torch.tensor([1.0, 0, 0, 0]).reshape(4, 1, 1)
    mask = torch.tensor([1.0, 0, 0, 1]).reshape(4, 1, 1)
    y, _, trace = net.trace({"x": x, "frames": mask})
    assert y.flatten().tolist() == [1, 0, 0, 0]
    assert trace.states["n"]["v"].flatten().tolist() == [1, 0, 0, 0]
    leaks = masked({"n": LIF(form="euler", rate=0.5, threshold=0.5, v_leak=2.0)})
    y, _, trace = leaks.trace({"x": 0 * x, "frames": mask})
    assert y.flatten().tolist() == [1, 0, 0, 1], "it fires at every tick, and sends at the kept ones"


def test_keeping_everything_changes_nothing() -> None:
    torch.manual_seed(0)
    layers = {"w": Linear(4, 5), "r": Recurrent(LIF(), Linear(5, 5)), "d": Delay(2), "o": Readout()}
    x = spikes(9, 2, 4)
    kept, _ = masked(layers)({"x": x, "frames": torch.ones(9, 2, 1)})
    plain, _ = Network(list(layers.values()))(x)
    assert torch.equal(kept, plain)


def test_recurrent_layers_and_recurrent_edges_drop_alike() -> None:
    torch.manual_seed(0)
    neuron_layer, back, first = LIF(beta=0.8), Linear(5, 5), Linear(4, 5)
    a = masked({"w": first, "r": Recurrent(neuron_layer, back)})
    nodes = {"x": InputPort(), "frames": InputPort(), "keep": Keep(), "w": first, "n": neuron_layer, "back": back}
    edges = [Edge("x", "keep"), Edge("frames", "keep", "mask"), Edge("keep", "w"), Edge("w", "n"), Edge("n", "y")]
    loop = [Edge("n", "back", recurrent=True), Edge("back", "n")]
    b = Network({**nodes, "y": OutputPort()}, [*edges, *loop])
    x, mask = spikes(15, 3, 4), spikes(15, 3, 1, seed=5, rate=0.6)
    (y, _, t), (z, _, u) = (net.trace({"x": x, "frames": mask}) for net in (a, b))
    assert y.abs().sum() > 0
    assert torch.equal(y, z)
    assert np.array_equal(t.states["r"]["v"], u.states["n"]["v"])


@pytest.mark.parametrize("how", ["spike_count", "mean_membrane", "max_membrane", "last_membrane"])
def test_a_readout_stands_over_dropped_ticks(how: Any) -> None:
    net = masked({"r": Readout(how)})
    x = torch.tensor([9.0, -3, 9, -1, -4, 9]).reshape(6, 1, 1)
    mask = torch.tensor([0.0, 1, 0, 1, 1, 0]).reshape(6, 1, 1)
    expected = {
        "spike_count": [0, -3, -3, -4, -8, -8],
        "mean_membrane": [0, -3, -3, -2, -8 / 3, -8 / 3],
        "max_membrane": [0, -3, -3, -1, -1, -1],
        "last_membrane": [0, -3, -3, -1, -4, -4],
    }[how]
    y, _ = net({"x": x, "frames": mask})
    assert y.flatten().tolist() == torch.tensor(expected).tolist()


def test_a_scope_by_hand() -> None:
    torch.manual_seed(0)
    inner = Network([Linear(3, 4), LIF(beta=0.7, threshold=0.2)])
    x = spikes(5, 2, 3)
    for state in ("carry", "reset"):
        held: Any = None
        steps = []
        for t in range(5):
            y, held = inner(x[t].expand(3, 2, 3), held if state == "carry" else None)
            steps.append(y)
        found = {how: Scope(inner, 3, state=state, output=how) for how in ("all", "last", "sum")}  # type: ignore[arg-type]
        expected = {
            "all": torch.stack([s.transpose(0, 1) for s in steps]),
            "last": torch.stack([s[-1] for s in steps]),
            "sum": torch.stack([s.sum(0) for s in steps]),
        }
        assert expected["sum"].sum() > 0
        for how, scope in found.items():
            assert torch.equal(scope(x, None)[0], expected[how])
    sliced = Scope(inner, 5, input="slice", output="all")
    y, _ = sliced(x.transpose(0, 1).unsqueeze(0), None)
    assert torch.equal(y[0].transpose(0, 1), inner(x)[0])


def test_a_carried_scope_stands_still_over_a_gap() -> None:
    torch.manual_seed(0)
    inner = Network([LI(beta=0.5)])
    net = masked({"s": Scope(inner, 2, state="carry")})
    x, mask = torch.ones(4, 1, 1), torch.tensor([1.0, 0, 0, 1]).reshape(4, 1, 1)
    y, _, trace = net.trace({"x": x, "frames": mask})
    assert y.flatten().tolist() == [1.5, 0, 0, 1.875]
    assert trace.states["s/0"]["v"].flatten().tolist() == [1, 1.5, 1.5, 1.5, 1.5, 1.5, 1.75, 1.875]


@pytest.mark.parametrize("name", ["decision_block", "flow_step", "frequency_tokens", "two_exits"])
def test_graphs_of_methods_run(name: str) -> None:
    graph = GRAPHS[name]()
    rng = np.random.default_rng(0)
    x = {}
    for port in graph.inputs:
        node = graph.nodes[port]
        assert isinstance(node, Input)
        binary = (rng.random((32, 1, *node.shape)) < 0.3).astype(np.float32)
        grid = node.grid
        x[port] = (
            binary if grid is None else (rng.integers(grid.low, grid.high, binary.shape) / 2**grid.frac).astype("f4")
        )
    with torch.no_grad():
        _, _, trace = Network.from_graph(graph).eval().trace({k: torch.from_numpy(v) for k, v in x.items()})
    same_trace(trace, reference(graph, x))
    assert any(np.count_nonzero(v) for v in trace.outputs.values())


def test_gradients_pass_windows_keeps_memories_and_scopes() -> None:
    torch.manual_seed(0)
    inner = Network([Linear(12, 4), LIF(), Linear(4, 2), LI()])
    net = masked(
        {
            "a": Linear(3, 4),
            "n": LIF(),
            "w": Window(3, 1),
            "f": Flatten(1),
            "s": Scope(inner, 2),
            "r": Readout("last_membrane"),
        }
    )
    x, mask = spikes(12, 16, 3), spikes(12, 16, 1, seed=3, rate=0.8).requires_grad_()
    labels = torch.arange(16) % 2
    x[:, ::2, 0] = 1
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(net({"x": x, "frames": mask})[0][-1], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.requires_grad)
    assert mask.grad is not None, "a mask can be learned"


def test_two_masks_of_the_same_name_one_of_them_late_are_two_clocks() -> None:
    nodes: dict[str, Node] = {"x": Input((2,)), "m": Input((1,)), "a": KeepNode(), "b": KeepNode(), "y": Output()}
    edges = (Edge("x", "a"), Edge("m", "a", "mask"), Edge("x", "b"), Edge("m", "b", "mask", recurrent=True))
    with pytest.raises(GraphError, match="different clocks"):
        Graph(nodes, (*edges, Edge("a", "y"), Edge("b", "y"))).validate()


def test_bad_options_and_states() -> None:
    inner = Network([LIF()])
    for build in (
        lambda: Window(0),
        lambda: Memory(0),
        lambda: Scope(inner, 0),
        lambda: Scope(inner, 1, output="mean"),
    ):  # type: ignore[arg-type]
        with pytest.raises(InputError):
            build()
    with pytest.raises(GraphError, match=r"takes \[4, \.\.\.\] to slice"):
        Scope(inner, 4, input="slice")(spikes(1, 2, 3), None)
    net = Network([Window(3, 1), Flatten(1)])
    _, state = net(spikes(5, 2, 3))
    with pytest.raises(StateError, match="Window: state has shape"):
        net(spikes(5, 4, 3), state)


def test_an_unsupported_node_in_a_scope_is_named_with_its_path() -> None:
    from neuroaccel.errors import UnsupportedNode
    from neuroaccel.graph import Scope as ScopeNode
    from neuroaccel.program import Arithmetic

    layer = LinearNode(np.ones((3, 3), np.float32), arithmetic=Arithmetic())
    graph = chain(
        {"x": Input((3,)), "s": ScopeNode(chain({"in": Input((3,)), "w": layer, "o": Output()}), 2), "y": Output()}
    )
    with pytest.raises(UnsupportedNode, match="'s/w'"):
        Network.from_graph(graph)


def test_clocks_of_cycles_are_decided_before_what_opens_them() -> None:
    """A Delay that opens a cycle behind a Window emits after the Window has decided."""
    rng = np.random.default_rng(0)

    def weights(out: int, n: int) -> LinearNode:
        return LinearNode((rng.integers(-8, 24, (out, n)) / 16).astype(np.float32))

    from neuroaccel.graph import Delay as DelayNode
    from neuroaccel.graph import Flatten as FlattenNode

    nodes: dict[str, Node] = {
        "late": DelayNode(np.int32(1)),
        "y": Output(),
        "x": Input((3,)),
        "w": WindowNode(2, 2),
        "f": FlattenNode(),
        "a": weights(4, 6),
        "n": neuron(LIF_SPEC(0.5, 0.5), (4,)),
        "back": weights(4, 4),
        "r": ReadoutNode(),
        "z": Output(),
    }
    pairs = ["x w", "w f", "f a", "a n", "n late", "late back", "back n", "late y", "n r", "r z"]
    graph = Graph(nodes, tuple(Edge(*p.split()) for p in pairs)).validate()
    assert graph.order.index("w") < graph.order.index("late")
    x = (rng.random((9, 2, 3)) < 0.6).astype(np.float32)
    with torch.no_grad():
        _, _, trace = Network.from_graph(graph).trace(torch.from_numpy(x))
    same_trace(trace, reference(graph, x))
    assert trace.outputs["y"].any()
