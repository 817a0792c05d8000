"""NeuroBench's Mackey-Glass track: forecast a chaotic series from its own past, with spikes and with an echo state.

A forecaster hears the first 10 Lyapunov times of a stretch; its readout is fitted on them by ridge regression. Then it
reads one more point and from there on its own forecasts alone, for 10 Lyapunov times. The score is the symmetric mean
absolute percentage error over them, 0 to 200.

Spiking forecaster (# ours), one graph for every executor. A point x is held for ``ticks`` ticks:

    i_j  = ± gain·(x − x_j) + (1 − beta)·theta     neuron j begins to fire where x passes x_j
    LIF    subtracting reset
    delay  each axon its own number of ticks, up to ``span``·tau
    y    = LI(Σ_j w_j·s_j)                         its value after the last tick of the point
    x̂    = x + y                                   the sum is the graph's Output

The network has no recurrent synapse: its memory is its axons' delays, as the equation's is its own. The baseline is an
echo state network with as many units, whose readout is fitted by the same regression on the same points.

Constants of both were chosen by their forecasts on the first three repeats of tau = 17 and one or two of tau = 24 and
30, among 27 settings of the spiking network and 7 of the echo state network, with 3 or 4 penalties each;
:data:`HELD_OUT` are the repeats whose forecasts begin beyond those.

Source: the track: NeuroBench 2.3.0 (task, split, score). Echo state network: Jaeger, GMD report 148 (2001).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import neuroaccel.datasets.mackey_glass as data
from neuroaccel import engine
from neuroaccel.engine.inputs import Feed
from neuroaccel.errors import InputError, RecipeError
from neuroaccel.graph import Delay, Edge, Graph, Input, Linear, Neuron, Output, chain
from neuroaccel.ledger.neurobench import NeuroBench, score
from neuroaccel.program import LI, LIF, NeuronSpec

TASK = "mackey-glass"
ARMS = ("snn", "snn-64", "esn", "mean")
HELD_OUT = (29, 28, 27)
LOW, HIGH = 0.0, 2.0  # a forecast beyond is cut: the equation's own values stay between 0 and 2

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class SpikingOptions:
    """The spiking forecaster.

    Arguments:
        neurons: size of the population.
        ticks: ticks for which a point is held.
        beta, readout_beta: decay per tick of the neurons and of the readout.
        gain: current per unit of x.
        low, high: range of the points x_j at which neurons begin to fire.
        span: longest axonal delay, in tau.
        ridge: of the regression, per point, on the readout's filtered spikes · (1 − readout_beta).
    """

    neurons: int = 1000
    ticks: int = 16
    beta: float = 0.9
    readout_beta: float = 0.9
    gain: float = 4.5
    low: float = 0.1
    high: float = 1.5
    span: float = 1.25
    ridge: float = 1e-4


@dataclass(frozen=True)
class EchoOptions:
    """The echo state network: r' = (1 − leak)·r + leak·tanh(W r + w_in x + b).

    Arguments:
        units: size of r.
        degree: recurrent weights per unit, drawn from a normal distribution.
        radius: radius of the disc that W's eigenvalues fill.
        leak: as above.
        input_scale, bias_scale: half-widths of the uniform distributions of w_in and b.
        ridge: of the regression, per point.
    """

    units: int = 1000
    degree: int = 20
    radius: float = 1.2
    leak: float = 0.9
    input_scale: float = 0.9
    bias_scale: float = 0.7
    ridge: float = 1e-9


@dataclass(frozen=True)
class Protocol:
    """What is run, fixed in advance.

    Arguments:
        taus: delays of the series.
        repeats: stretches of each, which are also the seeds.
        warmup: Lyapunov times at the start that are heard but not fitted.
        train_time, test_time: Lyapunov times of each part.
        spiking, longer, echo: the forecasters `snn`, `snn-64` (a point is held for four times as long) and `esn`.

    Raises:
        RecipeError: no delays or repeats, or a warm-up that leaves nothing to fit.
    """

    taus: tuple[int, ...] = tuple(data.SERIES)
    repeats: tuple[int, ...] = HELD_OUT
    warmup: float = 0.6
    train_time: float = 10.0
    test_time: float = 10.0
    spiking: SpikingOptions = field(default_factory=SpikingOptions)
    longer: SpikingOptions = field(default_factory=lambda: SpikingOptions(ticks=64, readout_beta=0.97))
    echo: EchoOptions = field(default_factory=EchoOptions)

    def __post_init__(self) -> None:
        if not self.taus or not self.repeats or not 0 <= self.warmup < self.train_time:
            raise RecipeError(f"{TASK}: expected delays, repeats and a warm-up shorter than the training, found {self}")

    @property
    def warmup_points(self) -> int:
        return round(self.warmup * data.POINTS)

    def stretch(self, tau: int, repeat: int) -> data.Split:
        """The points of one delay and repeat."""
        return data.split(data.load(tau), repeat, data.POINTS, self.train_time, self.test_time)


def reservoir(o: SpikingOptions, tau: int, rng: np.random.Generator) -> Graph:
    """The untrained part: one analog input, neurons, delays, and an LI per neuron that filters its spikes."""
    sign = rng.choice(np.array([-1.0, 1.0]), o.neurons)
    starts = rng.uniform(o.low, o.high, o.neurons)
    weight = sign * o.gain
    bias = 1 - o.beta - weight * starts
    longest = round(o.span * tau * data.POINTS / data.SERIES[tau][0] * o.ticks)
    delays = rng.integers(1, longest + 1, o.neurons).astype(np.int32)
    nodes = {
        "x": Input((1,), "analog"),
        "encode": Linear(weight[:, None].astype(np.float32), bias.astype(np.float32)),
        "neurons": _population(LIF(o.beta, reset="subtract"), o.neurons),
        "axons": Delay(delays),
        "filtered": _population(LI(o.readout_beta), o.neurons),
        "y": Output(),
    }
    return chain(nodes)


def fit_spiking(o: SpikingOptions, tau: int, rng: np.random.Generator, points: Floats, change: Floats) -> Graph:
    """A trained spiking forecaster: its Output is x + y.

    A readout that filters the sum of weighted spikes equals the weighted sum of the filtered spikes, so it is fitted on
    the latter and built as the former.

    Arguments:
        o, tau, rng: draw the reservoir.
        points: ``[P]``, heard one after the other.
        change: ``[Q]``, of the last Q points: what the next one adds.
    """
    graph = reservoir(o, tau, rng)
    heard = np.repeat(points, o.ticks)[:, None, None].astype(np.float32)
    trace = engine.run(graph, heard, counts=False).trace.outputs["y"]
    filtered = trace[o.ticks - 1 :: o.ticks, 0].astype(np.float64)[-len(change) :] * (1 - o.readout_beta)
    weight = ridge(filtered, change, o.ridge) * (1 - o.readout_beta)
    nodes = {
        **{name: graph.nodes[name] for name in ("x", "encode", "neurons", "axons")},
        "readout": Linear(weight[None].astype(np.float32)),
        "y": _population(LI(o.readout_beta), 1),
        "next": Output(),
    }
    path = ("x", "encode", "neurons", "axons", "readout", "y", "next")
    edges = [Edge(a, b) for a, b in itertools.pairwise(path)]
    return Graph(nodes, (*edges, Edge("x", "next")), metadata={"task": TASK, "tau": tau})


def forecast_spiking(graph: Graph, ticks: int, heard: Floats, first: float, count: int) -> Floats:
    """Let a trained network hear points, then go on from ``first`` by itself, in the event engine.

    Returns:
        ``[count]`` forecasts.
    """
    session = engine.open(graph, counts=False)

    def next_of(x: float) -> float:
        point = np.full((1, 1), x, np.float32)
        for _ in range(ticks):
            found = session.step(point)["next"]
        return float(found[0, 0])

    points = np.repeat(heard, ticks)[:, None, None].astype(np.float32)
    node = graph.nodes["x"]
    assert isinstance(node, Input)
    for _ in session.blocks({"x": Feed("x", node, points)}, len(points)):
        pass  # only the state that it leaves is wanted
    return _alone(next_of, first, count)


def forecast_echo(
    o: EchoOptions, rng: np.random.Generator, points: Floats, change: Floats, first: float, count: int
) -> Floats:
    """Fit the readout of an echo state network and go on from ``first`` by itself: ``[count]`` forecasts."""
    sources = rng.integers(0, o.units, (o.units, o.degree))
    weights = rng.normal(0, o.radius / np.sqrt(o.degree), (o.units, o.degree))
    entering = rng.uniform(-o.input_scale, o.input_scale, o.units)
    bias = rng.uniform(-o.bias_scale, o.bias_scale, o.units)
    r = np.zeros(o.units)

    def hear(x: float) -> Floats:
        nonlocal r
        drive = (weights * r[sources]).sum(axis=1) + entering * x + bias
        r = np.asarray((1 - o.leak) * r + o.leak * np.tanh(drive), np.float64)
        return r

    states = np.stack([hear(float(x)) for x in points])
    readout = ridge(states[-len(change) :], change, o.ridge)
    return _alone(lambda x: x + float(hear(x) @ readout), first, count)


def ridge(features: Floats, targets: Floats, penalty: float) -> Floats:
    """w = argmin Σ (F w − t)² + penalty·P·|w|² of P points, solved over points or features, whichever are fewer."""
    P, features_count = features.shape
    if features_count >= P:
        gram = features @ features.T + penalty * P * np.eye(P)
        return np.asarray(features.T @ np.linalg.solve(gram, targets))
    gram = features.T @ features + penalty * P * np.eye(features_count)
    return np.asarray(np.linalg.solve(gram, features.T @ targets))


def run_mackey_glass(
    protocol: Protocol | None = None,
    arms: Sequence[str] = ARMS,
    done: Sequence[Row] = (),
    progress: Progress | None = None,
    finished: Callable[[list[Row]], None] | None = None,
) -> list[Row]:
    """Run the track; what is among ``done`` is not run again.

    Arguments:
        protocol: what to run.
        arms: ``snn``, ``snn-64``, ``esn``, and ``mean``, which forecasts the mean of what it heard.
        done: rows of an earlier call.
        progress: called with (done, total) trainings.
        finished: called with the rows of each training, as soon as it has finished.

    Returns:
        ``done`` and the new rows: ``{"task": "mackey-glass-TAU", "arm", "seed", "metric", "value"}``; the seed is the
        repeat. Metrics: ``smape``; of the spiking arms also NeuroBench's ``effective_acs``, ``effective_macs``,
        ``dense_synops`` and ``membrane_updates`` per forecast point, ``activation_sparsity`` and ``footprint``; of
        ``esn`` its ``effective_macs`` and ``dense_synops``, which are equal.

    Raises:
        InputError: an unknown arm.
        RecipeError: a delay or repeat that the data does not have.
    """
    protocol = protocol or Protocol()
    if unknown := sorted(set(arms) - set(ARMS)):
        raise InputError(f"{TASK}: unknown arms {', '.join(unknown)}; there are {', '.join(ARMS)}")
    work = [(tau, repeat, arm) for tau in protocol.taus for repeat in protocol.repeats for arm in arms]
    there = {(row["task"], row["seed"], row["arm"]) for row in done}
    rows = list(done)
    for at, (tau, repeat, arm) in enumerate(work):
        task = f"{TASK}-{tau}"
        if (task, repeat, arm) not in there:
            values = measure(protocol, arm, tau, repeat)
            new: list[Row] = [
                {"task": task, "arm": arm, "seed": repeat, "metric": m, "value": v} for m, v in values.items()
            ]
            rows += new
            if finished is not None:
                finished(new)
        if progress is not None:
            progress(at + 1, len(work))
    return rows


def measure(protocol: Protocol, arm: str, tau: int, repeat: int) -> Mapping[str, float]:
    """Train one arm on one stretch and score its forecast."""
    part = protocol.stretch(tau, repeat)
    rng = np.random.default_rng([repeat, tau])
    heard, change = part.train, (part.train_target - part.train)[protocol.warmup_points :]
    first, count = float(part.test[0]), len(part.test)
    if arm == "mean":
        return {"smape": score("SMAPE", np.full(count, heard.mean()), part.test_target)}
    if arm == "esn":
        o = protocol.echo
        found = forecast_echo(o, rng, heard, change, first, count)
        operations = float(o.units * (o.degree + 2))  # recurrent, input and readout weights; none of their inputs is 0
        return {
            "smape": score("SMAPE", found, part.test_target),
            "effective_macs": operations,
            "dense_synops": operations,
        }
    options = protocol.spiking if arm == "snn" else protocol.longer
    graph = fit_spiking(options, tau, rng, heard, change)
    found = forecast_spiking(graph, options.ticks, heard, first, count)
    costs = _costs(graph, options.ticks, np.concatenate([[first], found[:-1]]))
    return {"smape": score("SMAPE", found, part.test_target)} | costs


def _costs(graph: Graph, ticks: int, points: Floats) -> dict[str, float]:
    """NeuroBench's figures of a forecast, per point: its own points heard again from the fresh state."""
    bench = NeuroBench(graph)
    bench.add(np.repeat(points, ticks)[:, None, None].astype(np.float32))
    found = bench.results()
    operations = found["SynapticOperations"]
    return {
        "effective_acs": operations["Effective_ACs"] / len(points),
        "effective_macs": operations["Effective_MACs"] / len(points),
        "dense_synops": operations["Dense"] / len(points),
        "membrane_updates": found["MembraneUpdates"] / len(points),
        "activation_sparsity": found["ActivationSparsity"],
        "footprint": float(found["Footprint"]),
    }


def _alone(next_of: Callable[[float], float], first: float, count: int) -> Floats:
    x, found = first, np.empty(count)
    for i in range(count):
        x = min(max(next_of(x), LOW), HIGH)
        found[i] = x
    return found


def _population(spec: NeuronSpec, size: int) -> Neuron:
    values = {name: np.asarray(value, np.float32) for name, value in spec.values.items()}
    return Neuron(spec.program, values, (size,), slope=spec.slope, surrogate=spec.surrogate)


def quick(protocol: Protocol) -> Protocol:
    """The same protocol on one delay, one repeat and small networks, in seconds."""
    return replace(
        protocol,
        taus=protocol.taus[:1],
        repeats=protocol.repeats[:1],
        spiking=replace(protocol.spiking, neurons=200, ticks=8),
        longer=replace(protocol.longer, neurons=200, ticks=32),
        echo=replace(protocol.echo, units=200),
    )
