"""The pictures of ``neuroaccel plot``, drawn without a display and returned as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import Neuron

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuroaccel.graph import Graph, Trace

WIDTH, HEIGHT = 9.0, 1.9  # inches, of a figure and of one layer in it
MEMBRANES = 4  # neurons per layer whose membrane is drawn: more lines hide each other


def raster(graph: Graph, trace: Trace, x: NDArray[Any], title: str) -> bytes:
    """Events of the input and spikes of every layer, one row of dots per neuron, for the first sample.

    Arguments:
        graph: the network.
        trace: its run.
        x: the input, ``[T, N, *shape]``.
        title: line above the picture.
    """
    layers = {"": x, **trace.spikes}
    figure, axes = _rows(len(layers), title)
    for axis, (name, values) in zip(axes, layers.items(), strict=True):
        flat = np.asarray(values)[:, 0].reshape(len(values), -1)
        tick, neuron = np.nonzero(flat)
        axis.scatter(tick * _unit(graph), neuron, s=1.5, marker="|", color="black", linewidths=0.7)
        axis.set_ylabel(f"{name}\n{flat.shape[1]} neurons" if name in trace.spikes else "input events")
        axis.set_xlim(-0.5 * _unit(graph), (len(values) - 0.5) * _unit(graph))
        axis.set_ylim(-0.5, flat.shape[1] - 0.5)
    axes[-1].set_xlabel(_time(graph))
    return _png(figure)


def membranes(graph: Graph, trace: Trace, title: str) -> bytes:
    """Membranes of the most active neurons of every layer, for the first sample; dashed: the threshold.

    Arguments:
        graph: the network.
        trace: its run, with states.
        title: line above the picture.
    """
    figure, axes = _rows(len(trace.states), title)
    for axis, (name, states) in zip(axes, trace.states.items(), strict=True):
        node = graph.nodes[name]
        assert isinstance(node, Neuron)
        state = node.program.membrane
        values = np.asarray(states[state])[:, 0].reshape(len(states[state]), -1)
        spikes = np.asarray(trace.spikes[name])[:, 0].reshape(len(values), -1)
        # Layers that stay silent show the neurons that come nearest to it: those that move most.
        rank = np.lexsort((np.ptp(values, axis=0), np.count_nonzero(spikes, axis=0)))[::-1][:MEMBRANES]
        time = np.arange(len(values)) * _unit(graph)
        axis.plot(time, values[:, rank], linewidth=1.0)
        threshold = node.parameters.get("threshold")
        if threshold is not None and np.ptp(threshold) == 0:
            axis.axhline(float(np.ravel(threshold)[0]), linestyle="--", color="grey", linewidth=0.8)
        axis.set_ylabel(f"{name}\n{state}")
    axes[-1].set_xlabel(_time(graph))
    return _png(figure)


def loss(metrics: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Losses and, where they were logged, accuracies over the epochs.

    Arguments:
        metrics: one mapping per epoch.
        title: line above the picture.
    """
    names = sorted({key for row in metrics for key, value in row.items() if isinstance(value, float)})
    groups = {part: [name for name in names if part in name] for part in ("loss", "accuracy")}
    drawn = {part: found for part, found in groups.items() if found}
    figure, axes = _rows(max(len(drawn), 1), title)
    for axis, (part, found) in zip(axes, drawn.items(), strict=False):
        for name in found:
            points = [(row.get("epoch", at), row[name]) for at, row in enumerate(metrics) if name in row]
            axis.plot(*zip(*points, strict=True), marker=".", label=name.replace("_", " "))
        axis.set_ylabel(part)
        axis.legend(frameon=False, fontsize=8)
    axes[-1].set_xlabel("epoch")
    return _png(figure)


def spikes(trace: Trace, title: str) -> bytes:
    """Spikes per neuron and tick of every layer: mean over the samples, and one dot per sample.

    Arguments:
        trace: a run of several samples.
        title: line above the picture.
    """
    figure, (axis,) = _rows(1, title, height=3.2)
    for place, values in enumerate(trace.spikes.values()):
        array = np.asarray(values)
        rate = np.count_nonzero(array.reshape(len(array), array.shape[1], -1), axis=(0, 2)) / array[:, 0].size
        axis.bar(place, rate.mean(), color="lightgrey")
        axis.plot(np.full(len(rate), place), rate, ".", color="black", markersize=3)
    axis.set_xticks(range(len(trace.spikes)), list(trace.spikes))
    axis.set_ylabel("spikes per neuron and tick")
    return _png(figure)


def _rows(count: int, title: str, height: float = HEIGHT) -> tuple[Figure, list[Any]]:
    """A figure of stacked axes; a Figure of its own leaves pyplot's global state and backend alone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 0.8 + height * count), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    return figure, list(axes)


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _unit(graph: Graph) -> float:
    return 1.0 if graph.dt is None else graph.dt * 1e3


def _time(graph: Graph) -> str:
    return "tick" if graph.dt is None else "time / ms"
