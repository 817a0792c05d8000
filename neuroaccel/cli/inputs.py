"""What a command works on: a model named by run or file, and the samples that go into it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.cli.output import progress, results_only
from neuroaccel.errors import EventsError, InputError
from neuroaccel.graph import Input

if TYPE_CHECKING:
    from neuroaccel.engine import EventStream
    from neuroaccel.graph import Graph
    from neuroaccel.training.recipe import Recipe
    from neuroaccel.training.runs import Run

STREAM = "neuroaccel-eventstream"  # the format of EventStream.save


@dataclass(frozen=True)
class Model:
    """A graph, the run that it comes from, and how to call it.

    Arguments:
        graph: the lowered network.
        run: its run, None for a model file that belongs to none.
        name: of the run, else the file as it was given.
    """

    graph: Graph
    run: Run | None
    name: str


@dataclass(frozen=True)
class Samples:
    """Inputs of a network.

    Arguments:
        x: ``[T, N, *shape]``.
        labels: ``[N]``, None for a recording that has none.
        source: where they come from, for the record: data set, split and seed, or a file.
    """

    x: NDArray[Any]
    labels: NDArray[np.int64] | None
    source: dict[str, Any]

    def __len__(self) -> int:
        return int(self.x.shape[1])


def open_model(what: str | None, runs: Path) -> Model:
    """The model that RUN|FILE means; None: the newest finished run in ``runs``.

    Raises:
        InputError: there is no such run or file, or the run is not finished.
        FileFormatError: a truncated or foreign model file.
    """
    from neuroaccel.training.runs import resolve_model

    graph, run = resolve_model(what, root=runs)
    return Model(graph, run, run.name if run is not None else str(what))


def open_run(what: str | None, runs: Path) -> Run:
    """The run that RUN means, finished or not."""
    from neuroaccel.training.runs import open_run

    return open_run(what, root=runs)


def recipe_of(model: Model, named: str | None) -> Recipe:
    """The recipe whose data a model is measured on: the one asked for, else the one in its file.

    Raises:
        InputError: a model file that carries none, and no recipe asked for.
    """
    from neuroaccel.training.recipe import load_recipe
    from neuroaccel.training.runs import recipe_of

    return load_recipe(named) if named is not None else recipe_of(model.graph, model.name)


def with_data_seed(recipe: Recipe, seed: int | None) -> Recipe:
    """The recipe with its data generated from another seed, None: from its own."""
    if seed is None:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"seed": seed})})


def samples_of(recipe: Recipe, split: str, count: int | None, seed: int | None) -> Samples:
    """The first ``count`` samples of a split, None for all of them; generated where the cache lacks them."""
    from neuroaccel.training.evaluate import data_module, inputs

    recipe = with_data_seed(recipe, seed)
    with results_only(), progress("generating data") as report:
        data_module(recipe, report).prepare_data()
        x, labels = inputs(recipe, split, count)
    source = {"dataset": recipe.data.name, "split": split, "seed": recipe.data.seed, "first": 0, "samples": x.shape[1]}
    return Samples(x, labels, source)


def recording(graph: Graph, path: Path) -> Samples:
    """One recording from a file, as a batch of one; see :func:`recorded`."""
    return Samples(recorded(graph, path).to_dense(np.float32)[:, None], None, {"file": str(path)})


def recorded(graph: Graph, path: Path, dt: float | None = None) -> EventStream:
    """One recording from a file: binned (EventStream.save), or in time, of any format that ``open_recording`` reads.

    Arguments:
        graph: whose only Input it is for.
        path: the file.
        dt: length of a tick in seconds, for events in time and a network without a dt of its own.

    Raises:
        FileFormatError: the file is missing, truncated, foreign or inconsistent.
        EventsError: events outside their sensor, or of another shape, tick or value than the network takes.
        InputError: a network with several Inputs, or no dt, or two.
    """
    from neuroaccel.engine.events import EventStream
    from neuroaccel.engine.npz import kind_of

    raw = path.is_file() and kind_of(path) != STREAM
    if dt is not None and not raw and path.is_file():
        raise InputError(f"{path}: is binned already; a tick length is for events in time (Events.save)")
    if dt is not None and graph.dt is not None and not math.isclose(dt, graph.dt, rel_tol=1e-9):
        raise InputError(f"ticks of {dt:g} s were asked for; the network was made for ticks of {graph.dt:g} s")
    stream = _binned(graph, path, dt) if raw else EventStream.load(path)
    if len(graph.inputs) != 1:
        raise InputError(f"{path}: one recording, but the network has the inputs {', '.join(graph.inputs)}")
    (name,) = graph.inputs
    node = graph.nodes[name]
    assert isinstance(node, Input)
    if stream.shape != node.shape:
        raise EventsError(f"{path}: events of shape {stream.shape}; the network's input '{name}' takes {node.shape}")
    if graph.dt is not None and not math.isclose(stream.dt, graph.dt, rel_tol=1e-9):
        raise EventsError(f"{path}: ticks of {stream.dt:g} s; the network was made for ticks of {graph.dt:g} s")
    if stream.ticks == 0:
        raise EventsError(f"{path}: a recording of no ticks; expected at least one")
    if node.edge != "analog" and stream.value is not None:
        wrong = (stream.value < 0) | (stream.value > node.maximum) | (stream.value != np.floor(stream.value))
        if wrong.any():
            kind = "binary events" if node.edge == "binary" else f"counts up to {node.maximum}"
            raise EventsError(
                f"{path}: holds value {stream.value[wrong][0]}; the network's input '{name}' takes {kind}"
            )
    return stream


def _binned(graph: Graph, path: Path, dt: float | None) -> EventStream:
    """A sensor's events in the network's own ticks, or in those asked for, merged as its input edge takes them."""
    from neuroaccel.datasets import Events
    from neuroaccel.datasets.readers import open_recording

    tick = graph.dt if graph.dt is not None else dt
    if tick is None:
        raise InputError(f"{path}: events in time, but the network has no dt; give binned ones, or to run --dt-ms")
    (first,) = graph.of_type(Input)[:1]
    node = graph.nodes[first]
    assert isinstance(node, Input)
    found = open_recording(path)
    events = found.events
    if found.metadata["sensor_size_from"] == "events" and len(node.shape) == 3:
        polarities, height, width = node.shape
        if width >= events.sensor_size[0] and height >= events.sensor_size[1] and polarities == 2:
            events = Events(events.data, (width, height, 2))  # the file states no size: the network's holds its events
    return events.bin(tick, binning="binary" if node.edge == "binary" else "count")


def chosen_samples(
    model: Model, recipe: str | None, events: Path | None, split: str, count: int | None, seed: int | None
) -> Samples:
    """The recording if one was given, else the first ``count`` samples of the split."""
    if events is not None:
        return recording(model.graph, events)
    found = samples_of(recipe_of(model, recipe), split, count, seed)
    check_fit(model, found)
    return found


def check_fit(model: Model, samples: Samples) -> None:
    """Refuse data of another shape than the network takes.

    Raises:
        InputError: naming both shapes.
    """
    shapes = [node.shape for node in model.graph.nodes.values() if isinstance(node, Input)]
    if shapes != [samples.x.shape[2:]]:
        raise InputError(
            f"{model.name} takes inputs of shape {', '.join(map(str, shapes))}; "
            f"the samples of {samples.source['dataset']} have {samples.x.shape[2:]}"
        )
