"""Energy profiles: TOML files in which every constant says where it comes from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from neuroaccel.errors import FileFormatError, InputError

NOT_PUBLISHED = "not published"
MODELS = ("processor", "chip")
BASES = ("measured", "simulated", "fitted")
_REQUIRED = ("value", "unit", "basis", "node", "voltage", "source")
_OPTIONAL = ("note", "bound", "access_bits", "capacity_bytes")


@dataclass(frozen=True)
class Constant:
    """One published figure.

    Arguments:
        name: its name in the profile.
        value: (low, high), equal where one figure was published; ``None``: nobody published it.
        unit: pJ, or W for static power.
        basis: measured, simulated or fitted.
        node: process node.
        voltage: supply in volts.
        source: where it was published.
        note: what a reader should know.
        bound: ``minimum`` if the source says that the figure is one.
        access_bits, capacity_bytes: of a memory level: width of the access that the figure is for, and size of the
            memory (0: unlimited).
    """

    name: str
    value: tuple[float, float] | None
    unit: str
    basis: str
    node: str
    voltage: float
    source: str
    note: str = ""
    bound: str = ""
    access_bits: int = 0
    capacity_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """JSON-ready provenance."""
        out = {k: v for k, v in asdict(self).items() if v not in ("", 0)}
        if self.value is None:
            return out | {"value": NOT_PUBLISHED}
        return out | {"value": self.value[0] if self.value[0] == self.value[1] else list(self.value)}


@dataclass(frozen=True)
class Profile:
    """A named set of constants of one process node.

    Arguments:
        name: what people ask for.
        title: one line for the reader.
        model: ``processor`` charges arithmetic and memory accesses, ``chip`` charges neuromorphic events.
        node: process node of every constant.
        constants: name → constant.
    """

    name: str
    title: str
    model: str
    node: str
    constants: Mapping[str, Constant]

    def constant(self, name: str) -> Constant | None:
        """The constant of that name; ``None`` if there is none or nobody published it."""
        found = self.constants.get(name)
        return None if found is None or found.value is None else found

    @property
    def levels(self) -> tuple[Constant, ...]:
        """Published memory levels, the smallest first, unlimited ones last."""
        memories = [c for c in self.constants.values() if c.access_bits and c.value is not None]
        return tuple(sorted(memories, key=lambda c: c.capacity_bytes or float("inf")))

    def level(self, footprint: int) -> Constant | None:
        """The smallest memory that holds ``footprint`` bytes."""
        return next((c for c in self.levels if not c.capacity_bytes or c.capacity_bytes >= footprint), None)


def profiles() -> tuple[str, ...]:
    """Names of the profiles that come with the package."""
    folder = files("neuroaccel.hardware") / "profiles"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))


def load_profile(name: str | os.PathLike[str]) -> Profile:
    """Read a profile by its name, or any profile file by its path.

    Raises:
        InputError: no profile of that name, no such file.
        FileFormatError: a malformed profile; names the file and the constant.
    """
    text = os.fspath(name)
    if text in profiles():
        resource = files("neuroaccel.hardware") / "profiles" / f"{text}.toml"
        return parse_profile(resource.read_text("utf-8"), f"{text}.toml")
    path = Path(text)
    if not path.is_file():
        raise InputError(f"no energy profile '{text}'; known: {', '.join(profiles())}, or the path of a .toml file")
    try:
        return parse_profile(path.read_text("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path}: not a text file ({error})") from error


def parse_profile(text: str, where: str) -> Profile:
    """Check a profile's text.

    Raises:
        FileFormatError: naming ``where`` and the constant.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileFormatError(f"{where}: not valid TOML ({error})") from error
    for key in ("name", "title", "model", "node"):
        if not isinstance(data.get(key), str) or not data[key]:
            raise FileFormatError(f"{where}: '{key}' is missing")
    if data["model"] not in MODELS:
        raise FileFormatError(f"{where}: model is {' or '.join(MODELS)}, not '{data['model']}'")
    tables = data.get("constants")
    if not isinstance(tables, dict) or not tables:
        raise FileFormatError(f"{where}: it has no constants")
    constants = {name: _constant(name, table, where) for name, table in tables.items()}
    for c in constants.values():
        if c.node != data["node"]:
            raise FileFormatError(
                f"{where}: constant '{c.name}' is of node {c.node}, the profile of {data['node']}; "
                f"process nodes are not mixed in one total"
            )
    return Profile(data["name"], data["title"], data["model"], data["node"], constants)


def _constant(name: str, table: Any, where: str) -> Constant:
    if not isinstance(table, dict):
        raise FileFormatError(f"{where}: constant '{name}' is {table!r}, expected a table with {', '.join(_REQUIRED)}")
    for key in _REQUIRED:
        if key not in table or table[key] == "":
            raise FileFormatError(f"{where}: constant '{name}' has no {key}")
    if unknown := set(table) - {*_REQUIRED, *_OPTIONAL}:
        raise FileFormatError(f"{where}: constant '{name}' has unknown entries {sorted(unknown)}")
    for key in ("basis", "node", "source", "unit", "note", "bound"):
        if not isinstance(table.get(key, ""), str):
            raise FileFormatError(f"{where}: constant '{name}': {key} is {table[key]!r}, expected text")
    if table["basis"] not in BASES:
        raise FileFormatError(f"{where}: constant '{name}': basis is {', '.join(BASES)}, not '{table['basis']}'")
    if table["unit"] != ("W" if name == "static" else "pJ"):
        raise FileFormatError(
            f"{where}: constant '{name}': unit '{table['unit']}', expected pJ (W for the constant 'static')"
        )
    if table.get("bound", "") not in ("", "minimum"):
        raise FileFormatError(f"{where}: constant '{name}': bound is 'minimum' or left out, not '{table['bound']}'")
    if not _number(table["voltage"]) or not table["voltage"] > 0:
        raise FileFormatError(f"{where}: constant '{name}': voltage is {table['voltage']!r}, expected volts above 0")
    sizes = [table.get(key, 0) for key in ("access_bits", "capacity_bytes")]
    if any(not isinstance(s, int) or isinstance(s, bool) or s < 0 for s in sizes) or (sizes[1] and not sizes[0]):
        raise FileFormatError(
            f"{where}: constant '{name}': a memory level needs a whole access_bits > 0 and capacity_bytes >= 0"
        )
    rest = {key: table[key] for key in ("unit", "basis", "node", "source", *_OPTIONAL) if key in table}
    return Constant(name=name, value=_value(name, table["value"], where), voltage=float(table["voltage"]), **rest)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def _value(name: str, value: Any, where: str) -> tuple[float, float] | None:
    if value == NOT_PUBLISHED:
        return None
    pair = value if isinstance(value, list) else [value, value]
    if len(pair) != 2 or not all(_number(v) for v in pair) or not 0 <= pair[0] <= pair[1]:
        raise FileFormatError(
            f"{where}: constant '{name}': value is {value!r}, expected a number >= 0, [low, high] or '{NOT_PUBLISHED}'"
        )
    return float(pair[0]), float(pair[1])
