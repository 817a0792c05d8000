"""One decision for one environment: the tokens of the action before, the return and the state, keys and values cached.

The recommended spiking model with random weights, exact, in the engine: a decision is three ticks of its graph, by tape
or node by node. Beside it the dense twin of the same width, layers, heads and band in torch, its three tokens in one
call: with its cache, eager and compiled, and with its whole context computed anew. The engine's logits are compared
with those of the module in torch, bit for bit.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from engine_bench.table import Contender, Table
from numpy.typing import NDArray
from torch import Tensor

from neuroaccel import engine
from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.dense import DenseDT
from neuroaccel.decision.spiking import SpikingDT
from neuroaccel.decision.to_graph import graph_inputs, snapped, to_graph
from neuroaccel.decision.tokens import Batch, tokens
from neuroaccel.decision.variants import compiled
from neuroaccel.engine.session import Session
from neuroaccel.errors import ExecutorUnavailable

CONFIG = DecisionConfig(state_size=4, actions=2)
DECISIONS = 20  # of one run
WORK = f"decision, {CONFIG.layers} layers of {CONFIG.width}, {CONFIG.heads} heads, {CONFIG.band} tokens"
OURS, COUNTING, ORDINARY = "neuroaccel", "neuroaccel (counting)", "neuroaccel (node by node)"
TORCH = f"torch {torch.__version__.split('+')[0]}"


def stream() -> tuple[Tensor, Tensor]:
    """An episode's tokens and timesteps, ``[1, 3 · DECISIONS, …]``."""
    steps = torch.arange(DECISIONS)[None]
    states = torch.randn(1, DECISIONS, CONFIG.state_size)
    actions = torch.randint(CONFIG.actions, (1, DECISIONS))
    returns = torch.linspace(1, 0, DECISIONS)[None, :, None]
    return tokens(Batch(returns, states, actions, steps, torch.ones(1, DECISIONS, dtype=torch.bool)), CONFIG)


def ticks(session: Session, values: dict[str, NDArray[np.float32]]) -> Callable[[], NDArray[np.float32]]:
    """All decisions, tick by tick; gives the logits of all tokens."""
    each = [{name: array[t] for name, array in values.items()} for t in range(3 * DECISIONS)]

    def run() -> NDArray[np.float32]:
        return np.stack([session.step(given)["logits"] for given in each])

    return run


def cached(model: Any, x: Tensor, steps: Tensor) -> Callable[[], Tensor]:
    """All decisions of a dense model, three tokens in a call."""
    parts = [(x[:, t : t + 3].clone(), steps[:, t : t + 3].clone()) for t in range(0, 3 * DECISIONS, 3)]
    cache = model.cache(1)

    def run() -> Tensor:
        nonlocal cache
        found = []
        with torch.inference_mode():
            for part, when in parts:
                predicted, cache = model.extend(part, when, cache)
                found.append(predicted)
        return torch.cat(found, 1)

    return run


def anew(model: DenseDT, x: Tensor, steps: Tensor) -> Callable[[], Tensor]:
    """All decisions, each from a whole context of tokens."""
    many = -(-CONFIG.band // x.shape[1])
    context, when = x.repeat(1, many, 1)[:, : CONFIG.band], steps.repeat(1, many)[:, : CONFIG.band]

    def run() -> Tensor:
        with torch.inference_mode():
            return torch.stack([model(context, when)[:, -2] for _ in range(DECISIONS)])

    return run


def work(table: Table) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, dense = snapped(SpikingDT(CONFIG).eval()), DenseDT(CONFIG).eval()
    x, steps = stream()
    with torch.no_grad():
        expected = model(x, steps).transpose(0, 1).numpy()
    values, plan = graph_inputs(model, x, steps), engine.compile_graph(to_graph(model))
    sessions = {
        OURS: Session(plan, counts=False, tape=True),
        COUNTING: Session(plan, tape=True),
        ORDINARY: Session(plan, counts=False),
    }
    contenders = [Contender(who, ticks(session, values), expected=expected) for who, session in sessions.items()]
    contenders.append(Contender(f"{TORCH} (dense, cached)", cached(dense, x, steps)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fast = cached(compiled(dense), x, steps)
            fast()
        contenders.append(Contender(f"{TORCH} (dense, cached, compiled)", fast))
    except ExecutorUnavailable as error:
        print(f"{TORCH} (dense, cached, compiled) does not take part: {error}")
    contenders.append(Contender(f"{TORCH} (dense, recomputed)", anew(dense, x, steps)))
    seconds = table.contest(WORK, contenders)
    for who, value in seconds.items():
        table.add(WORK, who, "time per decision", value / DECISIONS, "s", f"{value / seconds[OURS]:.2f}×")
    table.ratios(WORK, seconds, OURS)
