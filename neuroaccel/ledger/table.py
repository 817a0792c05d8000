"""The report as plain text and as the JSON of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuroaccel.ledger.book import Book
from neuroaccel.ledger.charge import CLASSES
from neuroaccel.ledger.energy_report import EnergyReport
from neuroaccel.ledger.execution import ExecutionBook

COUNTS = ("synaptic_events", "macs", "updates_driven", "spikes", "zero_input", "pruned")
Pair = tuple[float, float]


def number(value: float) -> str:
    """Four significant digits, thousands apart: 12,345,678 stays readable."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def picojoules(pair: Pair | None) -> str:
    """A figure or a range, in the unit that suits its size."""
    if pair is None:
        return "not published"
    units = (("mJ", 1e9), ("µJ", 1e6), ("nJ", 1e3), ("pJ", 0.0))
    unit, size = next((u, max(s, 1.0)) for u, s in units if pair[1] >= s)
    low, high = (f"{v / size:.4g}" for v in pair)
    return f"{low} {unit}" if low == high else f"{low}–{high} {unit}"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first two columns to the left, numbers to the right."""
    widths = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        )

    return [line(head).rstrip(), "  ".join("-" * w for w in widths), *(line(r).rstrip() for r in rows)]


def format_book(book: Book) -> str:
    """The algorithm book: mean counts per node and in total, and that it balances."""
    rows = []
    for name, f in book.facts.items():
        cells = [number(book.mean(c, name)[0]) for c in COUNTS]
        if any(c != "0" for c in cells):
            rows.append([name, f.role or f.kind, *cells])
    rows.append(["total", "", *(number(book.mean(c)[0]) for c in COUNTS)])
    lines = [f"Algorithm book: mean per inference of {book.samples} samples, {book.ticks} ticks"]
    lines += columns(["node", "role", *COUNTS], rows)
    fates = " + ".join(
        f"{c} {number(book.mean(c)[0])}" for c in ("executed", "zero_input", "pruned") if book.mean(c)[0]
    )
    other = [f"{c} {number(book.mean(c)[0])}" for c in ("gated", "dropped", "cached", "exited") if book.mean(c)[0]]
    lines.append(f"balance: nominal {number(book.mean('nominal')[0])} = {' + '.join([fates or '0', *other])}")
    return "\n".join(lines)


def format_execution(execution: ExecutionBook) -> str:
    """The execution book, in three lines."""
    seconds = "not measured" if execution.seconds is None else f"{execution.seconds:.4g} s"
    touched = ", ".join(f"{k} {number(v)}" for k, v in execution.neurons_touched.items()) or "none"
    moved = ", ".join(f"{k} {number(v)} B" for k, v in execution.bytes_by_level.items()) or "none"
    return (
        f"Execution book: {execution.executor}, {execution.samples} samples in {seconds}\n"
        f"neurons touched: {touched}\nbytes moved by level: {moved}"
    )


def format_table(report: EnergyReport, book: Book | None = None, execution: ExecutionBook | None = None) -> str:
    """A plain text table of an energy report, its counts above it if given.

    Arguments:
        report: of :func:`~neuroaccel.ledger.energy`.
        book: the algorithm book that it was made from.
        execution: what the executor did; printed under the algorithm book.
    """
    lines = [] if book is None else [format_book(book), ""]
    if execution is not None:
        lines += [format_execution(execution), ""]
    bound = "at least " if report.lower_bound else ""
    lines.append(f"Energy per inference: {report.profile.name} ({report.profile.title})")
    rows = []
    for r in report.rows:
        if r.role or r.total.any():
            parts = [(float(e[0].mean()), float(e[1].mean())) for e in (r.energies[c] for c in CLASSES)]
            whole = r.total.mean(axis=1)
            total = (float(whole[0]), float(whole[1]))
            rows.append([r.node, r.role or r.kind, *(picojoules(p) for p in parts), picojoules(total)])
    sums = [picojoules(report.class_pj(c)) for c in CLASSES]
    rows.append(["total", "", *sums, picojoules(report.mean_pj)])
    lines += columns(["node", "role", *CLASSES, "total"], rows)
    lines.append(f"dynamic: {bound}{picojoules(report.mean_pj)} ± {picojoules(report.sd_pj)} (sd over samples)")
    if report.static_pj is not None:
        lines.append(f"static: {picojoules(report.static_pj)} over {report.duration_s:g} s, not in the total")
    if report.clocked_extra_pj is not None:
        lines.append(f"a clocked machine adds {picojoules(report.clocked_extra_pj)} for updates that nothing drove")
    lines += [f"left out, not published: {m}" for m in report.missing]
    lines += [f"lower bound: {b}" for b in report.bounds]
    lines += ["", "Dense networks of the same layers, run once"]
    lines += columns(
        ["baseline", "macs", "compute", "memory", "total"],
        [
            [b.name, number(b.macs), picojoules(b.compute_pj), picojoules(b.memory_pj), picojoules(b.total_pj)]
            for b in report.baselines
        ],
    )
    lines += [f"{b.name}: {b.note}" for b in report.baselines]
    lines += ["", "Proxies that papers print (no memory, no neurons; not a total of this report)"]
    lines += [f"{name}: {picojoules((value, value))}" for name, value in report.proxies.items()]
    lines += ["", *(f"note: {note}" for note in report.notes)]
    lines += [f"{c['name']} = {c['value']} {c['unit']} ({c['basis']}): {c['source']}" for c in report.provenance]
    return "\n".join(lines)


def to_json(book: Book, reports: Sequence[EnergyReport], execution: ExecutionBook | None = None) -> dict[str, Any]:
    """``{"layers", "totals", "energy_pj": {profile: …}, "provenance"}``: means over samples.

    Arguments:
        book: the algorithm book.
        reports: one per profile.
        execution: added under ``execution`` if given.
    """
    data = book.to_json()
    layers = [
        entry | {"counts": {c: book.mean(c, entry["node"])[0] for c in entry["counts"]}} for entry in data["nodes"]
    ]
    totals: Mapping[str, Any] = {
        "ticks": book.ticks,
        "samples": book.samples,
        "ann_macs": book.ann_macs,
        "counts": data["totals"],
    }
    out: dict[str, Any] = {
        "layers": layers,
        "totals": totals,
        "energy_pj": {r.profile.name: r.to_json() for r in reports},
        "provenance": [c for r in reports for c in r.provenance],
    }
    return out if execution is None else out | {"execution": execution.to_json()}
