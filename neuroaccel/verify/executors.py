"""Who can run a graph: the registry of executors, each with its arithmetic and the engine run that it must equal."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neuroaccel import engine
from neuroaccel.engine.plan import Number
from neuroaccel.errors import InputError
from neuroaccel.graph import Graph, Neuron, Synapse, Trace
from neuroaccel.verify.inputs import Inputs

Run = Callable[[Inputs], Trace]
# NIR and Lava count seconds. Where a graph has none, a tick is taken as 1 ms: no spike depends on it.
STAND_IN_DT = 1e-3


@dataclass(frozen=True)
class Executor:
    """Something that runs graphs and records what their neurons do.

    Arguments:
        name: its name.
        arithmetic: in which it computes; it must equal the engine's run in the same arithmetic bit for bit.
        start: from a graph (and a stack for what must be cleaned up) to a function that runs inputs; raises
            :class:`~neuroaccel.errors.UnsupportedNode` for a graph that it cannot hold, and
            :class:`~neuroaccel.errors.ExecutorUnavailable` where it is not installed.
        prepare: the graph that it runs, where that is not the given one (quantised); the engine runs the same.
        slow: one run of a few samples instead of all of them in parts.
        group: a name for several executors that are there or not there together.
    """

    name: str
    arithmetic: Number
    start: Callable[[Graph, ExitStack], Run]
    prepare: Callable[[Graph], Graph] = lambda graph: graph
    slow: bool = False
    group: str = ""

    @property
    def against(self) -> str:
        return f"engine {self.arithmetic}"

    def run(self, graph: Graph, x: Inputs) -> Trace:
        """Run a graph once: :attr:`prepare`, :attr:`start` and the run itself."""
        with ExitStack() as stack:
            return self.start(self.prepare(graph), stack)(x)


def natural(graph: Graph) -> Number:
    """The arithmetic of a graph's own: integer where its nodes carry integer formats, else float32."""
    nodes = graph.nodes.values()
    carries = any(isinstance(node, (Neuron, Synapse)) and node.arithmetic is not None for node in nodes)
    return "integer" if carries else "float32"


def engine_trace(graph: Graph, x: Inputs, arithmetic: Number) -> Trace:
    """What the event engine, the reference of all executors, makes of inputs."""
    trace: Trace = engine.run(graph, dict(x), record=True, arithmetic=arithmetic, counts=False).trace
    return trace


def turned(trace: Trace) -> Trace:
    """A trace with its samples in reverse order."""

    def turn(values: Any) -> Any:
        return {k: turn(v) if hasattr(v, "items") else v[:, ::-1] for k, v in values.items()}

    return Trace(turn(trace.outputs), turn(trace.spikes), turn(trace.states), turn(trace.currents))


def _engine(graph: Graph, stack: ExitStack) -> Run:
    """The engine once more, with the samples in reverse order: nothing may depend on chance, or on the batch."""

    def run(x: Inputs) -> Trace:
        reverse = {name: np.ascontiguousarray(value[:, ::-1]) for name, value in x.items()}
        return turned(engine_trace(graph, reverse, natural(graph)))

    return run


@contextmanager
def _plain_torch() -> Iterator[None]:
    """Torch without what rounds twice: TF32, bfloat16 products, and cuDNN's Winograd and FFT convolutions."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=False, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def torch_executor(device: str = "cpu") -> Executor:
    """Torch's float32 on a device."""

    def start(graph: Graph, stack: ExitStack) -> Run:
        import torch

        from neuroaccel.network import Network

        net = Network.from_graph(graph).eval().to(device)

        def run(x: Inputs) -> Trace:
            with _plain_torch():
                _, _, trace = net.trace({name: torch.from_numpy(value).to(device) for name, value in x.items()})
            return trace

        return run

    return Executor("torch", "float32", start)


def _in_seconds(graph: Graph) -> Graph:
    return graph if graph.dt is not None else replace(graph, dt=STAND_IN_DT)


def _folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neuroaccel-verify-")))


def _nir(graph: Graph, stack: ExitStack) -> Run:
    from neuroaccel.hardware.nir import export_nir, import_nir

    timed = _in_seconds(graph)
    path = export_nir(timed, _folder(stack) / "graph.nir")
    back = import_nir(path, dt=timed.dt or STAND_IN_DT)
    return lambda x: engine_trace(back, x, "float32")


def quantised(graph: Graph) -> Graph:
    """The graph in Loihi's integers, which Lava's fixed point runs.

    Raises:
        UnsupportedNode: a node without an integer form.
        GraphError: a parameter that would have to be clipped.
    """
    from neuroaccel.hardware.lava import quantise

    return quantise(graph)[0]


def _lava(fixed: bool) -> Callable[[Graph, ExitStack], Run]:
    def start(graph: Graph, stack: ExitStack) -> Run:
        from neuroaccel.hardware.lava import export_lava, find_environment, run_bundle
        from neuroaccel.hardware.lava.run import dense_inputs

        bundle = export_lava(_in_seconds(graph), _folder(stack) / "bundle", fixed=fixed)
        python = find_environment()
        return lambda x: run_bundle(bundle, dense_inputs(graph, x), python=python)

    return start


EXECUTORS: dict[str, Executor] = {
    e.name: e
    for e in (
        torch_executor(),
        Executor("engine", "float32", _engine),
        Executor("nir", "float32", _nir),
        Executor("lava-float", "float64", _lava(False), slow=True, group="lava"),
        Executor("lava-fixed", "integer", _lava(True), prepare=quantised, slow=True, group="lava"),
    )
}


def executor(name: str | Executor) -> Executor:
    """An executor by name; an :class:`Executor` is passed on.

    Raises:
        InputError: nobody has that name.
    """
    if isinstance(name, Executor):
        return name
    if name not in EXECUTORS:
        raise InputError(f"unknown executor '{name}'; known: {', '.join(EXECUTORS)}")
    return EXECUTORS[name]
