"""Run a bundle in its own Python 3.10, under a timeout, and bring back a trace to hold against the engine's."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine.inputs import Feed, by_name, entering
from neuroaccel.errors import ExecutorFailure, ExecutorUnavailable, InputError
from neuroaccel.graph import Graph, Input, Trace
from neuroaccel.hardware.lava.environment import find_environment
from neuroaccel.hardware.lava.export import export_lava, load_bundle

TIMED_OUT = 4  # the runner's own exit code when its time is over
LAST_WORDS = 2000


def run_lava(
    graph: Graph,
    x: Any,
    *,
    fixed: bool = False,
    timeout_s: float = 600.0,
    python: str | os.PathLike[str] | None = None,
) -> Trace:
    """Run a graph in Lava.

    Arguments:
        graph: an instant or pipelined graph.
        x: ``[T, N, *shape]``, event streams (one per sample), or a dict of them by input.
        fixed: in Loihi's integers (a float graph is quantised first) instead of float64.
        timeout_s: seconds for the run.
        python: interpreter with Lava (default: :func:`find_environment`).

    Returns:
        outputs, spikes, states and currents of every tick, ``[T, N, *shape]``, without the latency of retiming. In
        fixed point they are integers: currents and membranes as Loihi holds them.

    Raises:
        UnsupportedNode: a node that Lava or its mapping does not hold.
        GraphError: a value that Loihi's integers would clip.
        ExecutorUnavailable: no Lava here.
        ExecutorFailure: it failed or hung.
    """
    interpreter = find_environment() if python is None else Path(python)
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_lava(graph, Path(folder) / "bundle", fixed=fixed)
        return run_bundle(bundle, dense_inputs(graph, x), timeout_s=timeout_s, python=interpreter)


def dense_inputs(graph: Graph, x: Any) -> dict[str, NDArray[Any]]:
    """Inputs as float64 ``[T, N, *shape]``, checked and rounded to their grids as the engine does it."""
    out = {}
    for name, values in by_name(graph, x).items():
        node = graph.nodes[name]
        assert isinstance(node, Input)
        feed = Feed(name, node, values)
        ticks = [entering(name, node, value, tick, np.float64) for tick, value in enumerate(feed)]
        out[name] = np.array(ticks).reshape(len(ticks), feed.batch, *node.shape)
    return out


def run_bundle(
    bundle: str | os.PathLike[str],
    x: Mapping[str, NDArray[Any]] | NDArray[Any],
    *,
    samples: int | None = None,
    timeout_s: float = 600.0,
    python: str | os.PathLike[str] | None = None,
) -> Trace:
    """Run an exported bundle; see :func:`run_lava`.

    Arguments:
        bundle: the folder.
        x: input name → ``[T, N, *shape]`` (one array if there is one input).
        samples: run only the first so many.
        timeout_s: seconds for the run.
        python: interpreter with Lava.

    Raises:
        FileFormatError: no readable bundle.
        ExecutorUnavailable: no Lava here.
        ExecutorFailure: it failed or hung; the message holds the error of the process that did.
    """
    description = load_bundle(bundle).description
    names = list(description["inputs"])
    if not isinstance(x, Mapping):
        if len(names) != 1:
            raise InputError(f"the bundle has the inputs {names}; give a dict of them")
        x = {names[0]: x}
    interpreter = find_environment() if python is None else Path(python)
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(given, **{name: np.asarray(x[name]) for name in names if name in x})  # type: ignore[arg-type]
        command = [str(interpreter), str(Path(bundle).resolve() / "run_bundle.py"), str(Path(bundle).resolve())]
        command += ["--input", str(given), "--output", str(result), "--timeout", str(timeout_s)]
        if samples is not None:
            command += ["--samples", str(samples)]
        _run(command, timeout_s, folder)
        if not result.is_file():
            raise ExecutorFailure(f"Lava ended without a result for {bundle}")
        with np.load(result, allow_pickle=False) as stored:
            try:
                return _trace(description, {name: stored[name] for name in stored.files})
            except KeyError as error:
                raise ExecutorFailure(f"{bundle}: Lava gave no {error}, which its description names") from error


def _run(command: list[str], timeout_s: float, scratch: str) -> None:
    """Run in a process group of its own, which ends as a whole: Lava has one process per node."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    environment["TMPDIR"] = scratch  # a runner that is ended leaves its files: they go with the folder
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, env=environment, start_new_session=True
            )
        except OSError as error:
            raise ExecutorUnavailable(f"{command[0]} does not start: {error}") from error
        try:
            code = child.wait(timeout_s + min(5.0, timeout_s))  # the runner's own limit comes first and knows more
        except subprocess.TimeoutExpired:
            code = TIMED_OUT
        finally:
            _end(child)
        if code == TIMED_OUT:
            raise ExecutorFailure(f"Lava gave no result within the timeout of {timeout_s:g} seconds{_last(words)}")
        if code:
            raise ExecutorFailure(f"Lava failed with code {code}{_last(words)}")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the whole group: politely first, for Python's resource tracker ignores that and frees the shared memory."""
    for word, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 0.0)):
        try:
            os.killpg(child.pid, word)
            until = time.monotonic() + patience
            while time.monotonic() < until:
                child.poll()
                os.killpg(child.pid, 0)
                time.sleep(0.02)
        except ProcessLookupError:
            break  # nothing of the group is left
    child.wait()


def _last(words: IO[str]) -> str:
    words.seek(0)
    text = words.read().strip()
    return f": {text[-LAST_WORDS:]}" if text else ""


def _trace(description: Mapping[str, Any], stored: Mapping[str, NDArray[Any]]) -> Trace:
    spikes, currents, states = {}, {}, {}
    for entry in description["processes"]:
        if entry["type"] not in ("lif", "program"):
            continue
        name = entry["name"]
        spikes[name] = stored[f"spikes/{name}"]
        currents[name] = _wide(stored[f"currents/{name}"])
        states[name] = {state: _wide(stored[f"states/{name}/{state}"]) for state in entry["states"]}
    outputs = {}
    for name, how in description["outputs"].items():
        source = spikes[how["name"]] if how["from"] == "neuron" else stored[f"values/{how['name']}"]
        outputs[name] = read_out(source.reshape(*source.shape[:2], *how["shape"]), how["readout"])
    return Trace(outputs, spikes, states, currents)


def _wide(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.int64) if values.dtype.kind == "i" else values


def read_out(values: NDArray[Any], how: str | None) -> NDArray[np.float64]:
    """Running values of a readout over time: sums in the order of the ticks, in float64 (integers exactly)."""
    if how is None or how == "last_membrane":
        return values.astype(np.float64)
    if how == "max_membrane":
        return np.maximum.accumulate(values, axis=0).astype(np.float64)
    running = np.add.accumulate(values, axis=0, dtype=np.float64 if values.dtype.kind == "f" else np.int64)
    if how == "spike_count":
        return running.astype(np.float64)
    ticks = np.arange(1, len(values) + 1, dtype=np.float64).reshape(-1, *[1] * (values.ndim - 1))
    return running.astype(np.float64) / ticks
