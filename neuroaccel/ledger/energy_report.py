"""Energy of a book under a profile: counts times constants, row by row, with everything that is missing said."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import InputError
from neuroaccel.ledger.baselines import Baseline, dense_baselines, proxies
from neuroaccel.ledger.book import Book
from neuroaccel.ledger.charge import CLASSES, Charger, Energies, charge_node
from neuroaccel.ledger.profile import Profile, load_profile


@dataclass(frozen=True, eq=False)
class Row:
    """Energy of one node, per inference.

    Arguments:
        node, kind, role: which node.
        energies: synapse, neuron, memory and network → (low, high) picojoules of every sample, ``[2, N]``.
    """

    node: str
    kind: str
    role: str
    energies: Mapping[str, Energies]

    @property
    def total(self) -> Energies:
        return np.asarray(np.sum([self.energies[c] for c in CLASSES], axis=0, dtype=np.float64))

    def to_json(self) -> dict[str, Any]:
        """Means over samples, (low, high)."""
        parts = {f"{c}_pj": _mean(self.energies[c]) for c in CLASSES}
        return {"node": self.node, "kind": self.kind, "role": self.role, "total_pj": _mean(self.total), **parts}


@dataclass(frozen=True, eq=False)
class EnergyReport:
    """What an inference costs under one profile.

    Arguments:
        profile: the constants.
        rows: one per node, in the order of execution.
        missing: operations that took place and were left out, because no constant is published.
        bounds: constants that their source calls a minimum.
        notes: how to read the figures.
        static_pj: static energy over the duration, (low, high); ``None`` without a constant or a duration.
        duration_s: seconds of one inference.
        clocked_extra_pj: what a machine that updates every neuron at every tick would add, (low, high) mean; ``None``
            where the profile charges idle updates already.
        baselines: the dense networks of the same layers.
        proxies: figures that papers use, per inference; never a total of this report.
        provenance: every constant that was charged, with its source.
    """

    profile: Profile
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    bounds: tuple[str, ...]
    notes: tuple[str, ...]
    static_pj: tuple[float, float] | None
    duration_s: float | None
    clocked_extra_pj: tuple[float, float] | None
    baselines: tuple[Baseline, ...]
    proxies: Mapping[str, float]
    provenance: tuple[dict[str, Any], ...]

    @property
    def per_sample(self) -> Energies:
        """Dynamic energy of every sample, (low, high), ``[2, N]``; static energy is apart."""
        return np.asarray(np.sum([r.total for r in self.rows], axis=0, dtype=np.float64))

    @property
    def mean_pj(self) -> tuple[float, float]:
        """Mean dynamic energy per inference, (low, high)."""
        return _mean(self.per_sample)

    @property
    def sd_pj(self) -> tuple[float, float]:
        """Standard deviation over samples, n − 1 in the denominator, 0 for a single sample."""
        values = self.per_sample
        if values.shape[1] < 2:
            return 0.0, 0.0
        low, high = values.std(axis=1, ddof=1)
        return float(low), float(high)

    @property
    def lower_bound(self) -> bool:
        """Whether the real figure is larger: something is missing, or a constant is a minimum."""
        return bool(self.missing or self.bounds)

    def class_pj(self, name: str) -> tuple[float, float]:
        """Mean of one class over all rows: synapse, neuron, memory or network."""
        return _mean(np.sum([r.energies[name] for r in self.rows], axis=0, dtype=np.float64))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; energies in picojoules per inference, (low, high)."""
        return {
            "profile": self.profile.name,
            "title": self.profile.title,
            "node": self.profile.node,
            "mean_pj": self.mean_pj,
            "sd_pj": self.sd_pj,
            "lower_bound": self.lower_bound,
            "compute_pj": [a + b for a, b in zip(self.class_pj("synapse"), self.class_pj("neuron"), strict=True)],
            **{f"{c}_pj": self.class_pj(c) for c in CLASSES},
            "static_pj": self.static_pj,
            "duration_s": self.duration_s,
            "clocked_extra_pj": self.clocked_extra_pj,
            "rows": [r.to_json() for r in self.rows],
            "missing": list(self.missing),
            "minimum": list(self.bounds),
            "notes": list(self.notes),
            "baselines": [b.to_json() for b in self.baselines],
            "proxies_pj": dict(self.proxies),
        }


def _mean(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = values.mean(axis=1)
    return float(low), float(high)


def energy(
    book: Book,
    profile: Profile | str | os.PathLike[str],
    *,
    duration_s: float | None = None,
    strict: bool = False,
) -> EnergyReport:
    """Energy per inference: Σ counts · constants.

    ``processor`` profiles: additions for synaptic events, multiply-accumulates for macs, the operations of each driven
    update, and memory traffic at the smallest level that holds a layer. ``chip`` profiles: synaptic events, active and
    inactive updates, spikes. A sample is one inference.

    Arguments:
        book: counts, from any executor.
        profile: a profile, its name, or the path of a profile file.
        duration_s: seconds of one inference, for static energy; by default T · dt where the network has a dt.
        strict: raise where an operation has no published constant, instead of leaving it out.

    Raises:
        InputError: an unknown profile, a duration that is not positive, or, if strict, a missing constant.
        FileFormatError: a malformed profile.
    """
    if not isinstance(profile, Profile):
        profile = load_profile(profile)
    if duration_s is None and book.dt is not None:
        duration_s = book.ticks * book.dt
    if duration_s is not None and not 0 < duration_s < float("inf"):
        raise InputError(f"energy: duration is {duration_s} s, expected a positive number of seconds")
    charger = Charger(profile, book.samples, strict)
    rows = tuple(
        Row(name, f.kind, f.role, charge_node(charger, name, f, book.columns[name])) for name, f in book.facts.items()
    )
    notes = [
        "encoding, the first layer and the readout are rows like any other; nothing upstream of the Input is counted"
    ]
    if profile.model == "chip":
        charger.charge("barrier", np.full(book.samples, book.ticks, np.int64), "barrier synchronisation")
        notes.append("hops between tiles need a placement and are not charged; memory is inside the constants")
        charger.bounds.setdefault("hops between tiles are left out", None)
    else:
        notes += [
            "bytes are charged pro rata of the level's access width; no weight is reused",
            "neg, abs, copy, select, flush, floor and shift are wiring and cost nothing; comparisons cost an addition",
        ]
    static = profile.constant("static")
    static_pj = None
    if static is None or static.value is None:
        notes.append("static power: not published")
        if strict and duration_s is not None:
            raise InputError(f"energy: profile '{profile.name}' has no published constant 'static'")
    elif duration_s is None:
        notes.append("static energy needs a duration and is left out")
    else:
        static_pj = (static.value[0] * duration_s * 1e12, static.value[1] * duration_s * 1e12)
        charger.used.setdefault("static", static)
    idle = _mean(_idle(profile, book)) if profile.model == "processor" else None
    baselines = dense_baselines(book, profile, charger.used)
    return EnergyReport(
        profile=profile,
        rows=rows,
        missing=tuple(charger.missing),
        bounds=tuple(charger.bounds),
        notes=tuple(notes),
        static_pj=static_pj,
        duration_s=duration_s,
        clocked_extra_pj=idle,
        baselines=baselines,
        proxies=proxies(book),
        provenance=tuple(c.to_json() | {"profile": profile.name} for c in charger.used.values()),
    )


def _idle(profile: Profile, book: Book) -> Energies:
    """Energy of the updates that nothing drove: a clocked machine does them all the same."""
    charger = Charger(profile, book.samples, strict=False)
    total = np.zeros((2, book.samples))
    for name, f in book.facts.items():
        column = book.columns[name]
        idle = column["updates_nominal"] - column["updates_driven"]
        if f.neurons:
            total += charger.operations(f, f.operations, idle, f"updates of '{name}'")
            total += charger.memory(idle * 2 * f.states * f.state_bits / 8, f.state_footprint, "states")
    return total
