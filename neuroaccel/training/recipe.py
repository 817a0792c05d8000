"""Recipes: everything a training run depends on, as TOML with a schema."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from neuroaccel.errors import RecipeError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


SHARED = ("ticks", "dt", "binning")
FIELDS_OF_FRAMES = {
    "time": SHARED,
    "count": ("ticks", "binning"),
    "window": ("ticks", "binning"),
    "voxel": ("ticks",),
    "surface": ("ticks", "dt"),
}
"""Which of them each kind of frames has."""


class DataOptions(_Strict):
    """What the network sees: a data set and how its events become ticks.

    ``frames`` is a table for ``neuroaccel.datasets.frames.frames_from``, ``augment`` a list of tables for
    ``neuroaccel.datasets.augment.augment_from``. ``ticks``, ``dt`` and ``binning`` may stand in either place; where
    they stand in both they agree.
    """

    name: str = "saccade-digits"
    ticks: int = Field(default=15, ge=1)
    dt: float = Field(default=0.02, gt=0)
    binning: Literal["binary", "count", "first"] = "binary"
    maximum: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=1)
    workers: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    train_samples: int | None = Field(default=None, ge=1)
    frames: dict[str, Any] | None = None
    augment: list[dict[str, Any]] = []

    @model_validator(mode="before")
    @classmethod
    def _said_once(cls, given: Any) -> Any:
        frames = given.get("frames") if isinstance(given, dict) else None
        if not isinstance(frames, dict):
            return given
        return {**{key: frames[key] for key in SHARED if key in frames}, **given}

    @model_validator(mode="after")
    def _agrees_with_frames(self) -> DataOptions:
        for key in SHARED:
            if key in (self.frames or {}) and (self.frames or {})[key] != getattr(self, key):
                raise ValueError(f"{key} is {getattr(self, key)}, in frames {(self.frames or {})[key]}; expected one")
        return self

    @model_validator(mode="after")
    def _counts_have_a_maximum(self) -> DataOptions:
        if self.binning == "count" and self.maximum is None:
            raise ValueError("binning 'count' needs maximum, the largest count that a tick of a pixel may hold")
        return self

    def frames_table(self) -> dict[str, Any] | None:
        """The table of ``frames`` with what stands outside of it, None where ticks of ``dt`` are all there is."""
        if self.frames is None:
            return None
        takes = FIELDS_OF_FRAMES.get(str(self.frames.get("kind")), ())
        return {**{key: getattr(self, key) for key in takes}, **self.frames}


class SurrogateOptions(_Strict):
    """The surrogate gradient of every neuron."""

    name: Literal["atan", "fast_sigmoid", "triangle", "straight_through"] = "atan"
    slope: float = Field(default=2.0, gt=0)


class TrainOptions(_Strict):
    """AdamW with a one-cycle learning rate on the cross-entropy of the scaled readout."""

    epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=0.004, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    logit_scale: float = Field(default=0.5, gt=0)


class PruningOptions(_Strict):
    """Synapses are pruned while they are trained; see :func:`neuroaccel.synapses.pruning.prune`.

    ``target`` is the share of weights that live at the end. ``schedule`` is sine unless the method is magnitude, whose
    own is cubic.
    """

    method: Literal["nsp", "stds", "magnitude", "rigl"] = "nsp"
    target: float = Field(default=0.1, gt=0, le=1)
    gain: Literal["fixed", "learned", "one"] = "fixed"
    gradient: Literal["stmod", "st"] = "stmod"
    schedule: Literal["sine", "linear", "cubic"] | None = None
    freeze: float = Field(default=0.1, ge=0, lt=1)
    cut: float = Field(default=0.1, ge=0)
    spread: Literal["erk", "uniform", "global"] = "erk"
    structured: bool = False
    gate: bool = True
    share_gate: bool = True
    skip: list[str] = []
    every: int | None = Field(default=None, ge=1)


class LowerOptions(_Strict):
    """How the trained network becomes a graph."""

    fold: bool = True
    snap: bool = True
    weight_bits: int | None = Field(default=None, ge=2, le=24)


class Recipe(_Strict):
    """A whole training run. ``layers`` are tables with a ``kind`` each; :mod:`neuroaccel.training.build` reads them."""

    name: str
    title: str = ""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    data: DataOptions = DataOptions()
    layers: list[dict[str, Any]] = Field(min_length=1)
    surrogate: SurrogateOptions = SurrogateOptions()
    train: TrainOptions = TrainOptions()
    pruning: PruningOptions | None = None
    lower: LowerOptions = LowerOptions()


def recipe_names() -> list[str]:
    """Names of the built-in recipes."""
    folder = files("neuroaccel.training") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """The TOML of a built-in recipe, comments included.

    Raises:
        RecipeError: there is none of that name.
    """
    if name not in recipe_names():
        raise RecipeError(f"unknown recipe '{name}'; known: {', '.join(recipe_names())}")
    return (files("neuroaccel.training") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A built-in recipe by name, or one from a ``.toml`` file.

    Arguments:
        name_or_path: the recipe.
        overrides: ``key=value`` with dotted keys and TOML values, such as ``train.epochs=3``; ``layers.2.beta=0.8``
            reaches into the list of layers.

    Raises:
        RecipeError: unknown name, unreadable file, unknown key, or a value that does not fit.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: cannot read this recipe ({error})") from error
    else:
        text = recipe_text(str(name_or_path))
    return parse_recipe(text, str(name_or_path), overrides)


def parse_recipe(text: str, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from TOML text; ``where`` names it in errors."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not TOML: {error}") from error
    for override in overrides:
        _set(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecipeError(f"{where}: {place}: {first['msg']} (found {first.get('input')!r})") from error


def _set(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set takes key=value, not '{override}'")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    at: Any = data
    *path, last = key.split(".")
    try:
        for part in path:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        if isinstance(at, list):
            at[int(last)] = parsed
        else:
            at[last] = parsed
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        raise RecipeError(f"--set {key}: no such place in the recipe") from error


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML that :func:`parse_recipe` reads back unchanged."""

    def literal(value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(map(literal, value)) + "]"
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{k} = {literal(v)}" for k, v in value.items()) + " }"
        return repr(value)

    data = recipe.model_dump(exclude_none=True)
    if not data["data"]["augment"]:
        del data["data"]["augment"]
    lines = [f"{k} = {literal(v)}" for k, v in data.items() if not isinstance(v, dict) and k != "layers"]
    for layer in data["layers"]:
        lines += ["", "[[layers]]", *(f"{k} = {literal(v)}" for k, v in layer.items())]
    for table in (k for k, v in data.items() if isinstance(v, dict)):
        lines += ["", f"[{table}]", *(f"{k} = {literal(v)}" for k, v in data[table].items())]
    return "\n".join(lines) + "\n"
