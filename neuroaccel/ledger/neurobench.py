"""A run's figures under NeuroBench 2.3's names and definitions, from the algorithm book.

======================  ===============================================================================================
``Footprint``           bytes of all parameters and buffers of the torch executor. A membrane is a value here and no
                        buffer, so the number does not grow with the batch, as it does with a snntorch network.
``ParameterCount``      numbers in its parameters
``ConnectionSparsity``  zeros / weights of the connection layers, biases left out, rounded to four places
``ActivationSparsity``  zero emissions / all emissions of the spiking populations, over all ticks and samples: the
                        book's 1 − spikes / updates_nominal
``SynapticOperations``  per sample, over all ticks, biases left out. Effective: the book's executed products. Those of
                        one call (one tick of one batch) are ACs where every value that enters is −1, 0 or 1, else
                        MACs; our book goes by the kind of the edge. Dense: the book's nominal.
``MembraneUpdates``     per sample: (neuron, tick) pairs at which the membrane that the tick leaves behind differs from
                        the one before; the first tick of a batch counts every neuron. Our ``updates_driven`` asks
                        instead whether an event, bias or leak reached the neuron.
======================  ===============================================================================================

Connection layers are Linear, Conv1d and Conv2d; a Dendrite is two of them (its y·z, an attention's products and
everything elementwise have no rule in NeuroBench and are named under ``left_out``). NeuroBench adds operations up in
float32 and rounds beyond 2²⁴ per call; these are whole numbers.

Source: NeuroBench 2.3.0, ``neurobench/metrics`` (Yik et al., "The neurobench framework for benchmarking neuromorphic
computing algorithms and systems", Nature Communications 16:1545, 2025).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.errors import InputError, UnsupportedNode
from neuroaccel.graph import Graph, infer
from neuroaccel.graph import nodes as n
from neuroaccel.graph.fanout import fan_out
from neuroaccel.ledger.book import Book, join
from neuroaccel.program import Program

VERSION = "2.3"
_OTHER_CLOCKS = (n.Scope, n.Window, n.Keep)
CORRECTNESS = ("ClassificationAccuracy", "MSE", "SMAPE", "R2")


class NeuroBench:
    """Collects batches of one network into NeuroBench's results.

    Arguments:
        graph: the lowered graph.

    Raises:
        UnsupportedNode: a node on another clock (Scope, Window, Keep): NeuroBench calls every module once per tick.
        InputError: no connection layer, so that no sparsity is defined.

    >>> import numpy as np
    >>> from neuroaccel.graph import Input, Linear, Neuron, Output, chain
    >>> from neuroaccel.program import LIF
    >>> weight = np.array([[2, 0], [1, 1]], np.float32)
    >>> lif = Neuron(LIF(0.5).program, {k: np.float32(v) for k, v in LIF(0.5).values.items()}, (2,))
    >>> bench = NeuroBench(chain({"x": Input((2,)), "w": Linear(weight), "n": lif, "y": Output()}))
    >>> outputs = bench.add(np.array([[[1, 0]], [[0, 1]]], np.float32))
    >>> bench.results()["SynapticOperations"]
    {'Effective_MACs': 0.0, 'Effective_ACs': 3.0, 'Dense': 8.0}
    """

    def __init__(self, graph: Graph) -> None:
        for name, node in graph.nodes.items():
            if isinstance(node, _OTHER_CLOCKS):
                raise UnsupportedNode(
                    name, "NeuroBench", f"{node.kind} runs on another clock, and its rules know one call per tick only"
                )
        self.graph, self.signals = graph, infer(graph)
        self.connections = [name for name, node in graph.nodes.items() if isinstance(node, n.Synapse | n.Dendrite)]
        if not self.connections:
            raise InputError("NeuroBench: the network has no connection layer, so its sparsities are not defined")
        self.populations = [name for name, node in graph.nodes.items() if isinstance(node, n.Neuron)]
        self._books: list[Book] = []
        self._static: dict[str, Any] = {}
        self._acs = self._macs = self._dense = self._membranes = 0
        self._outputs: list[NDArray[np.float64]] = []
        self._targets: list[NDArray[np.float64]] = []

    def add(self, x: Any, targets: ArrayLike | None = None) -> NDArray[np.float32]:
        """Run one batch and count it. As in NeuroBench, a batch may decide what is an AC and what a MAC.

        Arguments:
            x: ``[T, N, *shape]``, or input name → one.
            targets: ``[N]`` labels or ``[N, features]`` values, compared with the output at the last tick.

        Returns:
            The first output, ``[T, N, *shape]``.

        Raises:
            InputError: an input that does not fit, or targets of another number of samples.
            UnsupportedNode: torch cannot run a node.
        """
        from neuroaccel.ledger.torch_hooks import emissions_with_torch

        emitted, states, net = emissions_with_torch(self.graph, x)
        self.observe(emitted, states, targets)
        self._static = {
            "Footprint": sum(a.numel() * a.element_size() for a in (*net.parameters(), *net.buffers())),
            "ParameterCount": sum(p.numel() for p in net.parameters()),
        }
        return np.asarray(emitted[self.graph.outputs[0]])

    def observe(
        self,
        emissions: Mapping[str, ArrayLike],
        states: Mapping[str, Mapping[str, ArrayLike]],
        targets: ArrayLike | None = None,
    ) -> None:
        """Count one batch that somebody else ran; Footprint and ParameterCount are torch's, from :meth:`add`.

        Arguments:
            emissions, states: as :func:`~neuroaccel.ledger.dense.count_from_emissions` takes them.
            targets: as in :meth:`add`.

        Raises:
            InputError: values of a node are missing, or targets of another number of samples.
        """
        from neuroaccel.ledger.dense import count_from_emissions

        values = {name: np.asarray(value) for name, value in emissions.items()}
        wanted = None if targets is None else np.asarray(targets, np.float64)
        samples = values[self.graph.inputs[0]].shape[1]
        if wanted is not None and len(wanted) != samples:
            raise InputError(f"NeuroBench: {len(wanted)} targets for {samples} samples")
        after = {name: {k: np.asarray(v) for k, v in each.items()} for name, each in states.items()}
        book = count_from_emissions(self.graph, values, after)
        for name in self.connections:
            self._count(book, name, self._arrived(name, values))
        for name in self.populations:
            membrane = after[name][_program(self.graph.nodes[name]).membrane]
            self._membranes += membrane[:1].size + int(np.count_nonzero(membrane[1:] != membrane[:-1]))
        self._books.append(book)
        if wanted is not None:
            self._outputs.append(values[self.graph.outputs[0]][-1].astype(np.float64))
            self._targets.append(wanted)

    @property
    def book(self) -> Book:
        """The algorithm book of all batches.

        Raises:
            InputError: no batch was added.
        """
        return join(self._books)

    def results(self, correctness: str | None = None) -> dict[str, Any]:
        """NeuroBench's results, as its ``Benchmark.save_benchmark_results`` writes them, and ours beside them.

        Arguments:
            correctness: ClassificationAccuracy, MSE, SMAPE or R2 of the outputs at the last tick.

        Returns:
            Metric → value. ``neuroaccel`` holds what NeuroBench's own file does not: samples, ticks, what its
            definitions leave out, and the same quantities as our book defines them.

        Raises:
            InputError: no batch was added, or a correctness metric without the targets of every batch.
        """
        book = self.book
        spiking = [name for name in self.populations if _spikes(self.graph.nodes[name])]
        spikes = sum(int(book.columns[name]["spikes"].sum()) for name in spiking)
        emissions = sum(int(book.columns[name]["updates_nominal"].sum()) for name in spiking)
        found = self._static | {
            "ConnectionSparsity": self._connection_sparsity(),
            "ActivationSparsity": (emissions - spikes) / emissions if emissions else 0.0,
            "SynapticOperations": {
                "Effective_MACs": self._macs / book.samples,
                "Effective_ACs": self._acs / book.samples,
                "Dense": self._dense / book.samples,
            },
            "MembraneUpdates": self._membranes / book.samples,
        }
        if correctness is not None:
            if len(self._targets) != len(self._books):
                raise InputError(f"NeuroBench: {correctness} needs the targets of every batch")
            found[correctness] = score(correctness, np.concatenate(self._outputs), np.concatenate(self._targets))
        return found | {"neuroaccel": self._ours(book)}

    def _count(self, book: Book, name: str, x: NDArray[Any]) -> None:
        """Add one connection layer's operations: the book's, split by what entered at each tick."""
        node, column = self.graph.nodes[name], book.columns[name]
        unit = ((x == 0) | (np.abs(x) == 1)).reshape(len(x), -1).all(axis=1)
        each = (x != 0).sum(axis=1, dtype=np.int64)  # tick → how many samples an input is active in
        full, living = _fan_outs(node, x.shape[2:])
        per_tick = (each * living).reshape(len(x), -1).sum(axis=1)
        acs = int(per_tick[unit].sum())
        if isinstance(node, n.Dendrite):  # in its macs are its y·z, which no layer of NeuroBench makes
            executed, nominal = int(per_tick.sum()), book.samples * len(x) * int(full.sum())
        else:
            executed, nominal = int(column["executed"].sum()), int(column["nominal"].sum())
        self._acs += acs
        self._macs += executed - acs
        self._dense += nominal

    def _arrived(self, name: str, values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """What entered a connection layer at every tick; edges add up, recurrent ones come a tick later."""
        total: NDArray[Any] | None = None
        for e in self.graph.into(name, "in"):
            value = values[e.source]
            if e.recurrent:
                value = np.concatenate([np.zeros_like(value[:1]), value[:-1]])
            total = value if total is None else total + value
        assert total is not None  # an infer()red graph feeds every port
        return total

    def _connection_sparsity(self) -> float:
        arrays = []
        for name in self.connections:
            node = self.graph.nodes[name]
            assert isinstance(node, n.Synapse | n.Dendrite)
            arrays += [node.weight, node.gate] if isinstance(node, n.Dendrite) else [node.weight]
        zeros = sum(int((a == 0).sum()) for a in arrays)
        # In float32 and to four places, as torch divides and NeuroBench rounds.
        return round(float(np.float32(zeros) / np.float32(sum(a.size for a in arrays))), 4)

    def _ours(self, book: Book) -> dict[str, Any]:
        left_out = []
        for name, node in self.graph.nodes.items():
            if name not in book.columns:
                continue
            column = book.columns[name]
            if isinstance(node, n.Dendrite):
                left_out.append(f"the products y·z of Dendrite '{name}'")
            elif name not in self.connections and column["macs"].any():
                left_out.append(f"{column['macs'].mean():g} macs of {node.kind} '{name}'")
            if column["elementwise"].any():
                left_out.append(f"{column['elementwise'].mean():g} elementwise operations of {node.kind} '{name}'")
            if isinstance(node, n.Neuron) and not _spikes(node):
                left_out.append(f"'{name}' in ActivationSparsity: it emits a state, not spikes")
        columns = ("synaptic_events", "macs", "nominal", "updates_driven", "updates_nominal", "spikes")
        return {
            "definitions": f"NeuroBench {VERSION}",
            "samples": book.samples,
            "ticks": book.ticks,
            "left_out": left_out,
            "stored_weight_bytes": sum(f.weight_footprint for f in book.facts.values()),
            "book": {c: book.mean(c)[0] for c in columns},
        }


def score(metric: str, predictions: ArrayLike, targets: ArrayLike) -> float:
    """A correctness metric as NeuroBench defines it.

    ClassificationAccuracy: share of samples whose largest output is the label's (the lower index of several);
    MSE: mean of (p − y)²; SMAPE: 200·mean(|p − y| / (|p| + |y|)), 200 where that is not a number;
    R2: mean over two outputs of 1 − Σ(p − y)² / Σ(y − ȳ)².

    Arguments:
        metric: one of these names.
        predictions: ``[N, classes]`` outputs for the accuracy, else values of the shape of ``targets``.
        targets: ``[N]`` labels, or values; ``[N, 2]`` for R2.

    Raises:
        InputError: an unknown metric, or shapes that do not fit.

    >>> score("SMAPE", [1.0, 3.0], [1.0, 1.0])
    50.0
    """
    p, y = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
    if metric not in CORRECTNESS:
        raise InputError(f"NeuroBench: unknown correctness metric '{metric}'; known: {', '.join(CORRECTNESS)}")
    if metric == "ClassificationAccuracy":
        p = np.argmax(p.reshape(len(y), -1), axis=1).astype(np.float64)
    if p.shape != y.shape or p.size == 0 or (metric == "R2" and p.shape[1:] != (2,)):
        raise InputError(f"NeuroBench: {metric} of predictions {p.shape} against targets {y.shape}")
    if metric == "ClassificationAccuracy":
        return float(np.mean(p == y))
    if metric == "MSE":
        return float(np.mean((p - y) ** 2))
    if metric == "SMAPE":
        with np.errstate(invalid="ignore"):
            found = float(200 * np.mean(np.abs(p - y) / (np.abs(p) + np.abs(y))))
        return 200.0 if math.isnan(found) else found
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    return float(np.mean(1 - ((p - y) ** 2).sum(axis=0) / spread))


def _fan_outs(node: n.Node, shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(full, living) products of every input of a connection layer; of a dendrite's two arrays together."""
    full, living = fan_out(node, shape)
    if isinstance(node, n.Dendrite):
        more, alive = fan_out(replace(node, weight=node.gate), shape)
        return full + more, living + alive
    return full, living


def _program(node: n.Node) -> Program:
    assert isinstance(node, n.Neuron)
    return node.program


def _spikes(node: n.Node) -> bool:
    return _program(node).emit.kind != "state"
