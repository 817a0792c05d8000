"""Folders of decision models' trainings, below ``runs/`` beside those of recipes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroaccel.decision.file import Trained, load_trained
from neuroaccel.errors import FileFormatError, InputError
from neuroaccel.graph import write_atomic
from neuroaccel.training.runs import Run

SETTINGS = "decision.json"
MODEL = "decision.safetensors"
STATE = "state.safetensors"


@dataclass(frozen=True)
class DecisionRun(Run):
    """One training of a decision model in its folder.

    Arguments:
        folder: ``runs/NAME``; holds ``decision.json`` (data, config and options), ``metrics.jsonl`` (a line per
            validation), ``state.safetensors`` (to go on from) and, once the training has finished, ``summary.json`` and
            last of all ``decision.safetensors``.
    """

    @property
    def finished(self) -> bool:
        return (self.folder / MODEL).is_file()

    @property
    def model_file(self) -> Path:
        return self.folder / MODEL

    def settings(self) -> dict[str, Any]:
        """What the run was started with."""
        path = self.folder / SETTINGS
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise FileFormatError(f"{self.folder}: no decision model's run, it has no readable {SETTINGS}") from error
        except ValueError as error:
            raise FileFormatError(f"{path}: damaged ({error})") from error
        if not isinstance(found, dict):
            raise FileFormatError(f"{path}: damaged (a {type(found).__name__}, expected an object)")
        return found

    def trained(self) -> Trained:
        """The trained model.

        Raises:
            InputError: the training has not finished.
        """
        if not self.finished:
            raise InputError(f"run '{self.name}' has not finished: there is no {self.folder / MODEL}; train it first")
        return load_trained(self.model_file)


def begin(folder: Path, settings: Mapping[str, Any], overwrite: bool) -> DecisionRun:
    """The run's folder, new or as an earlier training of the same settings left it.

    Raises:
        InputError: a file in the way, a finished run or another training's without ``overwrite``, a folder that is no
            such run; nothing is changed then.
    """
    run, wanted = DecisionRun(folder), json.loads(json.dumps(settings))
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, a run needs a folder")
    started = (folder / SETTINGS).is_file()
    if folder.exists() and any(folder.iterdir()) and not started:
        raise InputError(f"{folder} is not a decision model's run (it has no {SETTINGS}) and is left as it is")
    if run.finished and not overwrite:
        raise InputError(f"run '{run.name}' is finished; give another --name, or --overwrite to train it anew")
    if started and not overwrite:
        found = run.settings()
        if found != wanted:
            odd = ", ".join(sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key)))
            raise InputError(
                f"run '{run.name}' was started with other settings ({odd}); resume it with the same ones, give another "
                "--name, or --overwrite it"
            )
        return run
    if started:
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from error
    write_atomic(folder / SETTINGS, (json.dumps(wanted, indent=2, sort_keys=True) + "\n").encode())
    return run


def open_decision_run(name: str | Path | None = None, root: str | Path = "runs") -> DecisionRun:
    """A run by name or folder; without a name the finished one whose model is newest.

    Raises:
        InputError: there is no such run, or none at all.
    """
    root = Path(root)
    if name is None:
        finished = [DecisionRun(path.parent) for path in root.glob(f"*/{MODEL}")]
        if not finished:
            raise InputError(
                f"there is no finished decision model in '{root}'; train one: "
                "neuroaccel decision train --env CartPole-v1"
            )
        return max(finished, key=lambda run: run.model_file.stat().st_mtime)
    for folder in (root / name, Path(name)):
        if (folder / SETTINGS).is_file():
            return DecisionRun(folder)
    known = sorted(path.parent.name for path in root.glob(f"*/{SETTINGS}"))
    raise InputError(f"there is no decision model's run '{name}' in '{root}'; known: {known or 'none'}")
