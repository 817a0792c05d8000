"""What the same layers cost as a dense network, and the proxies that papers print."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import Any

import numpy as np

from neuroaccel.ledger.book import Book
from neuroaccel.ledger.charge import Charger, precision
from neuroaccel.ledger.profile import Constant, Profile

PROXY_MAC_PJ, PROXY_AC_PJ, PROXY_SPIKE_PJ = 4.6, 0.9, 5.0


@dataclass(frozen=True)
class Baseline:
    """A dense network of the same layers, run once.

    Arguments:
        name: what it is.
        macs: its multiply-accumulates.
        compute_pj, memory_pj: (low, high); ``None`` where the profile has no constants for it.
        note: how it was charged.
    """

    name: str
    macs: int
    compute_pj: tuple[float, float] | None
    memory_pj: tuple[float, float] | None
    note: str

    @property
    def total_pj(self) -> tuple[float, float] | None:
        if self.compute_pj is None or self.memory_pj is None:
            return None
        return self.compute_pj[0] + self.memory_pj[0], self.compute_pj[1] + self.memory_pj[1]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "macs": self.macs,
            "compute_pj": self.compute_pj,
            "memory_pj": self.memory_pj,
            "total_pj": self.total_pj,
            "note": self.note,
        }


def dense_baselines(book: Book, profile: Profile, used: dict[str, Constant]) -> tuple[Baseline, ...]:
    """The dense network at equal precision and the iso-precision quantised one, each with and without weight reuse.

    A network of T binary ticks tells T + 1 values apart, so the quantised one has ⌈log2(T + 1)⌉ bits per activation.
    Every mac is charged, none is skipped for a zero; each activation is written once and read once per consumer; each
    weight is read once per mac, or (reuse) once per inference. A ReLU is one comparison. Constants that are charged are
    added to ``used``.

    Source: the iso-precision comparison follows Yan et al., arXiv 2409.08290.
    """
    if profile.model == "chip":
        note = f"no constants for dense layers in '{profile.name}'; compare within a processor profile"
        return (Baseline("dense ANN", book.ann_macs, None, None, note),)
    bits = max(1, ceil(log2(book.ticks + 1)))
    nearest = precision(bits)
    found = []
    for reuse in (False, True):
        how = "every weight read once" if reuse else "a weight read per mac"
        label = "with weight reuse" if reuse else "without weight reuse"
        found.append(_dense(book, profile, used, f"dense ANN, equal precision, {label}", None, reuse, how))
        found.append(
            _dense(
                book,
                profile,
                used,
                f"quantised ANN, iso-precision {bits} bits, {label}",
                bits,
                reuse,
                f"{how}; macs and weights as {nearest}, the nearest published precision",
            )
        )
    return tuple(found)


def _dense(
    book: Book, profile: Profile, used: dict[str, Constant], name: str, bits: int | None, reuse: bool, note: str
) -> Baseline:
    charger = Charger(profile, 1, strict=False)
    compute, memory = np.zeros((2, 1)), np.zeros((2, 1))

    def one(value: float) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([value], dtype=np.float64)

    for node, f in book.facts.items():
        if f.integer_bits is not None:
            operand, accumulator = (precision(b) for b in f.integer_bits)
        else:
            operand = accumulator = "fp32"
        weight_bits, activation_bits = f.weight_bits, 32 if f.integer_bits is None else f.integer_bits[0]
        if bits is not None:
            operand = accumulator = precision(bits)
            weight_bits, activation_bits = (8 if operand == "int8" else 32), bits
        if f.ann_macs:
            compute += charger.charge(f"{operand}_mul", one(f.ann_macs), f"macs of '{node}'")
            compute += charger.charge(f"{accumulator}_add", one(f.ann_macs), f"macs of '{node}'")
        if f.weights:
            reads = f.weights if reuse else f.ann_macs
            memory += charger.memory(one(reads * weight_bits / 8), ceil(f.weights * weight_bits / 8), "weights")
        if f.neurons:
            compute += charger.charge(f"{accumulator}_add", one(f.neurons), "ReLU")
        if f.neurons or f.kind == "Input":
            moved = f.elements * (1 + f.consumers) * activation_bits / 8
            memory += charger.memory(one(moved), ceil(f.elements * activation_bits / 8), "activations")
    used |= {k: v for k, v in charger.used.items() if k not in used}
    if charger.missing:
        return Baseline(name, book.ann_macs, None, None, "; ".join(charger.missing))
    pair = [(float(e[0, 0]), float(e[1, 0])) for e in (compute, memory)]
    return Baseline(name, book.ann_macs, pair[0], pair[1], note)


def proxies(book: Book) -> dict[str, float]:
    """Figures that papers print, mean picojoules per inference; they leave memory, neurons and static power out.

    ``proxy_syops`` = 4.6 · macs + 0.9 · synaptic_events (syops-counter and most SNN papers; 45 nm float32);
    ``proxy_spike_5pJ`` = 5 · spikes.
    """
    macs, events, spikes = (book.mean(c)[0] for c in ("macs", "synaptic_events", "spikes"))
    return {
        "proxy_syops": PROXY_MAC_PJ * macs + PROXY_AC_PJ * events,
        "proxy_spike_5pJ": PROXY_SPIKE_PJ * spikes,
    }
