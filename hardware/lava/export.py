"""A network as a self-contained Lava bundle: description, weights, and a runner that needs only lava-nc and numpy.

A bundle is a folder: ``graph.json`` (one entry per Lava process, with its connections), ``weights.npz`` (arrays in the
graph's own layout; the runner turns them into Lava's), ``run_bundle.py`` and its two modules for Python 3.10.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import FileFormatError, InputError
from neuroaccel.graph import Graph, sha256
from neuroaccel.hardware.lava.mapping import Network, network_of

SOURCES = ("run_bundle.py", "processes.py", "interpreter.py")
DESCRIPTION, WEIGHTS = "graph.json", "weights.npz"


def export_lava(graph: Graph, folder: str | os.PathLike[str], *, fixed: bool = False) -> Path:
    """Write a network as a Lava bundle.

    Arguments:
        graph: an instant graph, which is retimed, or a pipelined one.
        folder: where the bundle goes; a bundle that is there already is replaced.
        fixed: in Loihi's integers (:func:`neuroaccel.hardware.lava.loihi.quantise`, unless the graph holds integers
            already) instead of float64.

    Returns:
        the folder.

    Raises:
        UnsupportedNode: a node that Lava or this mapping does not hold.
        GraphError: a weight, threshold or decay that Loihi's integers would clip.
        InputError: the folder holds something else.
    """
    target = Path(folder)
    if target.exists() and not (target / DESCRIPTION).is_file() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target} exists and is no Lava bundle; choose another folder")
    network = network_of(graph, fixed=fixed)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror})") from error
    try:
        made.chmod(0o755)
        (made / DESCRIPTION).write_text(json.dumps(network.description, indent=1, sort_keys=True) + "\n", "utf-8")
        stored = io.BytesIO()
        np.savez(stored, **network.arrays)  # type: ignore[arg-type]
        (made / WEIGHTS).write_bytes(stored.getvalue())
        for name in SOURCES:
            source = files("neuroaccel.hardware.lava") / "bundle" / name
            (made / name).write_text(source.read_text("utf-8"), "utf-8")
        _put(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def _put(made: Path, target: Path) -> None:
    """Rename a finished folder into place; an older bundle there leaves first."""
    if not target.exists():
        os.replace(made, target)
        return
    old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    os.replace(target, old / "old")
    try:
        os.replace(made, target)
    except OSError:
        os.replace(old / "old", target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def load_bundle(bundle: str | os.PathLike[str]) -> Network:
    """Read a bundle's description and arrays.

    Raises:
        FileFormatError: it is not there, truncated or foreign.
    """
    folder = Path(bundle)
    for name in (DESCRIPTION, WEIGHTS, *SOURCES):
        if not (folder / name).is_file():
            raise FileFormatError(f"{folder}: no Lava bundle, '{name}' is missing")
    try:
        description = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        with np.load(io.BytesIO((folder / WEIGHTS).read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise FileFormatError(f"{folder}: not a readable Lava bundle ({error})") from error
    missing = {"format", "model", "graph_sha256", "processes", "inputs", "outputs", "warm_up"} - set(description)
    if missing:
        raise FileFormatError(f"{folder / DESCRIPTION}: {', '.join(sorted(missing))} missing")
    return Network(description, arrays)


def compare_lava(graph: Graph, bundle: str | os.PathLike[str]) -> list[str]:
    """Compare a bundle with the graph that it should hold, array for array.

    Arguments:
        graph: the graph that was exported (for a fixed-point bundle the float graph, or its integer form).
        bundle: the folder.

    Returns:
        every difference in words, naming node and index; empty where there is none.

    Raises:
        FileFormatError: no readable bundle.
    """
    found = load_bundle(bundle)
    expected = network_of(graph, fixed=found.description["model"] == "fixed")
    differences = []
    stated = (found.description["graph_sha256"], found.description.get("source_sha256"))
    if sha256(graph) not in stated:
        differences.append(f"the bundle states graph {stated[0][:16]}…, this graph is {sha256(graph)[:16]}…")
    elif stated[0] != (runs := expected.description["graph_sha256"]):
        differences.append(f"the bundle states that it runs graph {stated[0][:16]}…, expected is {runs[:16]}…")
    differences += _arrays(found.arrays, expected.arrays)
    differences += _entries(found.description, expected.description)
    for name in SOURCES:
        ours = (files("neuroaccel.hardware.lava") / "bundle" / name).read_text("utf-8")
        if (Path(bundle) / name).read_text("utf-8") != ours:
            differences.append(f"the bundle's {name} is not the one that this version writes")
    return differences


def _arrays(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> list[str]:
    out = []
    for key in sorted({*found, *expected}):
        node, _, field = key.rpartition("/")
        if key not in found or key not in expected:
            out.append(f"node '{node}': {field} is only in the {'graph' if key in expected else 'bundle'}")
            continue
        a, b = found[key], expected[key]
        if a.shape != b.shape:
            out.append(f"node '{node}': {field} has shape {a.shape} in the bundle, {b.shape} in the graph")
            continue
        different = np.argwhere(~((a == b) | ((a != a) & (b != b))))
        if len(different):
            index = tuple(int(i) for i in different[0])
            more = f" ({len(different)} values differ)" if len(different) > 1 else ""
            out.append(
                f"node '{node}': {field}{list(index)} is {a[index]} in the bundle, {b[index]} in the graph{more}"
            )
    return out


def _entries(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    out = []
    ours = json.loads(json.dumps(dict(expected)))  # tuples become lists, as they did in the file
    for key in sorted({*found, *ours} - {"processes", "graph_sha256", "source_sha256"}):
        if found.get(key) != ours.get(key):
            out.append(f"{key} is {found.get(key)} in the bundle, {ours.get(key)} in the graph")
    here, there = ({p["name"]: p for p in side["processes"]} for side in (found, ours))
    for name in sorted({*here, *there}):
        if name not in here or name not in there:
            out.append(f"node '{name}' is only in the {'graph' if name in there else 'bundle'}")
            continue
        for key in sorted({*here[name], *there[name]}):
            a, b = here[name].get(key), there[name].get(key)
            if a != b:
                out.append(f"node '{name}': {key} is {a} in the bundle, {b} in the graph")
    return out
