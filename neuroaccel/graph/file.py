"""The model file: one ``.safetensors`` whose arrays are the weights and whose metadata holds the graph as JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from neuroaccel.errors import FileFormatError, InputError, NeuroaccelError
from neuroaccel.graph import nodes as node_types
from neuroaccel.graph.graph import Edge, Graph
from neuroaccel.program import Arithmetic, Fixed, Program

FORMAT = 1
OPSET = 2
# Fields that came later: with the value that they have by default they are left out, and the file stays as it was.
_ADDED: dict[str, dict[str, Any]] = {"Attention": {"scale": None}}
_RECORDS: dict[str, type] = {
    t.__name__: t
    for t in vars(node_types).values()
    if isinstance(t, type) and dataclasses.is_dataclass(t) and t.__module__ == node_types.__name__
} | {t.__name__: t for t in (Arithmetic, Fixed, Edge, Graph)}


def _encode(value: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        arrays[path] = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        return {"array": path}
    if isinstance(value, Program):
        return {"program": value.to_json()}
    if dataclasses.is_dataclass(value):
        kind = type(value).__name__
        added = _ADDED.get(kind, {})
        fields = {
            f.name: _encode(getattr(value, f.name), f"{path}/{f.name}", arrays)
            for f in dataclasses.fields(value)
            if not (f.name in added and getattr(value, f.name) == added[f.name])
        }
        return {"type": kind, "fields": fields}
    if isinstance(value, (tuple, list)):
        return [_encode(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]
    if hasattr(value, "items"):
        # The order of nodes is part of a graph (ties in its execution, the inputs of a scope); of other maps it is not.
        items = value.items() if path.endswith("/nodes") else sorted(value.items(), key=lambda item: str(item[0]))
        return {"map": {str(k): _encode(v, f"{path}/{k}", arrays) for k, v in items}}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"cannot store {type(value).__name__} at {path}")


def _decode(data: Any, arrays: dict[str, NDArray[Any]], lists: bool = False) -> Any:
    if isinstance(data, list):
        items = [_decode(v, arrays, lists) for v in data]
        return items if lists else tuple(items)
    if not isinstance(data, dict):
        return data
    if "array" in data:
        return arrays[data["array"]]
    if "program" in data:
        return Program.from_json(data["program"])
    if "map" in data:
        return {k: _decode(v, arrays, lists) for k, v in data["map"].items()}
    record = _RECORDS[data["type"]]
    fields = {k: _decode(v, arrays, lists=k == "metadata") for k, v in data["fields"].items()}
    return record(**fields)


def _opset(graph: Graph) -> int:
    """The oldest set of operations that holds all of a graph, so that whoever can read it may.

    2: ``scale`` and the port ``mask`` of an Attention.
    """
    for name, node in graph.nodes.items():
        if isinstance(node, node_types.Scope) and _opset(node.graph) == OPSET:
            return OPSET
        if isinstance(node, node_types.Attention) and (node.scale is not None or graph.into(name, "mask")):
            return OPSET
    return 1


def to_bytes(graph: Graph) -> bytes:
    """The model file's content; equal graphs give equal bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    body = _encode(graph, "graph", arrays)
    header = {"format": FORMAT, "opset": _opset(graph), "graph": body}
    return bytes(save(arrays, metadata={"neuroaccel": json.dumps(header, allow_nan=False)}))


def sha256(graph: Graph) -> str:
    """Hash of the graph without its notes: what every exported artifact carries."""
    return hashlib.sha256(to_bytes(dataclasses.replace(graph, metadata={}))).hexdigest()


def write_atomic(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write to a temporary name beside ``path``, then rename: nobody ever sees half a file.

    Raises:
        InputError: it cannot be written there.
    """
    target = Path(path)
    try:
        return _written(target, content)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror})") from error


def _written(target: Path, content: bytes) -> Path:
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide the file from others who may read the folder
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def save_graph(graph: Graph, path: str | os.PathLike[str]) -> Path:
    """Validate a graph and write it.

    Raises:
        GraphError: the graph does not validate; nothing is written.
    """
    return write_atomic(path, to_bytes(graph.validate()))


def load_graph(path: str | os.PathLike[str]) -> Graph:
    """Read and validate a model file.

    Raises:
        FileFormatError: not there, truncated, foreign, of a newer format, or inconsistent.
    """
    if not Path(path).is_file():
        raise FileFormatError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="numpy") as stream:
            metadata = stream.metadata() or {}
            arrays = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(f"{path}: not a readable .safetensors file ({error})") from error
    if "neuroaccel" not in metadata:
        raise FileFormatError(f"{path}: a .safetensors file, but not one of neuroaccel's (no 'neuroaccel' metadata)")
    try:
        header = json.loads(metadata["neuroaccel"])
        versions = {"format": int(header["format"]), "opset": int(header["opset"])}
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{path}: its metadata is not readable ({error!r})") from error
    for name, known in (("format", FORMAT), ("opset", OPSET)):
        if versions[name] > known:
            raise FileFormatError(
                f"{path}: written with {name} {versions[name]}, this neuroaccel reads up to {known}; update it"
            )
    try:
        graph = _decode(header["graph"], arrays)
        if not isinstance(graph, Graph):
            raise FileFormatError(f"{path}: its metadata holds no graph")
        return graph.validate()
    except NeuroaccelError as error:
        raise FileFormatError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(f"{path}: inconsistent model file ({error!r})") from error
