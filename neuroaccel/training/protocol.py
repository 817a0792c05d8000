"""Protocols: recipes for published data sets with all that has to be fixed before the test set is looked at."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import neuroaccel.datasets.tonic_sets as tonic_sets
from neuroaccel.errors import RecipeError
from neuroaccel.training.recipe import Recipe, _set

Select = Literal["best_validation", "last_epoch"]
Model = TypeVar("Model", bound=BaseModel)


class ProtocolOptions(BaseModel):
    """The table ``[protocol]``.

    ``seeds``: how many, from 0. ``select``: which epoch of a training is taken. ``on_error``: what happens to wrong
    events and damaged recordings, see :func:`neuroaccel.datasets.tonic_sets.load`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: int = Field(default=3, ge=1)
    select: Select = "best_validation"
    on_error: Literal["raise", "drop", "clip"] = "raise"


@dataclass(frozen=True)
class Protocol:
    """A recipe, the number of seeds, the rule that selects the model, and what the user changed of all that.

    Arguments:
        name: of the protocol.
        recipe: that of seed 0.
        options: seeds and selection.
        changes: ``key=value`` as they were given; results under changes are kept apart from the protocol's own.
    """

    name: str
    recipe: Recipe
    options: ProtocolOptions
    changes: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """Name of its results: the protocol's own, with a hash of the changes where there are any."""
        if not self.changes:
            return self.name
        return f"{self.name}-changed-{hashlib.sha256(chr(10).join(sorted(self.changes)).encode()).hexdigest()[:8]}"

    @property
    def held_out(self) -> str:
        """Where the validation split comes from, one line."""
        return tonic_sets.tonic_set(self.recipe.data.name).held_out

    def seeded(self, seed: int) -> Recipe:
        """The recipe of one seed: of the weights, the order of the samples and their augmentation."""
        data = self.recipe.data.model_copy(update={"seed": seed})
        return self.recipe.model_copy(update={"name": f"{self.stem}-seed-{seed}", "seed": seed, "data": data})


def protocol_names() -> list[str]:
    """Names of the protocols that come with the package."""
    folder = files("neuroaccel.training") / "protocols"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_protocol(name: str, changes: Sequence[str] = ()) -> Protocol:
    """A protocol by name.

    Arguments:
        name: such as ``shd``.
        changes: as the overrides of ``load_recipe``; ``protocol.seeds`` and ``protocol.select`` as well.

    Raises:
        RecipeError: an unknown name or key, or a value that does not fit.
    """
    if name not in protocol_names():
        raise RecipeError(f"unknown protocol '{name}'; known: {', '.join(protocol_names())}")
    data = tomllib.loads((files("neuroaccel.training") / "protocols" / f"{name}.toml").read_text(encoding="utf-8"))
    for change in changes:
        _set(data, change)
    options = _valid(ProtocolOptions, data.pop("protocol", {}), name, "protocol.")
    recipe = _valid(Recipe, data, name, "")
    if recipe.data.name not in tonic_sets.NAMES:
        raise RecipeError(f"{name}: data.name: {recipe.data.name!r}; expected one of {', '.join(tonic_sets.NAMES)}")
    return Protocol(name, recipe, options, tuple(changes))


def whose_data_is_there(folder: str | Path | None = None) -> list[dict[str, Any]]:
    """Every protocol: its name, title and data set, which splits' files are there, and in which folder they belong."""
    found = []
    for name in protocol_names():
        protocol = load_protocol(name)
        data = protocol.recipe.data.name
        there = tonic_sets.available(data, folder)
        found.append(
            {
                "name": name,
                "title": protocol.recipe.title,
                "data": data,
                "splits": there,
                "ready": all(there.values()),
                "folder": str(tonic_sets.data_folder(folder) / tonic_sets.tonic_set(data).tonic_class),
                "seeds": protocol.options.seeds,
                "validation": protocol.held_out,
            }
        )
    return found


def _valid(model: type[Model], data: Any, where: str, prefix: str) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = prefix + ".".join(map(str, first["loc"]))
        raise RecipeError(f"{where}: {place}: {first['msg']} (found {first.get('input')!r})") from error
