"""The file of a trained decision model: weights, config, and what its data were like."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.dense import DenseDT
from neuroaccel.decision.windows import Normaliser
from neuroaccel.errors import FileFormatError
from neuroaccel.graph import write_atomic

FORMAT = 1
KEY = "neuroaccel-decision"


@dataclass(frozen=True)
class Trained:
    """A model and all that acting with it needs.

    Arguments:
        model: a :class:`~neuroaccel.decision.dense.DenseDT` or a spiking one.
        config: its sizes.
        normaliser: its data's.
        about: plain notes: environment, measured returns of the expert and of random actions, target.
    """

    model: nn.Module
    config: DecisionConfig
    normaliser: Normaliser
    about: Mapping[str, Any] = field(default_factory=dict)


def make(config: DecisionConfig) -> nn.Module:
    """The untrained model of a config, weights drawn from torch's generator."""
    if config.model == "dt":
        return DenseDT(config)
    from neuroaccel.decision.spiking import SpikingDT

    return SpikingDT(config)


def save_trained(trained: Trained, path: str | os.PathLike[str]) -> Path:
    """Write a model file, one ``.safetensors``."""
    n = trained.normaliser
    tensors = {f"model.{name}": value.detach().contiguous() for name, value in trained.model.state_dict().items()}
    tensors |= {"mean": torch.from_numpy(n.mean), "std": torch.from_numpy(n.std)}
    header = {
        "format": FORMAT,
        "config": trained.config.model_dump(mode="json"),
        "returns": [n.lowest, n.highest],
        "about": dict(trained.about),
    }
    return write_atomic(path, save(tensors, metadata={KEY: json.dumps(header, sort_keys=True)}))


def load_trained(path: str | os.PathLike[str]) -> Trained:
    """Read a model file.

    Raises:
        FileFormatError: not there, truncated, foreign, of a newer format, or inconsistent.
    """
    tensors, header = read_tensors(path, KEY, FORMAT)
    try:
        config = DecisionConfig.model_validate(header["config"])
        lowest, highest = map(float, header["returns"])
        normaliser = Normaliser(tensors.pop("mean").numpy(), tensors.pop("std").numpy(), lowest, highest)
        with torch.random.fork_rng(devices=[]):  # weights are drawn only to be replaced
            model = make(config)
        model.load_state_dict({name.removeprefix("model."): value for name, value in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError, ValidationError) as error:
        raise FileFormatError(f"{path}: an inconsistent decision model ({error})") from error
    if normaliser.mean.shape != (config.state_size,) or not np.isfinite(normaliser.mean).all():
        raise FileFormatError(f"{path}: means of {normaliser.mean.shape} for {config.state_size} numbers of a state")
    return Trained(model.eval(), config, normaliser, header.get("about", {}))


def read_tensors(path: str | os.PathLike[str], key: str, newest: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a ``.safetensors`` file and the JSON object in its metadata.

    Arguments:
        path: the file.
        key: of the metadata.
        newest: format that is understood.

    Raises:
        FileFormatError: not there, truncated, foreign, or of a newer format.
    """
    if not Path(path).is_file():
        raise FileFormatError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118  (not a mapping)
        header = json.loads(metadata[key])
        found = int(header["format"])
    except KeyError as error:
        raise FileFormatError(f"{path}: a .safetensors file, but without '{key}' ({error})") from error
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise FileFormatError(f"{path}: not a readable file of neuroaccel's ({error})") from error
    if found > newest:
        raise FileFormatError(f"{path}: format {found}; this version reads up to {newest}, a newer one is needed")
    return tensors, header
