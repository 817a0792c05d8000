"""Tables of the decision transformers' experiment, and what it is of: tasks, arms, bars."""

import statistics
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from _rows import Row, found, paired

PROFILES = ("cmos45", "loihi1-davies2018")
BAR = 0.9  # normalised return to reach


class Task(NamedTuple):
    """What is played, from which data.

    Arguments:
        env_id: the environment.
        noise: in the expert's executed actions.
        lower: a lower return to ask for.
        token: what the return's tokens are.
        decisions: in the data.
        sizes: of its models, where they differ.
        options: of their trainings, likewise.
    """

    env_id: str
    noise: float
    lower: float
    token: str = "to-go"
    decisions: int = 10_000
    sizes: Mapping[str, Any] = MappingProxyType({})
    options: Mapping[str, Any] = MappingProxyType({})


LARGE = {"batch_size": 128, "steps": 3000, "validate_every": 300}
TASKS = {
    "CartPole-v1": Task("CartPole-v1", 0.2, 100.0),
    "MountainCar-v0": Task("MountainCar-v0", 0.1, -160.0),
    "Acrobot-v1": Task("Acrobot-v1", 0.1, -200.0),
    "Pendulum-v1": Task("Pendulum-v1", 0.2, -800.0),
    "Pendulum-v1-total": Task("Pendulum-v1", 0.2, -800.0, "total"),
    "Pendulum-v1-total-100k": Task("Pendulum-v1", 0.2, -800.0, "total", 100_000, {"width": 128}, LARGE),
    "CartPoleNoVelocity": Task("neuroaccel/CartPoleNoVelocity-v0", 0.2, 100.0),
}
MAIN = ("dt", "snn-dt-exact", "snn-dt-spiking", "linear-policy", "mlp", "dt-small", "snn-dt", "snn-dt-silent")
ABLATIONS = (
    *("snn-dt-phase-off", "snn-dt-timestep", "snn-dt-routing-off"),
    *("snn-dt-phase-routing-off", "snn-dt-plasticity-on"),
)
ARMS = MAIN + ABLATIONS


def shown(values: dict[int, float], digits: int, scale: float = 1.0) -> str:
    if not values:
        return "–"
    each = [v * scale for v in values.values()]
    text = f"{statistics.mean(each):,.{digits}f}"
    return f"{text} ± {statistics.stdev(each):,.{digits}f}" if len(each) > 1 else text


def mean(rows: list[Row], task: str, arm: str, metric: str) -> float | None:
    values = found(rows, task, arm, metric)
    return statistics.mean(values.values()) if values else None


def interval_of(a: np.ndarray, b: np.ndarray, statistic, draws: int = 4000) -> tuple[float, float]:
    """95 % of a statistic of two arms' returns [seeds, episodes], seeds and episodes drawn anew, the same for both."""
    rng, out = np.random.default_rng(0), np.empty(draws)
    for i in range(draws):
        seeds, episodes = rng.integers(len(a), size=len(a)), rng.integers(a.shape[1], size=a.shape[1])
        out[i] = statistic(a[seeds][:, episodes].mean(), b[seeds][:, episodes].mean())
    low, high = np.percentile(out, (2.5, 97.5))
    return float(low), float(high)


def comparisons(rows: list[Row], task: str) -> list[str]:
    """Normalised returns of the spiking arms over the dense one's, and what the ablations change."""
    chance, best = (mean(rows, task, a, m) for a, m in (("dt", "random_return"), ("dt", "expert_return")))
    if chance is None:
        return []
    lines = []
    for arm in ("snn-dt-exact", "snn-dt-spiking", "snn-dt", "snn-dt-silent"):
        if (pair := paired(rows, task, arm, "dt", "returns")) is None:
            continue
        ratio = lambda a, b: (a - chance) / (b - chance)  # noqa: E731
        low, high = interval_of(*pair, ratio)
        text = f"- {arm} / dt, normalised: {ratio(pair[0].mean(), pair[1].mean()):.3f}, 95 % {low:.3f} to {high:.3f}"
        word = "reaches" if low >= BAR else "misses"
        lines.append(f"{text} ({len(pair[0])} seeds); the lower bound {word} 0.9.")
    if task == "CartPoleNoVelocity":
        difference = lambda a, b: a - b  # noqa: E731
        for arm in ("dt", "snn-dt-exact", "snn-dt-spiking"):
            if (pair := paired(rows, task, arm, "mlp", "returns")) is not None:
                low, high = interval_of(*pair, difference)
                lines.append(
                    f"- {arm} − mlp (no memory), return: {pair[0].mean() - pair[1].mean():+.1f}, 95 % {low:+.1f} to "
                    f"{high:+.1f} ({len(pair[0])} seeds)."
                )
    for arm in ABLATIONS:
        if (pair := paired(rows, task, arm, "snn-dt-exact", "returns")) is None:
            continue
        difference = lambda a, b: (a - b) / (best - chance)  # noqa: E731
        low, high = interval_of(*pair, difference)
        word = "spans 0: nothing is claimed" if low <= 0 <= high else "does not span 0"
        lines.append(
            f"- {arm} − snn-dt-exact, normalised: {difference(pair[0].mean(), pair[1].mean()):+.3f}, 95 % {low:+.3f} "
            f"to {high:+.3f} ({len(pair[0])} seeds); {word}."
        )
    return lines


def requirements(rows: list[Row], task: str) -> list[str]:
    """What the arms had to reach, and whether they did."""
    lines = []
    bars = {"CartPole-v1": 475.0, "MountainCar-v0": -110.0, "Acrobot-v1": -90.0}
    for arm in ("dt", "snn-dt-exact", "snn-dt-spiking"):
        reached = mean(rows, task, arm, "return")
        if reached is not None and task in bars:
            word = "reached" if reached >= bars[task] else "missed"
            lines.append(f"- {arm}: return {reached:.1f}, {bars[task]:g} {word}.")
    if task.startswith("Pendulum"):
        if (reached := mean(rows, task, "dt", "return")) is not None:
            lines.append(f"- dt: return {reached:.1f}, −200 {'reached' if reached >= -200 else 'missed'}.")
        for arm in ("snn-dt-exact", "snn-dt-spiking", "snn-dt"):
            if (reached := mean(rows, task, arm, "normalised_return")) is not None:
                lines.append(f"- {arm}: normalised {reached:.3f}, 0.9 {'reached' if reached >= BAR else 'missed'}.")
    lower = f"return@{TASKS[task].lower:g}"
    for arm in ("dt", "snn-dt-exact", "snn-dt-spiking", "snn-dt"):
        top, low = mean(rows, task, arm, "return"), mean(rows, task, arm, lower)
        if top is not None and low is not None:
            asked = f"{TASKS[task].lower:g} instead of the expert's return"
            lines.append(f"- {arm} asked for {asked}: {low:.1f} against {top:.1f}.")
    few, spikes = (found(rows, task, "snn-dt-spiking", m) for m in ("normalised_return", "spikes_per_decision"))
    if few:
        a, b = statistics.median(few.values()), statistics.median(spikes.values())
        word = "reached" if a >= BAR and b < 10 else "missed"
        lines.append(
            f"- snn-dt-spiking: medians over seeds ({len(few)}), normalised return {a:.3f} at {b:.2f} spikes per "
            f"decision; 0.9 below 10 spikes {word}."
        )
    return lines


def factors(rows: list[Row], task: str) -> list[str]:
    """Energy of the dense model over the spiking one, as a product of caching, size and spikes."""
    recomputed, cached = (mean(rows, task, "dt", m) for m in ("energy_recomputed_pj", "energy_pj"))
    if recomputed is None:
        return []
    lines = [
        "| spiking arm | dt recomputed / it | = caching | × size | × spikes | 8 bits: spikes | dt-small / it "
        "| mlp / it | linear / it | 8 bits: dt-small / it |",
        "|---" * 10 + "|",
    ]
    for arm in ("snn-dt-exact", "snn-dt-spiking", "snn-dt", "snn-dt-silent"):
        own, own8 = (mean(rows, task, arm, m) for m in ("energy_pj", "energy_int8_pj"))
        twin, twin8 = (mean(rows, task, arm, m) for m in ("twin_energy_pj", "twin_energy_int8_pj"))
        if own is None:
            continue
        cells = [f"{v:.3g}" for v in (recomputed / own, recomputed / cached, cached / twin, twin / own, twin8 / own8)]
        for other in ("dt-small", "mlp", "linear-policy"):
            theirs = mean(rows, task, other, "energy_pj")
            cells.append("–" if theirs is None else f"{theirs / own:.3g}")
        theirs = mean(rows, task, "dt-small", "energy_int8_pj")
        cells.append("–" if theirs is None else f"{theirs / own8:.3g}")
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    if len(lines) == 2:
        return []
    notes = []
    for arm in ("snn-dt-exact", "snn-dt-spiking"):
        own = mean(rows, task, arm, "energy_pj")
        # With a context of one decision a cache keeps a token more than is needed.
        ways = (mean(rows, task, "dt-small", m) for m in ("energy_pj", "energy_recomputed_pj"))
        small = min((v for v in ways if v is not None), default=None)
        proxy, macs = mean(rows, task, arm, "proxy_spike_5pJ_pj"), mean(rows, task, "dt", "macs_per_decision")
        if own and small and arm == "snn-dt-spiking":
            equal = (mean(rows, task, arm, "normalised_return") or 0.0) >= BAR
            word = "reached" if equal and small / own >= 2 else "missed"
            note = "" if equal else ", but not at an equal return"
            notes.append(f"- {arm}: smallest dense DT / it is {small / own:.3g}{note}; the aim of 2 is {word}.")
        if proxy and macs and own:
            notes.append(
                f"- {arm}, by the paper's way of comparing: 4.6 pJ for each MAC of the cached dt over the proxy is "
                f"{4.6 * macs / proxy:,.0f}; its energy by the ledger is {own / proxy:,.0f} times the proxy."
            )
    return [*lines, "", *notes]


RETURNS = (
    ("return", "return", 1),
    ("normalised_return", "normalised", 3),
    ("return_int8", "8-bit weights", 1),
    ("return_silenced", "silenced", 1),
    ("spikes_per_decision", "spikes, newest tokens", 2),
    ("spikes_per_decision_context", "whole context", 1),
    ("parameters", "parameters", 0),
)
COSTS = (
    ("macs_per_decision", "MACs", 0, 1.0),
    ("macs_per_decision_recomputed", "recomputed", 0, 1.0),
    ("synaptic_events_per_decision", "synaptic events", 0, 1.0),
    ("neuron_updates_per_decision", "neuron updates", 0, 1.0),
    ("elementwise_per_decision", "elementwise", 0, 1.0),
    ("energy_pj", "energy / nJ", 3, 1e-3),
    ("energy_recomputed_pj", "recomputed / nJ", 1, 1e-3),
    ("energy_int8_pj", "8 bits / nJ", 3, 1e-3),
    ("energy_loihi1_pj", "Loihi 1 / nJ", 3, 1e-3),
    ("proxy_spike_5pJ_pj", "proxy 5 pJ per spike / nJ", 3, 1e-3),
)
HEAD = """# Decision transformers, spiking and dense

Written by `scripts/experiments/decision --render` from `decision.json`; mean ± sample standard deviation over seeds of
the training. All arms of a task have the same data (half the expert's decisions with noise in the executed actions,
half random) and play the same 50 episodes, which were played for these rows alone: settings were compared on other
episodes and other training seeds, and checkpoints are chosen on others again. Normalised = (R − random) / (expert −
random), both measured over 100 episodes. Intervals: bootstrap over seeds and episodes, paired. Ours throughout; no
table of the paper (arXiv 2508.21505) is reproduced.

- `snn-dt-exact`: counts attention and a stream of spikes, width 64, 2 layers, 4 heads, T = 4, N = 10: the recommended
  model. `snn-dt-spiking`: the same kind, trained for few spikes, the first of a ladder that validates (below): no
  analog path leads from state to action in either. `snn-dt`: softmax and an analog residual stream; `snn-dt-silent`:
  the same, trained with neurons that never fire, so that only the analog path is left.
- Ablations of `snn-dt-exact`: `phase-off`, `routing-off`, both (`phase-routing-off`); `timestep`, a learned vector of
  the timestep instead of the phase code, which no graph holds; `plasticity-on`, the three-factor rule at the head in
  training.
- `dt`: the dense twin of width 64. `dt-small` and `mlp`: the first of a ladder of sizes whose validation return is at
  least 95 % normalised, or the best of it. `linear-policy`: argmax(W s + b); with two actions the difference of their
  rows decides as well, half its MACs (4 on CartPole). `mlp` and `linear-policy` clone the better half of the data.
- `snn-dt-spiking`'s ladder, by the same 95 %: one layer and one head, without phase code, routing and biases, context
  1, width 4 or 8, T 2 or 4, for 8 spikes, then for 16; then width 16 or 32, two heads, with routing and biases, context
  10, for 16 and 32. The loss has a hinge on spikes per decision, whose bound falls from 64 (from 800 for the last two)
  to those over the first half of the training.
- Training: AdamW, batches of 64 windows, a rise and a cosine of the learning rate. 1600 steps (`snn-dt` and its silent
  twin 800, the ladders' transformers 1000; on Pendulum those outside the ladders 4000). `Pendulum-v1-total-100k`: ten
  times the data, width 128 for spiking and dense, 3000 steps of 128 windows.
- Spikes: of all LIF layers and the phase code. *Newest tokens*: the three of a decision, with cached keys and values;
  *whole context*: all tokens of the window computed anew. *Silenced*: the trained model with thresholds out of reach;
  the pictures show it hollow.
- Energy under `cmos45`, per decision, by the algorithm's counts: spiking arms by the ledger on the graph that the
  engine ran (first 100 decisions of 8 episodes, up to the end of the shortest one; additions, MACs, neurons, weights,
  states, events); dense arms by their MACs and a weight read for each that reads one, nothing for cached keys and
  values, activations, softmax and norms, which favours them. A range of constants is taken at its middle. *8 bits*:
  weights in 8 bits and sums in 32 on both sides; neurons and attention of the spiking arms stay in 32.
- `loihi1-davies2018` has no constant for the MACs of the embedding and the attention and none for dense layers, so its
  column is a lower bound and dense arms have none.
- The *proxy* is the paper's: 5 pJ times spikes. It counts no MAC, no memory, no neuron update and no attention;
  set against a dense model's MACs it gives the factors of tens of thousands that are named below each task.
- Logits of the engine are those of the module bit for bit with counts attention; softmax is a close node, and a few of
  them differ.
"""
FEW_NOTE = """
Where the few-spikes model fires. Its attention (`qkv`) does little, and nothing where that is 0: it is then a spiking
feed-forward policy of the current state, and cannot heed the return it is asked for, which is another token."""


def tables(rows: list[Row]) -> list[str]:
    """The lines of docs/results/decision.md."""
    lines = HEAD.splitlines()
    for task in (t for t in TASKS if any(r["task"] == t for r in rows)):
        arms = [a for a in ARMS if found(rows, task, a, "return")]
        lines += ["", f"## {task}", ""]
        expert, chance = (mean(rows, task, arms[0], m) for m in ("expert_return", "random_return"))
        lines += [f"Expert {expert:.1f}, random {chance:.1f}. {TASKS[task].decisions:,} decisions in the data.", ""]
        lower = (f"return@{TASKS[task].lower:g}", f"asked for {TASKS[task].lower:g}", 1)
        columns = (RETURNS[0], RETURNS[1], lower, *RETURNS[2:])
        lines += ["| arm | seeds | " + " | ".join(c[1] for c in columns) + " |", "|---" * (len(columns) + 2) + "|"]
        for arm in arms:
            cells = [shown(found(rows, task, arm, m), digits) for m, _, digits in columns]
            lines.append(f"| {arm} | {len(found(rows, task, arm, 'return'))} | {' | '.join(cells)} |")
        lines += ["", "| arm | " + " | ".join(c[1] for c in COSTS) + " |", "|---" * (len(COSTS) + 1) + "|"]
        for arm in arms:
            cells = [shown(found(rows, task, arm, m), digits, scale) for m, _, digits, scale in COSTS]
            lines.append(f"| {arm} | {' | '.join(cells)} |")
        lines += ["", f"![Return against spikes and MACs](decision-{task}.png)"]
        lines += ["", *requirements(rows, task), *comparisons(rows, task)]
        if table := factors(rows, task):
            lines += ["", "Energy factors under `cmos45`, above 1: the spiking arm needs less.", "", *table]
        lines += [*layers(rows, task), *differing(rows, task, arms)]
    return lines


def layers(rows: list[Row], task: str) -> list[str]:
    """Where the few-spikes model fires, for each seed."""
    names = [r["metric"] for r in rows if (r["task"], r["arm"]) == (task, "snn-dt-spiking")]
    names = [n for n in dict.fromkeys(names) if n.startswith("spikes_per_decision@")]
    if not names:
        return []
    seeds = sorted(found(rows, task, "snn-dt-spiking", names[0]))
    lines = [*FEW_NOTE.splitlines(), "", "| layer | " + " | ".join(f"seed {s}" for s in seeds) + " |"]
    lines.append("|---" * (len(seeds) + 1) + "|")
    for name in names:
        values = found(rows, task, "snn-dt-spiking", name)
        lines.append(f"| {name.partition('@')[2]} | " + " | ".join(f"{values.get(s, 0.0):.2f}" for s in seeds) + " |")
    return lines


def differing(rows: list[Row], task: str, arms: list[str]) -> list[str]:
    parts = []
    for arm in arms:
        if checked := found(rows, task, arm, "logits_counted"):
            wrong = sum(found(rows, task, arm, "logits_differing").values())
            parts.append(f"{arm} {wrong:,.0f} of {sum(checked.values()):,.0f}")
    return ["", f"Logits of the engine that differ from the module's in any bit: {'; '.join(parts)}."] if parts else []
