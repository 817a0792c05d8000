"""What a decision costs by the ledger: a spiking model's tokens that are new in it, beside the dense twin's MACs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.costs import macs_per_decision
from neuroaccel.decision.dense import DenseDT
from neuroaccel.decision.deploy import Decider, SessionExecutor
from neuroaccel.decision.file import Trained
from neuroaccel.errors import InputError
from neuroaccel.ledger import Book, Profile
from neuroaccel.ledger.assemble import assemble
from neuroaccel.ledger.baselines import PROXY_SPIKE_PJ, Baseline, proxies
from neuroaccel.ledger.charge import Charger
from neuroaccel.training.decision_episode import open_env, phase_codes
from neuroaccel.training.decision_evaluate import Progress, check_fits, episode_seeds

Counts = Mapping[str, Mapping[str, NDArray[np.int64]]]


@dataclass(frozen=True, eq=False)
class DecisionCosts:
    """Counts of a spiking model's decisions in the engine, keys and values cached.

    Arguments:
        book: the algorithm book, whose samples are decisions and whose ticks are a decision's three new tokens.
        phase_spikes: int64 ``[N]``, of the phase code, which is a table and no neuron of the book.
        context_spikes: int64 ``[N]``, neurons' and phase's of all decisions in the context: what recomputing it costs.
        full: whether the context was full in all of them; else all decisions but an episode's first count.
        played, episodes: decisions in all, and episodes begun.
    """

    book: Book
    phase_spikes: NDArray[np.int64]
    context_spikes: NDArray[np.int64]
    full: bool
    played: int
    episodes: int

    @property
    def spikes(self) -> NDArray[np.int64]:
        """All spikes of each decision, the phase code's too, ``[N]``."""
        return self.book.total("spikes") + self.phase_spikes

    def proxies(self) -> dict[str, float]:
        """Figures that papers print, pJ per decision, never a total: ``proxy_spike_5pJ`` = 5 · spikes counts no MAC."""
        return proxies(self.book) | {"proxy_spike_5pJ": PROXY_SPIKE_PJ * float(self.spikes.mean())}


def count_decisions(
    trained: Trained, target: float, *, decisions: int = 50, seed: int = 0, progress: Progress | None = None
) -> DecisionCosts:
    """Play episodes in the engine until so many decisions with a full context are counted.

    Where episodes end before N decisions have gone by, the search stops after ``decisions`` + 10 N decisions, and all
    with three new tokens count, whatever their context.

    Arguments:
        trained: a spiking model; its notes name the environment.
        target: the return to ask for.
        decisions: how many to count.
        seed: of the episodes, those that :func:`~neuroaccel.training.decision_evaluate.sweep` plays for it, in order.
        progress: called with (counted, all).

    Raises:
        InputError: a dense model, an environment that it does not fit, or episodes of a single decision.
    """
    from neuroaccel import engine
    from neuroaccel.decision.to_graph import to_graph

    c, spiking = trained.config, trained.model
    if c.model != "snn-dt":
        raise InputError(f"spikes are counted of a spiking model; this one's model is {c.model}")
    if decisions < 1:
        raise InputError(f"{decisions} decisions; expected at least one")
    graph = to_graph(spiking)  # type: ignore[arg-type]
    session = engine.open(graph)
    decider = Decider(SessionExecutor(session), c, target, trained.normaliser)
    full: list[_Counted] = []
    partial: list[_Counted] = []
    seeds, played, begun = iter(episode_seeds(1000, (seed,))), 0, 0
    env = open_env(trained.about["env_id"])
    try:
        check_fits(c, env.observation_space, env.action_space)
        done, before, ended = False, _copied(session.counts), True
        recent: list[int] = []
        while not done:
            if ended:
                observation, _ = env.reset(seed=next(seeds))
                begun, recent = begun + 1, []
            (action,) = decider.act(np.asarray(observation)[None])
            now = _copied(session.counts)
            counts = {name: {k: v - before[name][k] for k, v in columns.items()} for name, columns in now.items()}
            before, step = now, len(recent)
            code = phase_codes(trained, step)
            phase = 0 if code is None else int(code.sum())
            recent.append(phase + sum(int(columns["spikes"][0]) for columns in counts.values() if "spikes" in columns))
            if step:
                one = _Counted(counts, phase, sum(recent[-c.context :]))
                (full if step >= c.context else partial).append(one)
            played += 1
            if progress is not None:
                progress(len(full), decisions)
            observation, reward, ends, late, _ = env.step(action)
            ended = bool(ends or late)
            done = len(full) == decisions or played >= decisions + 10 * c.context
            decider.observe([reward], [ended])
    finally:
        env.close()
    whole = len(full) == decisions
    used = full if whole else [*full, *partial][:decisions]
    if not used:
        raise InputError("every episode ended with its first decision, whose tokens are fewer: there is none to count")
    together = {
        name: {k: np.concatenate([one.counts[name][k] for one in used]) for k in columns}
        for name, columns in used[0].counts.items()
    }
    phases, contexts = (
        np.array(values, np.int64) for values in zip(*((u.phase, u.context) for u in used), strict=True)
    )
    return DecisionCosts(assemble(graph, together, ticks=3), phases, contexts, whole, played, begun)


@dataclass(frozen=True, eq=False)
class _Counted:
    """One decision's counts, ``[1]`` each, spikes of its phase code, and spikes of its whole context."""

    counts: Counts
    phase: int
    context: int


def _copied(counts: Counts) -> dict[str, dict[str, NDArray[np.int64]]]:
    return {name: {k: v.copy() for k, v in columns.items()} for name, columns in counts.items()}


def dense_energy(
    model: DenseDT | DecisionConfig, profile: Profile, *, cached: bool, int8: bool = False, reuse: bool = False
) -> Baseline:
    """Energy of a dense decision transformer's decision, once N steps have gone by.

    Every MAC is a multiplication and an addition (of 8-bit numbers into 32 bits where ``int8``); weights are read from
    the smallest memory that holds their matrix, keys and values from the one that holds a layer's cache, one per
    product. LayerNorm, softmax, ReLU, biases and activations cost nothing here, which favours the dense model.

    Arguments:
        model: of a model, pruned weights are left out.
        profile: of constants; one of a chip has none for dense layers.
        cached: whether keys and values are kept, or the window computed anew.
        int8: 8-bit numbers instead of float32.
        reuse: whether a weight is read once in a decision, or once per MAC.
    """
    c = model if isinstance(model, DecisionConfig) else model.config
    counts, once = macs_per_decision(model, cached=cached), macs_per_decision(model)
    how = ("cached" if cached else "recomputed", "int8" if int8 else "float32")
    name = f"dense DT, {', '.join(how)}, {'every weight read once' if reuse else 'a weight read per MAC'}"
    if profile.model == "chip":
        note = f"no constants for dense layers in '{profile.name}'; compare within a processor profile"
        return Baseline(name, counts.total, None, None, note)
    width = 1 if int8 else 4
    charger = Charger(profile, 1, strict=False)
    total = np.array([float(counts.total)])
    compute = charger.charge("int8_mul" if int8 else "fp32_mul", total, "multiplications")
    compute = compute + charger.charge("int32_add" if int8 else "fp32_add", total, "additions")
    memory: Any = charger.memory(_one(counts.products * width), 2 * c.width * c.band * width, "keys and values")
    # Weights of each part; a decision's three new tokens use those of the layers alike.
    weights = {"embed": once.embed, "attention": once.attention // 3, "hidden": once.hidden // 3, "head": once.head}
    for part, held in weights.items():
        reads = held if reuse else getattr(counts, part)
        footprint = held // (c.layers if part in ("attention", "hidden") else 1) * width
        memory = memory + charger.memory(_one(reads * width), footprint, part)
    if charger.missing:
        return Baseline(name, counts.total, None, None, "; ".join(charger.missing))
    pair = [(float(e[0, 0]), float(e[1, 0])) for e in (compute, memory)]
    return Baseline(name, counts.total, pair[0], pair[1], "no LayerNorm, softmax, biases or activations")


def _one(value: float) -> NDArray[np.float64]:
    return np.array([value], np.float64)
