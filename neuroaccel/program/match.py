"""Recognising a program: exporters match the neurons that they know by their arithmetic, never by their name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from neuroaccel.errors import ProgramError
from neuroaccel.program.language import Program
from neuroaccel.program.zoo import ALIF, IF, LI, LIF, CubaLIF, GradedLIF

_BOTH = (False, True)
# Options of how a neuron spikes and resets, and which optional parameters its program carries.
_SPIKING: dict[str, tuple[Any, ...]] = {
    "tie": ("gt", "ge"),
    "reset": ("zero", "to_value", "subtract"),
    "reset_delay": (0, 1),
}
_FAMILIES: tuple[tuple[str, dict[str, tuple[Any, ...]]], ...] = (
    ("IF", _SPIKING | {"gain": _BOTH}),
    ("LIF", {"form": ("decay",)} | _SPIKING | {"gain": _BOTH, "v_leak": _BOTH}),
    ("LIF", {"form": ("euler",)} | _SPIKING | {"resistance": _BOTH, "v_leak": _BOTH}),
    ("LIF", {"form": ("decay_input",)} | _SPIKING),
    ("CubaLIF", _SPIKING | {"gain": _BOTH, "v_leak": _BOTH}),
    ("LI", {"gain": _BOTH, "v_leak": _BOTH}),
    ("ALIF", _SPIKING | {"gain": _BOTH}),
    ("GradedLIF", {"bits": tuple(range(1, 17))}),
)
_CONSTRUCTORS: dict[str, Any] = {
    "IF": IF,
    "LIF": LIF,
    "CubaLIF": CubaLIF,
    "LI": LI,
    "ALIF": ALIF,
    "GradedLIF": GradedLIF,
}


class Known(NamedTuple):
    """A recognised neuron.

    Arguments:
        name: its constructor: IF, LIF, CubaLIF, LI, ALIF or GradedLIF.
        options: what shaped its program: ``form``, ``tie``, ``reset``, ``reset_delay`` and ``bits`` as the constructor
            takes them; ``gain``, ``v_leak`` and ``resistance`` say whether the program has that parameter.
    """

    name: str
    options: Mapping[str, Any]


def program_of(name: str, options: Mapping[str, Any]) -> Program:
    """The program that a constructor writes for the given options; :func:`match` is its inverse.

    Arguments:
        name, options: as in :class:`Known`.

    Raises:
        ProgramError: no such constructor or option.
    """
    if name not in _CONSTRUCTORS:
        raise ProgramError(f"unknown neuron '{name}'; known: {', '.join(_CONSTRUCTORS)}")
    # A value other than the default makes a constructor write the parameter down.
    values: dict[str, Any] = {key: 2.0 for key in ("gain", "v_leak", "resistance") if options.get(key)}
    values |= {key: value for key, value in options.items() if key not in ("gain", "v_leak", "resistance")}
    if options.get("form") == "euler":
        values["rate"] = 0.5
    if options.get("form") == "decay_input":
        values["tau"] = 2.0
    try:
        program: Program = _CONSTRUCTORS[name](**values).program
    except TypeError as error:
        raise ProgramError(f"neuron '{name}': {error}") from error
    return program


def known() -> Iterator[Known]:
    """Every program that the constructors can make, by constructor and options."""
    for name, axes in _FAMILIES:
        for chosen in product(*axes.values()):
            yield Known(name, dict(zip(axes, chosen, strict=True)))


@lru_cache(maxsize=1)
def _table() -> dict[str, Known]:
    return {program_of(k.name, k.options).key: k for k in known()}


def match(program: Program) -> Known | None:
    """Which constructor writes this arithmetic, and with which options; ``None`` for a neuron of one's own.

    >>> from neuroaccel.program import LIF, match
    >>> known = match(LIF(beta=0.9, tie="ge", gain=0.5).program)
    >>> known.name, known.options["tie"], known.options["gain"], known.options["v_leak"]
    ('LIF', 'ge', True, False)
    """
    return _table().get(program.key)
