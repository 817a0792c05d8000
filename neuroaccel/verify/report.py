"""The result of a verification: a row per executor, the artifacts, the certificate; as JSON and as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from neuroaccel.verify.artifacts import ArtifactReport
from neuroaccel.verify.certificate import Certificate
from neuroaccel.verify.divergence import Divergence

Status = Literal["ok", "differs", "refused", "unavailable"]


@dataclass(frozen=True)
class ExecutorReport:
    """What became of one executor; counts are ``None`` where it did not run.

    Arguments:
        name, arithmetic, against: who, in which arithmetic, and the engine run that it was compared with.
        status: ``ok``, ``differs``, ``refused`` (it cannot hold a node), ``unavailable`` (it is not installed).
        samples: how many it ran.
        spikes: events that its spiking neurons emitted.
        differing: emissions of spiking neurons that differ from the reference's.
        outputs_differing: values of outputs that differ, over all ticks.
        max_membrane_error: largest distance of two membranes.
        reason: why it is not ok, or what a close comparison found.
        currents_differing, states_differing: values that differ, over all ticks.
        first_divergence: where the two part first.
        accuracy: fraction of its samples decided rightly, where labels were given.
    """

    name: str
    arithmetic: str
    against: str
    status: Status
    samples: int | None = None
    spikes: int | None = None
    differing: int | None = None
    outputs_differing: int | None = None
    max_membrane_error: float | None = None
    reason: str = ""
    currents_differing: int | None = None
    states_differing: int | None = None
    first_divergence: Divergence | None = None
    accuracy: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; an infinite error becomes ``null``."""
        data = dict(vars(self))
        error = self.max_membrane_error
        data["max_membrane_error"] = error if error is None or math.isfinite(error) else None
        data["first_divergence"] = None if self.first_divergence is None else self.first_divergence.to_json()
        return data


@dataclass(frozen=True)
class Accuracy:
    """Fractions of samples decided rightly by the network, and by it in Loihi's integers.

    Arguments:
        samples: how many.
        reference: by the engine in the graph's own arithmetic.
        quantised: by the quantised graph, ``None`` where it cannot be quantised.
    """

    samples: int
    reference: float
    quantised: float | None

    @property
    def lost(self) -> float | None:
        """What quantisation costs."""
        return None if self.quantised is None else self.reference - self.quantised

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "lost": self.lost}


@dataclass(frozen=True)
class VerifyReport:
    """A verification.

    Arguments:
        executors: those that must agree.
        reported: comparisons that need not agree (float64 against float32).
        artifacts: exported files that were checked.
        missing: required executors that were not verified.
        certificate: what anybody needs to replay the run, ``None`` where the engine cannot hold the graph.
        accuracy: where labels were given.
    """

    executors: list[ExecutorReport]
    reported: list[ExecutorReport] = field(default_factory=list)
    artifacts: list[ArtifactReport] = field(default_factory=list)
    missing: tuple[str, ...] = ()
    certificate: Certificate | None = None
    accuracy: Accuracy | None = None

    @property
    def ok(self) -> bool:
        """No executor and no artifact differs, every required one was verified, and at least one was."""
        found = {*(row.status for row in self.executors), *(artifact.status for artifact in self.artifacts)}
        refused = any(artifact.status == "refused" for artifact in self.artifacts)  # it was asked for by its path
        return "ok" in found and "differs" not in found and not refused and not self.missing

    def executor(self, name: str) -> ExecutorReport:
        """The row of an executor."""
        return next(row for row in self.executors if row.name == name)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: ``{"ok", "executors": [...], ...}``."""
        return {
            "ok": self.ok,
            "executors": [row.to_json() for row in self.executors],
            "reported": [row.to_json() for row in self.reported],
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
            "missing": list(self.missing),
            "accuracy": None if self.accuracy is None else self.accuracy.to_json(),
            "certificate": None if self.certificate is None else self.certificate.to_json(),
        }


COLUMNS = ("executor", "arithmetic", "against", "status", "samples", "spikes", "differing", "outputs", "membrane error")


def _cells(row: ExecutorReport) -> list[str]:
    def text(value: int | float | None) -> str:
        return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3g}"

    numbers = (row.samples, row.spikes, row.differing, row.outputs_differing, row.max_membrane_error)
    return [row.name, row.arithmetic, row.against, row.status, *map(text, numbers)]


def table(report: VerifyReport) -> str:
    """A report as plain text: a row per executor, then why any of them is not ok, artifacts and accuracy."""
    rows = [list(COLUMNS), *(_cells(row) for row in report.executors)]
    rows += [[f"({row.name})", *_cells(row)[1:3], "reported", *_cells(row)[4:]] for row in report.reported]
    widths = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(w) if k < 4 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    lines += [f"{row.name}: {row.reason}" for row in report.executors if row.reason]
    for artifact in report.artifacts:
        lines.append(f"artifact {artifact.path} ({artifact.kind}): {artifact.status}")
        lines += [f"  {line}" for line in artifact.differences]
        lines += [f"  {artifact.reason}"] if artifact.reason else []
    if report.accuracy is not None:
        a = report.accuracy
        lines.append(f"accuracy on {a.samples} samples: {a.reference:.2%}")
        if a.quantised is not None:
            lines[-1] += f"; in Loihi's integers {a.quantised:.2%}, lost to quantisation {a.lost:.2%}"
    lines += [f"required and not verified: {', '.join(report.missing)}"] if report.missing else []
    lines.append("verified" if report.ok else "NOT verified")
    return "\n".join(line.rstrip() for line in lines)
