"""Neuron layers: the contract's arithmetic, state as a value, gaps, masked reset, dtype rules, compile."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from neuroaccel.errors import ProgramError, StateError
from neuroaccel.neurons import ALIF, IF, LI, LIF, CubaLIF, GradedLIF, Neuron

F = np.float32
LAYERS: dict[str, Any] = {
    "if": lambda: IF(threshold=1.3),
    "lif": lambda: LIF(beta=0.83),
    "lif ge subtract delay": lambda: LIF(beta=0.83, tie="ge", reset="subtract", reset_delay=1),
    "lif to value leak gain": lambda: LIF(reset="to_value", v_reset=-0.3, v_leak=0.2, gain=1.7),
    "lif euler": lambda: LIF(form="euler", rate=0.13, resistance=3.0, v_leak=0.1),
    "lif decay input": lambda: LIF(form="decay_input", tau=2.5, reset="to_value", v_reset=0.1),
    "cuba": lambda: CubaLIF(beta_syn=0.7, beta=0.9),
    "li": lambda: LI(beta=0.95),
    "alif": lambda: ALIF(beta=0.9, rho=0.95, kappa=0.3, reset="subtract"),
    "graded": lambda: GradedLIF(beta=0.9, threshold=0.5, bits=2),
}


def drive(ticks: int = 40, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(ticks, *shape, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.2


def by_hand(
    x: np.ndarray, beta: float, theta: float, tie: str, reset: str, delay: int
) -> tuple[np.ndarray, np.ndarray]:
    """DESIGN's decay form in float32, one rounding per operation, written without the program language."""
    v, r = F(0), F(0)
    beta32, theta32 = F(beta), F(theta)
    spikes, membranes = [], []
    for i in x.astype(F):
        v = F(beta32 * v)
        v = F(0) if abs(v) < F(2.0**-100) else v
        v = F(v + i)
        if delay == 1 and r:
            v = F(v - theta32) if reset == "subtract" else F(0)
        s = v > theta32 if tie == "gt" else v >= theta32
        r = F(s)
        if delay == 0 and s:
            v = F(v - theta32) if reset == "subtract" else F(0)
        spikes.append(float(s))
        membranes.append(v)
    return np.array(spikes), np.array(membranes)


@pytest.mark.parametrize("tie", ["gt", "ge"])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("delay", [0, 1])
def test_decay_form_equals_the_contract_written_by_hand(tie: str, reset: str, delay: int) -> None:
    x = (drive(200, 1, seed=3) * 16).round() / 16  # sixteenths, so that ties at the threshold happen
    layer = LIF(beta=0.75, threshold=1.0, tie=tie, reset=reset, reset_delay=delay)
    y, _, history = layer.trace(x)
    spikes, membranes = by_hand(x[:, 0].numpy(), 0.75, 1.0, tie, reset, delay)
    assert np.array_equal(y[:, 0].numpy(), spikes)
    assert np.array_equal(history["v"][:, 0].numpy(), membranes)
    assert spikes.sum() > 10


def test_a_tie_fires_only_with_ge() -> None:
    x = torch.ones(1, 1, 1)
    assert LIF(threshold=1.0, tie="gt")(x)[0].item() == 0
    assert LIF(threshold=1.0, tie="ge")(x)[0].item() == 1


@pytest.mark.parametrize("name", LAYERS)
def test_a_sequence_equals_its_pieces_and_its_steps(name: str) -> None:
    layer, x = LAYERS[name](), drive(30, 3, 5)
    whole, end = layer(x)
    first, state = layer(x[:11])
    second, state = layer(x[11:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    stepped, step_state = [], None
    for i in x:
        y, step_state = layer.step(i, step_state)
        stepped.append(y)
    assert torch.equal(torch.stack(stepped), whole)
    assert all(torch.equal(state[k], end[k]) and torch.equal(step_state[k], end[k]) for k in end)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("gap", [1, 2, 7])
def test_a_gap_is_silent_steps_bit_for_bit(name: str, gap: int) -> None:
    layer, x = LAYERS[name](), drive(12, 2, 4, seed=5)
    _, state = layer(x[:11])
    y, after = layer.step(x[11], state, gap=gap)
    expected = state
    for _ in range(gap - 1):
        _, expected = layer.step(torch.zeros(2, 4), expected)
    z, expected = layer.step(x[11], expected)
    assert torch.equal(y, z)
    assert all(torch.equal(after[k], expected[k]) for k in expected)


@pytest.mark.parametrize("name", LAYERS)
def test_masked_reset_restores_exactly_the_fresh_state(name: str) -> None:
    layer, x = LAYERS[name](), drive(20, 4, 3, seed=1)
    _, state = layer(x)
    done = torch.tensor([True, False, True, False])
    after = layer.reset(state, done)
    clean = layer.fresh(x[0])
    for k in state:
        assert torch.equal(after[k][done], clean[k][done])
        assert torch.equal(after[k][~done], state[k][~done])
    assert any(not torch.equal(state[k], clean[k]) for k in state)


def test_state_is_a_value() -> None:
    layer, x = LIF(), drive(10, 2, 3)
    _, state = layer(x)
    before = {k: v.clone() for k, v in state.items()}
    layer(x, state)
    assert all(torch.equal(state[k], before[k]) for k in state)


def test_another_batch_size_with_live_state_raises() -> None:
    layer = LIF()
    _, state = layer(drive(3, 4, 5))
    with pytest.raises(StateError, match=r"\(4, 5\).*\(2, 5\)"):
        layer(drive(3, 2, 5), state)
    with pytest.raises(StateError, match="has no 'v'"):
        layer(drive(3, 4, 5), {"u": state["v"]})
    with pytest.raises(StateError, match="gap"):
        layer.step(drive(1, 4, 5)[0], state, gap=0)
    with pytest.raises(StateError, match="at least one tick"):
        layer(drive(3, 4, 5)[:0])


def test_parameters_are_in_the_state_dict_and_learnable_ones_per_neuron() -> None:
    layer = LIF(beta=0.8, learnable={"beta", "threshold"}, shape=(5,), reset="subtract", tie="ge")
    assert set(layer.state_dict()) == {"beta", "threshold"}
    assert {n for n, _ in layer.named_parameters()} == {"beta", "threshold"}
    y, _ = layer(drive(20, 3, 5))
    y.sum().backward()
    assert layer.beta.grad.shape == (5,)
    assert torch.all(layer.beta.grad != 0)
    other = LIF(beta=0.1, learnable={"beta", "threshold"}, shape=(5,), reset="subtract", tie="ge")
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(drive(20, 3, 5))[0], y.detach())


def test_learnable_parameters_stay_inside_their_bounds() -> None:
    layer = LIF(beta=0.99, learnable={"beta"})
    with torch.no_grad():
        layer.beta.fill_(1.5)
    assert layer.values()["beta"].item() == 1.0
    (-layer.values()["beta"]).backward()  # a descent step would push it further out
    assert layer.beta.grad.item() == 0
    layer.beta.grad = None
    layer.values()["beta"].backward()  # and this one back in
    assert layer.beta.grad.item() == 1


def test_detach_reset_cuts_the_gradient_through_the_reset_and_changes_no_value() -> None:
    x = drive(15, 2, 3).requires_grad_()
    grads, outs = [], []
    for detach in (True, False):
        y, _ = LIF(detach_reset=detach, reset="subtract")(x)
        (grad,) = torch.autograd.grad((y * torch.arange(15.0)[:, None, None]).sum(), x)
        grads.append(grad)
        outs.append(y)
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(grads[0], grads[1])


def test_membrane_and_operations_stay_float32_under_autocast() -> None:
    layer, x = LIF(beta=0.9), drive(20, 3, 8)
    plain, _, history = layer.trace(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _, cast = layer.trace(x)
    assert y.dtype == torch.float32
    assert torch.equal(y, plain)
    assert torch.equal(cast["v"], history["v"])


def test_deepcopy_is_independent_and_equal() -> None:
    layer = LIF(beta=0.9, learnable={"beta"})
    twin = copy.deepcopy(layer)
    x = drive(10, 2, 3)
    assert torch.equal(layer(x)[0], twin(x)[0])
    with torch.no_grad():
        twin.beta.fill_(0.1)
    assert layer.beta.item() == pytest.approx(0.9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, from inside its compiler
@pytest.mark.parametrize("name", LAYERS)
def test_step_compiles_without_graph_breaks(name: str) -> None:
    torch._dynamo.reset()
    layer, x = LAYERS[name](), drive(4, 2, 3)
    compiled = torch.compile(layer.step, backend="aot_eager", fullgraph=True)
    state = other = None
    for i in x:
        y, state = layer.step(i, state)
        z, other = compiled(i, other)
        assert torch.equal(y, z)
    assert all(torch.equal(state[k], other[k]) for k in state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", LAYERS)
def test_cuda_gives_the_same_spikes_and_membranes(name: str) -> None:
    layer, x = LAYERS[name](), drive(50, 3, 7)
    y, _, history = layer.trace(x)
    z, _, there = layer.cuda().trace(x.cuda())
    assert torch.equal(z.cpu(), y)
    assert all(torch.equal(there[k].cpu(), history[k]) for k in history)


def test_graded_spikes_count_thresholds_and_clip() -> None:
    layer = GradedLIF(beta=1.0, threshold=1.0, bits=2)
    y, state = layer(torch.tensor([[[0.5]], [[2.0]], [[9.0]]]))
    assert y.flatten().tolist() == [0.0, 2.0, 3.0]
    assert state["v"].item() == 6.5


def test_a_parameter_may_not_hide_a_module_attribute() -> None:
    from neuroaccel.program import Assign, NeuronSpec, Parameter, Program, State
    from neuroaccel.program.language import Emit

    program = Program(
        "odd", (State("v"),), (Parameter("train"),), (Assign("v", "add", ("v", "i")),), emit=Emit("state", "v")
    )
    with pytest.raises(ProgramError, match="train"):
        Neuron(NeuronSpec(program, {"train": 1.0}))
