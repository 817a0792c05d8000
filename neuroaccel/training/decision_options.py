"""What a training of a decision model depends on, beside its data and its config."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.errors import RecipeError


class DecisionTraining(BaseModel):
    """AdamW on windows of trajectories; the checkpoint with the best validation return is kept.

    Arguments:
        steps, batch_size, learning_rate, weight_decay: of AdamW; vectors and phases do not decay.
        gradient_clip: largest norm of the gradient, of the phase parameters and of all others, each by themselves:
            phases' gradients explode, and would take the others' step with them.
        window: decisions in a training window; None: the context.
        penalty, penalty_above: of a spiking model: weight of its spikes per decision, and how many cost nothing.
        plasticity, plasticity_decay, plasticity_bound: of a spiking model's head: rate, λ and largest weight of the
            three-factor rule after every step (0: off).
        validate_every, validation_episodes: steps between two validations, and episodes in each (0: none, the last
            weights are kept).
        target: return that validation asks for; None: the expert's, or the mean of the data's best tenth.
        prune_to, prune_method: connectivity of the synapses at the end, and how; None: they all stay.
        seed: of weights, windows and validation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(default=1500, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    window: int | None = Field(default=None, ge=1)
    penalty: float = Field(default=0.0, ge=0)
    penalty_above: float = Field(default=0.0, ge=0)
    plasticity: float = Field(default=0.0, ge=0)
    plasticity_decay: float = Field(default=0.95, ge=0, le=1)
    plasticity_bound: float = Field(default=8.0, gt=0)
    validate_every: int = Field(default=150, ge=1)
    validation_episodes: int = Field(default=20, ge=0)
    target: float | None = None
    prune_to: float | None = Field(default=None, gt=0, le=1)
    prune_method: Literal["nsp", "stds", "magnitude", "rigl"] = "magnitude"
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


def settings_of(changes: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``key=value`` with TOML values, sorted into those of a config and those of a training.

    Raises:
        RecipeError: no such key, or no equals sign.

    >>> settings_of(["width=32", "steps=200", "attention=softmax"])
    ({'width': 32, 'attention': 'softmax'}, {'steps': 200})
    """
    config: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise RecipeError(f"--set takes key=value, not '{change}'")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value
        if key in DecisionConfig.model_fields:
            config[key] = parsed
        elif key in DecisionTraining.model_fields:
            training[key] = parsed
        else:
            known = ", ".join([*DecisionConfig.model_fields, *DecisionTraining.model_fields])
            raise RecipeError(f"--set {key}: no such setting; known: {known}")
    return config, training


def training_of(settings: dict[str, Any]) -> DecisionTraining:
    """The options of a training, an error naming the first that does not fit."""
    try:
        return DecisionTraining(**settings)
    except ValidationError as error:
        raise RecipeError(first_fault(error)) from error


def first_fault(error: ValidationError) -> str:
    """The first fault that pydantic found, in one line."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']} (found {first.get('input')!r})" if place else str(first["msg"])
