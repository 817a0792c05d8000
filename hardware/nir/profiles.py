"""What readers of NIR make of a file: an export for one of them refuses what that reader gets wrong.

Source: their importers, as of snntorch 1.0.0, norse 1.1.0, and lava-nc 0.10.0's LIF.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from neuroaccel.errors import InputError, UnsupportedNode

Profile = Literal["strict", "snntorch", "norse", "lava"]


@dataclass(frozen=True)
class Reader:
    """What a reader holds.

    Arguments:
        types: NIR nodes that it knows (``None``: all).
        dt: the only seconds per tick that it assumes, whatever the file's metadata say.
        fold_r: it ignores R, which must therefore stand in the weights.
        uniform: fields that must be the same for all neurons of a layer.
        zero: fields that it takes to be 0.
        one_gain: R·dt/τ must be the same for all neurons of a layer.
        recurrence: whether it reads cycles.
        batch_axis: it counts Flatten's axes with a batch axis in front, so they are written from the end.
    """

    types: frozenset[str] | None = None
    dt: float | None = None
    fold_r: bool = False
    uniform: tuple[str, ...] = ()
    zero: tuple[str, ...] = ()
    one_gain: bool = False
    recurrence: bool = True
    batch_axis: bool = False


_PORTS = frozenset({"Input", "Output"})
READERS: dict[str, Reader] = {
    "strict": Reader(),
    "snntorch": Reader(
        types=_PORTS | {"Affine", "Linear", "Conv2d", "AvgPool2d", "Flatten", "LIF", "CubaLIF"},
        dt=1e-4,
        uniform=("v_threshold",),
        zero=("v_leak", "v_reset"),
        one_gain=True,
        recurrence=False,
        batch_axis=True,
    ),
    "norse": Reader(
        types=_PORTS | {"Affine", "Linear", "Conv2d", "SumPool2d", "Flatten", "LIF", "CubaLIF"},
        fold_r=True,
        zero=("v_reset",),
        batch_axis=True,
    ),
    "lava": Reader(
        types=_PORTS | {"Affine", "Linear", "Conv2d", "Flatten", "IF", "LIF", "CubaLIF"},
        uniform=("v_threshold",),
        zero=("v_reset",),
    ),
}


def reader_of(profile: str) -> Reader:
    """The reader that a profile names.

    Raises:
        InputError: an unknown profile.
    """
    if profile not in READERS:
        raise InputError(f"unknown NIR profile '{profile}'; known: {', '.join(READERS)}")
    return READERS[profile]


def check_reader(profile: str, nodes: Mapping[str, Any], names: Mapping[str, str], dt: float, cyclic: bool) -> None:
    """Refuse what the reader gets wrong.

    Arguments:
        profile: its name.
        nodes: NIR name → node.
        names: NIR name → name in the graph.
        dt: seconds per tick of the file.
        cyclic: whether the graph has recurrent edges.

    Raises:
        UnsupportedNode: naming the node and what to do.
        InputError: another dt than the reader's.
    """
    reader = reader_of(profile)
    if reader.dt is not None and not np.isclose(reader.dt, dt, rtol=1e-9):
        raise InputError(
            f"{profile} reads every NIR file at dt = {reader.dt:g} s, this graph has dt = {dt:g} s; "
            f"set the graph's dt to {reader.dt:g} (its ticks stay the same)"
        )

    def wrong(name: str, reason: str) -> UnsupportedNode:
        return UnsupportedNode(names[name], f"NIR for {profile}", reason)

    for name, node in nodes.items():
        kind = type(node).__name__
        if reader.types is not None and kind not in reader.types:
            raise wrong(name, f"{profile} does not read nir.{kind}; export with profile='strict' for other readers")
        for field in reader.uniform:
            value = getattr(node, field, None)
            if value is not None and np.unique(value).size > 1:
                raise wrong(name, f"{profile} takes one {field} per layer; give all its neurons the same")
        zero = reader.zero + (("v_leak",) if profile == "norse" and kind == "CubaLIF" else ())
        for field in zero:
            if np.any(getattr(node, field, 0) != 0):
                raise wrong(name, f"{profile} takes {field} to be 0")
        if reader.one_gain and kind in ("LIF", "CubaLIF"):
            gain = node.r * dt / (node.tau if kind == "LIF" else node.tau_mem)
            if np.unique(gain.astype(np.float32)).size > 1 or (kind == "CubaLIF" and not np.allclose(gain, 1)):
                raise wrong(name, f"{profile} takes one gain per layer, 1 for CubaLIF; put it into the weights")
        if profile == "norse" and kind == "SumPool2d" and np.any(node.padding != 0):
            raise wrong(name, "norse ignores a pool's padding; pad in the convolution before it")
    if cyclic and not reader.recurrence:
        raise InputError(f"{profile} reads only recurrent layers of its own kind; export with profile='strict'")
