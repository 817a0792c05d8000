"""What the decision transformers' experiment measures of a trained model: returns, spikes, operations, energy.

To be imported, not run.
"""

import copy
import math
import statistics
from dataclasses import replace

import numpy as np
import torch
from _decision_tables import PROFILES
from _decision_training import decider, normalised

from neuroaccel import engine
from neuroaccel.decision.baselines import MLPPolicy
from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.costs import macs_per_decision
from neuroaccel.decision.deploy import Decider, ModuleExecutor
from neuroaccel.decision.spiking import Record, SpikingDT, silenced, spike_counts
from neuroaccel.decision.to_graph import graph_inputs, snapped, to_graph
from neuroaccel.decision.windows import Normaliser
from neuroaccel.envs.offline import TrajectorySet
from neuroaccel.ledger import Book, book_of, energy, load_profile
from neuroaccel.ledger.charge import Charger
from neuroaccel.training.decision_evaluate import Acting, Episodes, episode_seeds, played

FRESH = 8_000_000  # first seed of the evaluation's environments
EPISODES = 50
COUNTED = 100  # decisions of an episode of which the ledger's counts are taken


def returns(make_acting, env_id: str, episodes: int) -> Episodes:
    return played(make_acting, env_id, episode_seeds(episodes, (0,), FRESH))


class Keeping(ModuleExecutor):
    """Keeps all tokens of a stream."""

    def __init__(self, model: torch.nn.Module, batch: int) -> None:
        super().__init__(model, batch)
        self.x: list[torch.Tensor] = []
        self.steps: list[torch.Tensor] = []

    def feed(self, x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        self.x.append(x)
        self.steps.append(steps)
        return super().feed(x, steps)


class Kept:
    """A decider whose executor's tokens are those of the first decisions only, which no episode has ended in."""

    def __init__(self, model: torch.nn.Module, normaliser: Normaliser, target: float, count: int) -> None:
        self.executor = Keeping(model, count)
        self.decider = Decider(self.executor, model.config, target, normaliser, episodes=count, warn=False)
        self.whole: int | None = None  # feeds before the first end

    def act(self, observations):
        return self.decider.act(observations)

    def observe(self, rewards, done=None):
        if self.whole is None and done is not None and np.any(done):
            self.whole = len(self.executor.x)
        self.decider.observe(rewards, done)

    def stream(self) -> tuple[torch.Tensor, torch.Tensor]:
        """``[E, L, token]`` and ``[E, L]`` up to the shortest episode's end: each begins with return and state."""
        ex = self.executor
        return torch.cat(ex.x[: self.whole], 1), torch.cat(ex.steps[: self.whole], 1)


def quantised(model: SpikingDT) -> SpikingDT:
    """Weights of synapses as whole numbers of 8 bits times a power of two, one for each layer."""
    out = copy.deepcopy(model)
    with torch.no_grad():
        for layer in out.modules():
            if isinstance(layer, torch.nn.Linear) and (top := float(layer.weight.abs().max())) > 0:
                unit = 2.0 ** math.ceil(math.log2(top / 127))
                layer.weight.copy_((layer.weight / unit).round() * unit)
    return snapped(out)


def in_8_bits(book: Book) -> Book:
    """The book of a :func:`quantised` model: weights stored in 8 bits, added up in 32; all else stays as it is."""
    facts, columns = {}, {}
    for name, f in book.facts.items():
        columns[name] = dict(book.columns[name])
        if f.weights:
            columns[name]["weight_bytes"] = -(-book.columns[name]["weight_bytes"] * 8 // f.weight_bits)
            f = replace(f, weight_bits=8, integer_bits=(8, 32))
        facts[name] = f
    return Book(book.ticks, facts, columns, book.dt)


def dense_energy(model, *, cached: bool = True, bits: int = 32) -> float:
    """Picojoules of a dense decision: its MACs and one read of a weight for each that reads one, at cmos45.

    As the ledger charges a network: every layer's weights lie in the smallest memory that holds them. Reads of cached
    keys and values, softmax, norms and activations are left out.
    """
    found, charger = macs_per_decision(model, cached=cached), Charger(load_profile("cmos45"), 1, strict=True)
    one = np.ones(1)
    total = charger.charge("int8_mul" if bits == 8 else "fp32_mul", one * found.total, "macs")
    total = total + charger.charge("int32_add" if bits == 8 else "fp32_add", one * found.total, "macs")
    if isinstance(model, MLPPolicy):
        sizes = [layer.weight.numel() for layer in model.layers if isinstance(layer, torch.nn.Linear)]
        parts = list(zip(sizes, sizes, strict=True))
    else:
        c = model if isinstance(model, DecisionConfig) else model.config
        d = c.width
        parts = [
            (found.embed, c.token_size * d),
            (found.attention * 3 // 4, 3 * d * d),
            (found.attention // 4, d * d),
            (found.hidden, c.hidden * d * d),
            (found.head, d * c.actions),
        ]
    for reads, weights in parts:
        total = total + charger.memory(one * reads * bits / 8, math.ceil(weights * bits / 8), "weights")
    return float(total.mean())


def dense_values(model) -> dict:
    values = {
        "macs_per_decision": macs_per_decision(model).total,
        "energy_pj": dense_energy(model),
        "energy_int8_pj": dense_energy(model, bits=8),
        "spikes_per_decision": 0.0,
    }
    if not isinstance(model, MLPPolicy):
        values |= {
            "macs_per_decision_recomputed": macs_per_decision(model, cached=False).total,
            "energy_recomputed_pj": dense_energy(model, cached=False),
            "energy_int8_recomputed_pj": dense_energy(model, cached=False, bits=8),
        }
    if isinstance(model, torch.nn.Module):
        values["parameters"] = sum(p.numel() for p in model.parameters())
    return values


def counted(model: SpikingDT, x: torch.Tensor, steps: torch.Tensor) -> tuple[Book, int, int, int]:
    """The engine's book of a stream, its decisions, its logits, and how many differ from the module's."""
    graph = to_graph(model)
    result = engine.run(graph, graph_inputs(model, x, steps), counts=True)
    (outputs,) = result.trace.outputs.values()
    with torch.no_grad():
        wanted = model(x, steps)
    got = torch.from_numpy(np.array(outputs)).transpose(0, 1).reshape(wanted.shape)
    if model.config.continuous:
        got = got.tanh()
    differing = int((got != wanted).sum())
    return book_of(graph, result), -(-x.shape[1] // 3), wanted.numel(), differing


def spiking_values(model: SpikingDT, normaliser: Normaliser, data: TrajectorySet, quick: bool) -> dict:
    """Spikes, operations and energy per decision of a spiking model in the engine."""
    target, env_id, c = data.expert_return, data.env_id, model.config
    held: list[Kept] = []

    def keep(count: int, what: SpikingDT = model) -> Acting:
        held.append(Kept(what, normaliser, target, count))
        return held[-1]

    eight = episode_seeds(2 if quick else 8, (0,), FRESH)
    played(keep, env_id, eight)
    x, steps = held[-1].stream()
    cache, decisions = model.cache(len(x)), -(-x.shape[1] // 3)
    by_layer: dict[str, float] = {}
    for first in range(0, x.shape[1], 90):
        record, part = Record(), slice(first, first + 90)
        with torch.no_grad():
            _, cache = model.extend(x[:, part], steps[:, part], cache, record)
        for name, spikes in record.spikes.items():
            by_layer[name] = by_layer.get(name, 0.0) + float(spikes.sum()) / len(x) / decisions
    total = sum(by_layer.values())
    values = {"spikes_per_decision": total} | {f"spikes_per_decision@{name}": v for name, v in by_layer.items()}
    # The whole context computed anew for each decision, as without a cache: N returns and states, N − 1 actions.
    ends = range(c.context - 1, decisions, max(1, decisions // 8))
    windows = [slice(3 * (at - c.context + 1), 3 * at + 2) for at in ends]
    if windows:
        again = spike_counts(model, torch.cat([x[:, w] for w in windows]), torch.cat([steps[:, w] for w in windows]))
        values["spikes_per_decision_context"] = float(sum(s.sum(1).mean() for s in again.values()))
    values["parameters"] = sum(p.numel() for p in model.parameters())
    if c.timestep:
        return values  # it has no graph
    few = slice(0, 3 * (20 if quick else COUNTED))
    book, n, logits, differing = counted(model, x[:, few], steps[:, few])
    values |= {"logits_counted": logits, "logits_differing": differing}
    report = {p: energy(book, p) for p in PROFILES}
    values |= {
        "macs_per_decision": book.mean("macs")[0] / n,
        "synaptic_events_per_decision": book.mean("synaptic_events")[0] / n,
        "neuron_updates_per_decision": book.mean("updates_driven")[0] / n,
        "elementwise_per_decision": book.mean("elementwise")[0] / n,
        "spikes_per_decision_engine": book.mean("spikes")[0] / n,
        "energy_pj": statistics.mean(report["cmos45"].mean_pj) / n,
        "energy_loihi1_pj": statistics.mean(report["loihi1-davies2018"].mean_pj) / n,
        # The paper's figure: 5 pJ for each spike and nothing else.
        "proxy_spike_5pJ_pj": 5.0 * total,
    }
    for part in ("synapse", "neuron", "memory"):
        values[f"energy_pj@{part}"] = statistics.mean(report["cmos45"].class_pj(part)) / n
    small = quantised(model)
    book8 = counted(small, x[:, few], steps[:, few])[0]
    values["energy_int8_pj"] = statistics.mean(energy(in_8_bits(book8), "cmos45").mean_pj) / n
    twin = c.model_copy(update={"model": "dt"})
    values |= {f"twin_{name}": v for name, v in dense_values(twin).items() if name != "spikes_per_decision"}
    many = 4 if quick else EPISODES
    found8 = returns(lambda k: decider(small, normaliser, target, k), env_id, many)
    values["return_int8"] = float(found8.returns.mean())
    quiet = returns(lambda k: decider(silenced(model), normaliser, target, k), env_id, many)
    values["return_silenced"] = float(quiet.returns.mean())
    values["normalised_return_silenced"] = normalised(data, values["return_silenced"])
    return values
