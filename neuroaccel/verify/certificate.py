"""A certificate of a run that anybody can replay: hashes of graph, input, spikes and membranes, layer by layer."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine.plan import Number
from neuroaccel.errors import FileFormatError, InputError
from neuroaccel.graph import Graph, Synapse, Trace, sha256, traced, write_atomic
from neuroaccel.verify.executors import engine_trace
from neuroaccel.verify.inputs import Inputs, as_inputs, chunks, part, sha256_of, size_of

FORMAT = 1


@dataclass
class LayerDigest:
    """Spikes of a layer and the hashes of its emissions and membranes, sample by sample in time order."""

    spikes: int = 0
    emissions: Any = field(default_factory=hashlib.sha256)
    membranes: Any = field(default_factory=hashlib.sha256)

    def to_json(self) -> dict[str, Any]:
        return {
            "spikes": self.spikes,
            "spikes_sha256": self.emissions.hexdigest(),
            "membranes_sha256": self.membranes.hexdigest(),
        }


def _packed(values: NDArray[Any], kind: str) -> bytes:
    """Bits of spikes; little-endian int64 of counts and integers, float64 of others, −0 as 0."""
    if kind == "spike":
        return np.packbits(values != 0).tobytes()
    if kind == "count" or values.dtype.kind in "iu":
        return values.astype("<i8").tobytes()
    return (values.astype("<f8") + 0.0).tobytes()


class Digest:
    """Hashes of a run, taken part by part: however the samples are cut, the result is the same."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers = {name: LayerDigest() for name in traced(graph)}
        self.outputs = {name: hashlib.sha256() for name in graph.outputs}

    def add(self, trace: Trace) -> None:
        """Take in the next samples."""
        nodes = {name: each.node for name, each in traced(self.graph).items()}
        for name, layer in self.layers.items():
            node = nodes[name]
            kind, emitted, membrane = node.program.emit.kind, trace.spikes[name], trace.states[name]
            layer.spikes += int(np.count_nonzero(emitted)) if kind != "state" else 0
            for n in range(emitted.shape[1]):
                layer.emissions.update(_packed(emitted[:, n], kind))
                layer.membranes.update(_packed(membrane[node.program.membrane][:, n], "state"))
        for name, digest in self.outputs.items():
            for n in range(trace.outputs[name].shape[1]):
                digest.update(_packed(trace.outputs[name][:, n], "state"))

    def to_json(self) -> dict[str, Any]:
        """Layer → spikes and hashes; output → hash."""
        return {
            "layers": {name: layer.to_json() for name, layer in self.layers.items()},
            "outputs": {name: digest.hexdigest() for name, digest in self.outputs.items()},
        }


@dataclass(frozen=True)
class Certificate:
    """What was run, on what, by whom, and what came out.

    Arguments:
        graph_sha256: of the graph without its notes.
        input: SHA-256, shapes, and where it came from (dataset, split, indices, seed) as far as the caller says.
        arithmetic: of the reference run.
        run: per layer its spikes and the SHA-256 of its packed emissions and of its membranes; per output one hash.
        grids: per synapse the exponent q of its grid and the largest change that snapping made.
        executors: results and arithmetic of every executor.
        versions: of everything that computed.
    """

    graph_sha256: str
    input: dict[str, Any]
    arithmetic: Number
    run: dict[str, Any]
    grids: dict[str, Any]
    executors: list[dict[str, Any]]
    versions: dict[str, str | None]
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"format": self.format, **{key: value for key, value in vars(self).items() if key != "format"}}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the certificate as JSON, whole or not at all."""
        return write_atomic(path, (json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Certificate:
        """Read a certificate.

        Raises:
            FileFormatError: not there, not one of ours, newer than this reader, or damaged.
        """
        try:
            data = json.loads(Path(path).read_text("utf-8"))
            version = int(data["format"])
        except OSError as error:
            raise FileFormatError(f"{path}: no readable certificate ({error})") from error
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{path}: not a certificate ({error!r})") from error
        if version > FORMAT:
            raise FileFormatError(f"{path}: written with format {version}, this neuroaccel reads up to {FORMAT}")
        try:
            found = cls(**data)
            _ = found.run["layers"], found.run["outputs"], found.input["sha256"]
        except (KeyError, TypeError) as error:
            raise FileFormatError(f"{path}: a damaged certificate ({error!r})") from error
        return found


def versions() -> dict[str, str | None]:
    """Versions of everything that computed; ``None`` where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("neuroaccel", "torch", "numba", "numpy", "nir", "safetensors"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _lava_version() -> str:
    from neuroaccel.hardware.lava import find_environment

    code = (
        "import importlib.metadata as m, platform; print(m.version('lava-nc'), 'on Python', platform.python_version())"
    )
    done = subprocess.run([str(find_environment()), "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def certify(
    graph: Graph,
    inputs: Inputs,
    digest: Digest,
    arithmetic: Number,
    executors: list[dict[str, Any]],
    source: Mapping[str, Any] | None = None,
    with_lava: bool = False,
) -> Certificate:
    """The certificate of a finished run.

    Arguments:
        graph, inputs: what ran on what.
        digest: of the reference run.
        arithmetic: of the reference run.
        executors: their rows of the report.
        source: where the input came from: dataset, split, indices, seed.
        with_lava: whether Lava ran; its version is then asked for.
    """
    ticks, samples = size_of(inputs)
    return Certificate(
        graph_sha256=sha256(graph),
        input={
            "sha256": sha256_of(inputs),
            "ticks": ticks,
            "samples": samples,
            "shapes": {name: list(value.shape) for name, value in inputs.items()},
            "source": dict(source or {}),
        },
        arithmetic=arithmetic,
        run=digest.to_json(),
        grids={
            name: {"q": node.grid.q, "largest_change": node.grid.largest_change}
            for name, node in graph.nodes.items()
            if isinstance(node, Synapse) and node.grid is not None
        },
        executors=executors,
        versions={**versions(), "lava-nc": _lava_version() if with_lava else None},
    )


def replay(certificate: Certificate | str | os.PathLike[str], graph: Graph, x: Any) -> list[str]:
    """Run a graph again and hold it against a certificate.

    Arguments:
        certificate: it, or its file.
        graph: the graph that it should be about.
        x: the input that it should be about.

    Returns:
        One line per mismatch; empty if everything comes out as certified.
    """
    if not isinstance(certificate, Certificate):
        certificate = Certificate.load(certificate)
    if certificate.arithmetic not in ("float32", "float64", "integer"):
        raise InputError(f"the certificate's arithmetic is '{certificate.arithmetic}'")
    inputs = as_inputs(graph, x)
    out = []
    if (found := sha256(graph)) != certificate.graph_sha256:
        out.append(f"the graph is {found[:16]}…, certified is {certificate.graph_sha256[:16]}…")
    if (found := sha256_of(inputs)) != certificate.input["sha256"]:
        out.append(f"the input is {found[:16]}…, certified is {certificate.input['sha256'][:16]}…")
    digest = Digest(graph)
    for first, last in chunks(graph, inputs):
        digest.add(engine_trace(graph, part(inputs, first, last), certificate.arithmetic))
    made = digest.to_json()
    for name in sorted({*made["layers"], *certificate.run["layers"]}):
        a, b = made["layers"].get(name), certificate.run["layers"].get(name)
        if a is None or b is None:
            out.append(f"layer '{name}' is only in the {'certificate' if a is None else 'graph'}")
            continue
        if a["spikes"] != b.get("spikes"):
            out.append(f"layer '{name}': {a['spikes']} spikes, certified are {b.get('spikes')}")
        if a["spikes_sha256"] != b.get("spikes_sha256"):
            out.append(f"layer '{name}': its spikes are not those certified")
        if a["membranes_sha256"] != b.get("membranes_sha256"):
            out.append(f"layer '{name}': its membranes are not those certified")
    for name in sorted({*made["outputs"], *certificate.run["outputs"]}):
        if made["outputs"].get(name) != certificate.run["outputs"].get(name):
            out.append(f"output '{name}' is not the one certified")
    return out
