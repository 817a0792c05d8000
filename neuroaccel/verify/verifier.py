"""Executors side by side on the same input, part by part, so that memory does not grow with the number of samples."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuroaccel.engine.plan import Number
from neuroaccel.errors import (
    ExecutorFailure,
    ExecutorUnavailable,
    GraphError,
    InputError,
    MissingExtra,
    NeuroaccelError,
    UnsupportedNode,
)
from neuroaccel.graph import Graph, Trace
from neuroaccel.verify.artifacts import check_artifact
from neuroaccel.verify.certificate import Certificate, Digest, certify
from neuroaccel.verify.compare import Comparison, compare
from neuroaccel.verify.decisions import Decisions, as_labels, deciding_output, decisions, is_exact
from neuroaccel.verify.executors import EXECUTORS, Executor, Run, engine_trace, executor, natural
from neuroaccel.verify.inputs import CHUNK, Inputs, as_inputs, chunks, part, size_of
from neuroaccel.verify.report import Accuracy, ExecutorReport, Status, VerifyReport

logger = logging.getLogger("neuroaccel")
LAVA_SAMPLES = 16


@dataclass(eq=False)
class _Job:
    """One executor at work."""

    executor: Executor
    arithmetic: Number
    graph: Graph | None = None
    run: Run | None = None
    status: Status = "ok"
    reason: str = ""
    comparison: Comparison = field(default_factory=Comparison)
    decided: list[dict[str, Decisions]] = field(default_factory=list)
    expected: list[dict[str, Decisions]] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        return self.status == "ok"

    def stop(self, error: NeuroaccelError) -> None:
        """Note why it does not run (on)."""
        if isinstance(error, ExecutorUnavailable | MissingExtra):
            self.status = "unavailable"
        elif isinstance(error, ExecutorFailure):
            self.status = "differs"
        else:
            self.status = "refused"
        self.reason = str(error)
        logger.info("verify: %s: %s: %s", self.executor.name, self.status, error)


# What a job may meet and report; anything else is a bug, or the user's mistake, and is passed on.
_WHY = (UnsupportedNode, GraphError, ExecutorUnavailable, ExecutorFailure, MissingExtra)


class _References:
    """Engine runs of one part of the samples, each made once."""

    def __init__(self, x: Inputs) -> None:
        self.x = x
        self.made: dict[tuple[int, Number], Trace] = {}

    def trace(self, graph: Graph, arithmetic: Number) -> Trace:
        key = (id(graph), arithmetic)
        if key not in self.made:
            self.made[key] = engine_trace(graph, self.x, arithmetic)
        return self.made[key]


def verify(
    net: Any,
    x: Any,
    executors: Sequence[str | Executor] = tuple(EXECUTORS),
    *,
    require: Sequence[str] = (),
    lava_samples: int | None = None,
    artifacts: Sequence[str | os.PathLike[str]] = (),
    labels: Any = None,
    decision_tolerance: float = 0.0,
    rate_tolerance: float = 0.01,
    chunk: int = CHUNK,
    source: Mapping[str, Any] | None = None,
    **lowering: Any,
) -> VerifyReport:
    """Prove that executors give the same spikes.

    Every executor runs the same input; its currents, states, emissions and outputs are compared bit for bit with the
    engine's run in the same arithmetic. On a graph that is not exact (not snapped, or with nodes such as softmax)
    executors are only close: there the decisions of the outputs and the rates of spikes are compared, and the report
    says so; what comes before the first node that is close must be the same bit for bit all the same.

    Arguments:
        net: a graph, or a torch network, which is lowered first.
        x: ``[T, N, *shape]`` array or tensor, a list of event streams, or input name → one of these.
        executors: names from :data:`~neuroaccel.verify.executors.EXECUTORS`, or :class:`Executor` objects.
        require: names, or groups such as ``lava``, that must be verified: refused or unavailable is then a failure.
        lava_samples: samples that slow executors run (default 16).
        artifacts: exported files and folders to check as well.
        labels: classes ``[N]``; then accuracies are reported, and what quantisation costs.
        decision_tolerance: largest fraction of samples whose decision may differ where executors are only close.
        rate_tolerance: largest fraction by which the number of all spikes may differ there; one spike always may.
        chunk: largest number of samples that run at a time.
        source: for the certificate, where the input came from: dataset, split, indices, seed.
        lowering: options of :func:`~neuroaccel.graph.lower.lower`.

    Returns:
        The report; :attr:`~VerifyReport.ok` says whether everything agrees.

    Raises:
        InputError: an unknown executor, or inputs or labels that do not fit.
        UnsupportedNode: a layer of ``net`` that no graph can hold.
        FileFormatError: an artifact that is not readable.
    """
    if not 0 <= decision_tolerance < 1:
        raise InputError(f"decision_tolerance is a fraction in [0, 1), not {decision_tolerance}")
    if not rate_tolerance >= 0:
        raise InputError(f"rate_tolerance is a fraction of at least 0, not {rate_tolerance}")
    tolerances = (decision_tolerance, rate_tolerance)
    graph = _graph(net, x, lowering)
    inputs = as_inputs(graph, x)
    samples = size_of(inputs)[1]
    classes = None if labels is None else as_labels(labels, samples)
    few = min(samples, max(1, LAVA_SAMPLES if lava_samples is None else lava_samples))
    chosen = _chosen(executors, require)
    own = natural(graph)
    with ExitStack() as stack:
        jobs = [_start(e, graph, own, stack) for e in chosen]
        wide = Executor("engine", "float64", lambda g, s: lambda part: engine_trace(g, part, "float64"))
        reported = [_start(wide, graph, own, stack)] if own == "float32" else []
        digest, reference = _run_parts(graph, inputs, own, [*jobs, *reported], chunk)
        for job in jobs:
            if job.executor.slow:
                _compare(job, _References(part(inputs, 0, few)), 0)
    rows = [_row(job, tolerances, classes) for job in jobs]
    extra = [_row(job, tolerances, classes) for job in reported]
    accuracy = None
    if classes is not None and reference is not None:
        output = deciding_output(graph)
        right = float(np.mean(reference[output] == classes))
        accuracy = Accuracy(samples, right, _quantised_accuracy(jobs, inputs, classes, output))
    checked = [check_artifact(graph, path, inputs, lava_samples=few) for path in artifacts]
    certificate: Certificate | None = None
    if digest is not None:
        ran_lava = any(job.executor.group == "lava" and job.run is not None for job in jobs)
        own_rows = [row.to_json() for row in (*rows, *extra)]
        certificate = certify(graph, inputs, digest, own, own_rows, source, with_lava=ran_lava)
    missing = _missing(require, jobs, rows)
    return VerifyReport(rows, extra, checked, missing, certificate, accuracy)


def _graph(net: Any, x: Any, lowering: Mapping[str, Any]) -> Graph:
    if isinstance(net, Graph):
        if lowering:
            raise InputError(f"options {sorted(lowering)} are for lowering, and a Graph was given")
        return net.validate()
    import torch

    from neuroaccel.engine.events import EventStream
    from neuroaccel.graph.lower import lower

    def example(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: example(inner) for name, inner in value.items()}
        if isinstance(value, Sequence) and value and isinstance(value[0], EventStream):
            return torch.from_numpy(np.stack([v.to_dense(np.float32) for v in value], axis=1))
        return torch.as_tensor(value).to(torch.float32)

    return lower(net, example(x), **lowering)


def _chosen(executors: Sequence[str | Executor], require: Sequence[str]) -> list[Executor]:
    """The executors asked for, and those required beside them."""
    chosen = [executor(e) for e in executors]
    for name in require:
        if not any(name in (e.name, e.group) for e in chosen):
            more = [e for e in EXECUTORS.values() if name in (e.name, e.group)]
            if not more:
                raise InputError(f"unknown executor '{name}' is required; known: {', '.join(EXECUTORS)}")
            chosen += more
    if len({e.name for e in chosen}) != len(chosen):
        raise InputError(f"executors {', '.join(e.name for e in chosen)}: a name is there twice")
    return chosen


def _start(chosen: Executor, graph: Graph, own: Number, stack: ExitStack) -> _Job:
    """Prepare an executor; the engine itself computes in the graph's own arithmetic."""
    job = _Job(chosen, own if chosen is EXECUTORS["engine"] else chosen.arithmetic)
    try:
        job.graph = chosen.prepare(graph)
        job.run = chosen.start(job.graph, stack)
    except _WHY as error:
        job.stop(error)
    return job


def _run_parts(
    graph: Graph, inputs: Inputs, own: Number, jobs: Sequence[_Job], chunk: int
) -> tuple[Digest | None, dict[str, Decisions] | None]:
    """All fast executors over all samples; the digest and the decisions of the reference, unless it refuses."""
    digest = Digest(graph)
    decided: list[dict[str, Decisions]] = []
    for first, last in chunks(graph, inputs, chunk):
        references = _References(part(inputs, first, last))
        try:
            trace = references.trace(graph, own)
        except UnsupportedNode as error:
            for job in jobs:
                if job.alive:
                    job.stop(error)
            return None, None
        digest.add(trace)
        decided.append(decisions(graph, trace))
        for job in jobs:
            if not job.executor.slow:
                _compare(job, references, first)
    return digest, {name: np.concatenate([d[name] for d in decided]) for name in graph.outputs}


def _compare(job: _Job, references: _References, first: int) -> None:
    """Run an executor on a part of the samples and add what the comparison finds."""
    if not job.alive or job.run is None or job.graph is None:
        return
    reported = job.executor.name == "engine" and job.arithmetic == "float64"
    arithmetic: Number = "float32" if reported else job.arithmetic
    try:
        expected = references.trace(job.graph, arithmetic)
        found = job.run(references.x)
    except _WHY as error:
        job.stop(error)
        return
    names = (f"engine {arithmetic}", job.executor.name + (" float64" if reported else ""))
    job.comparison += compare(job.graph, expected, found, names, first)
    if not job.comparison.lacking:
        job.decided.append(decisions(job.graph, found))
        job.expected.append(decisions(job.graph, expected))


def _row(job: _Job, tolerances: tuple[float, float], classes: Decisions | None) -> ExecutorReport:
    name, against = job.executor.name, f"engine {job.arithmetic}"
    if name == "engine" and job.arithmetic == "float64":
        against = "engine float32"
    c = job.comparison
    if not job.alive or job.graph is None or c.samples == 0:
        return ExecutorReport(name, job.arithmetic, against, job.status, reason=job.reason)
    status, reason = _verdict(job, job.graph, *tolerances)
    accuracy = None
    if classes is not None and job.decided:
        mine = np.concatenate([d[deciding_output(job.graph)] for d in job.decided])
        accuracy = float(np.mean(mine == classes[: len(mine)]))
    return ExecutorReport(
        name,
        job.arithmetic,
        against,
        status,
        c.samples,
        c.spikes,
        c.differing,
        c.outputs_differing,
        c.max_membrane_error,
        reason,
        c.currents_differing,
        c.states_differing,
        c.divergence,
        accuracy,
    )


def _verdict(job: _Job, graph: Graph, tolerance: float, rate_tolerance: float) -> tuple[Status, str]:
    """Whether an executor agrees, and what there is to say about it."""
    c = job.comparison
    if c.lacking:
        return "differs", c.lacking[0]
    if c.identical:
        return "ok", "" if is_exact(graph) else "close: this graph is not exact, yet every bit was the same here"
    if is_exact(graph):
        return "differs", str(c.divergence)
    if c.exact_differing:
        return "differs", f"{c.exact_differing} values of nodes that are exact differ; first of all: {c.divergence}"
    wrong = np.zeros(c.samples, bool)
    for name in graph.outputs:
        mine, theirs = (np.concatenate([d[name] for d in side]) for side in (job.decided, job.expected))
        wrong |= mine != theirs
    more = abs(c.spikes - c.reference_spikes)
    rate = more / max(1, c.reference_spikes)
    text = (
        f"close: decisions differ in {int(wrong.sum())} of {c.samples} samples (allowed {tolerance:.1%}), "
        f"spike rates by {rate:.2%} (allowed {rate_tolerance:.1%}); first: {c.divergence}"
    )
    return ("ok" if wrong.mean() <= tolerance and (more <= 1 or rate <= rate_tolerance) else "differs"), text


def _quantised_accuracy(jobs: Sequence[_Job], inputs: Inputs, classes: Decisions, output: str) -> float | None:
    """Accuracy of the quantised graph on all samples, by the engine, which runs it bit for bit as Lava does."""
    job = next((j for j in jobs if j.executor is EXECUTORS["lava-fixed"] and j.graph is not None), None)
    if job is None or job.graph is None:
        return None
    right = 0
    for first, last in chunks(job.graph, inputs):
        trace = engine_trace(job.graph, part(inputs, first, last), "integer")
        right += int(np.count_nonzero(decisions(job.graph, trace)[output] == classes[first:last]))
    return right / len(classes)


def _missing(require: Sequence[str], jobs: Sequence[_Job], rows: Sequence[ExecutorReport]) -> tuple[str, ...]:
    """Required executors that were not verified."""
    return tuple(
        row.name
        for job, row in zip(jobs, rows, strict=True)
        if row.status != "ok" and any(name in (job.executor.name, job.executor.group) for name in require)
    )
