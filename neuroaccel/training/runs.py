"""Runs: folders under ``runs/`` that hold a training's recipe, progress, checkpoint, model and results."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroaccel.errors import FileFormatError, InputError
from neuroaccel.graph import Graph, load_graph, write_atomic
from neuroaccel.training.recipe import Recipe, parse_recipe

MODEL = "model.safetensors"
RECIPE = "recipe.toml"
METRICS = "metrics.jsonl"
TRANSFER = "transfer.jsonl"
SUMMARY = "summary.json"
CHECKPOINT = "last.ckpt"


@dataclass(frozen=True)
class Run:
    """One training run in its folder.

    Arguments:
        folder: ``runs/NAME``; holds ``recipe.toml``, ``metrics.jsonl`` (a line per epoch), ``last.ckpt``, where it
            prunes ``transfer.jsonl`` (likewise: what the layers' synapses carry), and, once the training has finished,
            ``summary.json`` and last of all ``model.safetensors``.
    """

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def finished(self) -> bool:
        return (self.folder / MODEL).is_file()

    @property
    def model_file(self) -> Path:
        return self.folder / MODEL

    def recipe(self) -> Recipe:
        """The recipe the run was started with."""
        try:
            text = (self.folder / RECIPE).read_text(encoding="utf-8")
        except OSError as error:
            raise FileFormatError(f"{self.folder}: not a run folder, it has no readable {RECIPE}") from error
        return parse_recipe(text, str(self.folder / RECIPE))

    def graph(self) -> Graph:
        """The trained network, folded and snapped."""
        if not self.finished:
            raise InputError(f"run '{self.name}' has not finished: there is no {self.folder / MODEL}; train it first")
        return load_graph(self.model_file)

    def metrics(self) -> list[dict[str, Any]]:
        """One record per epoch."""
        return self._records(METRICS)

    def transfers(self) -> list[dict[str, Any]]:
        """One record per epoch of a training that prunes: ``epoch`` and ``layers``."""
        records = self._records(TRANSFER)
        for at, record in enumerate(records):
            if not isinstance(record.get("layers"), list):
                raise FileFormatError(f"{self.folder / TRANSFER}: damaged (record {at} has no list of layers)")
        return records

    def _records(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        if not path.is_file():
            return []
        return [_json(path, line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]

    def summary(self) -> dict[str, Any]:
        """Accuracies and times of a finished run."""
        path = self.folder / SUMMARY
        return _json(path, path.read_text(encoding="utf-8")) if path.is_file() else {}

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one epoch's record; a record of an epoch that is there already replaces it and all later ones."""
        self._append(METRICS, record)

    def append_transfer(self, record: dict[str, Any]) -> None:
        """Likewise, of what synapses carry."""
        self._append(TRANSFER, record)

    def _append(self, name: str, record: dict[str, Any]) -> None:
        kept = [m for m in self._records(name) if m["epoch"] < record["epoch"]]
        lines = [json.dumps(m, sort_keys=True) for m in [*kept, record]]
        write_atomic(self.folder / name, ("\n".join(lines) + "\n").encode())

    def write_json(self, name: str, data: dict[str, Any]) -> Path:
        """Write a JSON file into the run, atomically."""
        content = json.dumps({**data, "written": int(time.time())}, indent=2, sort_keys=True)
        return write_atomic(self.folder / name, (content + "\n").encode())


def _json(path: Path, text: str) -> dict[str, Any]:
    """A JSON object from a run's file."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise FileFormatError(f"{path}: damaged ({error})") from error
    if not isinstance(found, dict):
        raise FileFormatError(f"{path}: damaged (a {type(found).__name__}, expected an object)")
    return found


def open_run(name: str | Path | None = None, root: str | Path = "runs") -> Run:
    """A run by name or folder; without a name the finished run whose model is newest.

    Raises:
        InputError: there is no such run, or none at all.
    """
    root = Path(root)
    if name is None:
        finished = [Run(p.parent) for p in root.glob(f"*/{MODEL}")]
        if not finished:
            raise InputError(f"there is no finished run in '{root}'; train one: neuroaccel train saccade-digits")
        return max(finished, key=lambda r: r.model_file.stat().st_mtime)
    for folder in (root / name, Path(name)):
        if folder.is_dir() and (folder / RECIPE).is_file():
            return Run(folder)
    known = sorted(p.parent.name for p in root.glob(f"*/{RECIPE}"))
    raise InputError(
        f"there is no run '{name}' in '{root}'; there {'is' if len(known) == 1 else 'are'}: {known or 'none'}"
    )


def resolve_model(what: str | Path | None, root: str | Path = "runs") -> tuple[Graph, Run | None]:
    """A graph from a run's name or folder, a model file, or (None) the newest run.

    Raises:
        InputError, FileFormatError: nothing of that name, or a file that is no model.
    """
    if what is not None and (Path(what).is_file() or Path(what).suffix == ".safetensors"):
        graph = load_graph(what)
        folder = Path(what).resolve().parent
        return graph, Run(folder) if (folder / RECIPE).is_file() and Path(what).name == MODEL else None
    run = open_run(what, root)
    return run.graph(), run


def recipe_of(graph: Graph, where: str) -> Recipe:
    """The recipe that a model file carries: what it was trained on, and how.

    Raises:
        InputError: the graph was not made by a training run.
    """
    text = graph.metadata.get(RECIPE)
    if not isinstance(text, str):
        raise InputError(f"{where} carries no recipe, so its data is not known; --recipe NAME names it")
    return parse_recipe(text, f"{where} ({RECIPE})")
