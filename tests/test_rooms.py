"""The rooms of the package import each other in one direction only, and torch stays out of what must run without it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Where a room's sources are: the three top-level folders install as neuroaccel.datasets and so on.
SOURCES = {
    "neuroaccel": "neuroaccel",
    "datasets": "neuroaccel.datasets",
    "envs": "neuroaccel.envs",
    "hardware": "neuroaccel.hardware",
}

ANYWHERE = {"errors", "extras", "folders", "compiling"}
MODEL = {"program", "neurons", "kernels", "synapses", "network", "graph", "engine", "ledger"}

# Room -> the other rooms that it may import. A room is a folder or a module directly in the package.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "__main__": {"cli"},
    "extras": set(),
    "folders": set(),
    "compiling": set(),
    "program": set(),
    "neurons": {"program"},
    "kernels": {"neurons", "synapses", "program"},
    "synapses": {"neurons", "program"},
    "network": {"neurons", "kernels", "synapses", "graph", "program"},
    "graph": {"program"},
    "engine": {"graph", "program"},
    "ledger": {"graph", "engine", "program"},
    "decision": {"synapses", "neurons", "network", "graph", "program", "envs"},
    "adapters": {"synapses", "graph", "ledger", "program"},
    "training": MODEL | {"decision", "adapters", "datasets", "envs"},
    "datasets": {"engine"},
    "envs": set(),
    "hardware": {"graph", "program", "ledger", "engine"},
    "verify": MODEL | {"decision", "adapters", "training", "datasets", "envs", "hardware"},
    "report": MODEL | {"decision", "adapters", "training", "datasets", "envs", "hardware", "verify", "cli"},
    "cli": MODEL | {"decision", "adapters", "training", "datasets", "envs", "hardware", "verify", "report"},
    # neuroaccel/__init__.py: the names of the Python API, fetched when first used.
    "": MODEL | {"datasets", "hardware", "training", "verify"},
}

# Files that may import more than their room: path -> rooms in addition.
EXCEPTIONS: dict[str, set[str]] = {
    # By name, when the first sequence runs: who uses a layer by itself gets the kernels too.
    "neuroaccel/neurons/backend.py": {"kernels"},
    "neuroaccel/graph/lower*.py": {"neurons", "synapses", "network"},
    "neuroaccel/ledger/torch_hooks.py": {"neurons", "synapses", "network"},
    # The cache folder, for the table of an expert.
    "envs/offline/mountain_car.py": {"datasets"},
}

# Rooms that run without torch, but for these files.
WITHOUT_TORCH = {"errors", "extras", "folders", "compiling", "program", "graph", "engine", "ledger"}
WITH_TORCH = ("neuroaccel/graph/lower*.py", "neuroaccel/ledger/torch_hooks.py", "neuroaccel/ledger/dense.py")


def source_files() -> list[Path]:
    """Every module of the package; the Lava bundle's sources are data for another environment and not among them."""
    found = [path.relative_to(ROOT) for top in SOURCES for path in sorted((ROOT / top).rglob("*.py"))]
    return [path for path in found if (ROOT / path.parent / "__init__.py").exists()]


def module_name(path: Path) -> str:
    """Dotted name under which a source file is installed."""
    inside = path.with_suffix("").parts[1:]
    return ".".join((SOURCES[path.parts[0]], *(part for part in inside if part != "__init__")))


def room_of(module: str) -> str:
    """Room of a dotted name below neuroaccel; the package itself and its plain attributes are the room ''."""
    first = module.split(".")[1:2]
    return first[0] if first and first[0] in MAY_IMPORT else ""


def imported(source: str, path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import in a file: in modules, in functions, for type checkers, and by name."""
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from neuroaccel import graph` imports the room graph, `from neuroaccel.graph import Graph` the same.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            name = node.args[0].value
            if function in ("import_module", "__import__", "require") and isinstance(name, str):
                yield node.lineno, name


def violations(source: str, path: Path) -> list[str]:
    """What a file imports and must not."""
    name, posix = room_of(module_name(path)), path.as_posix()
    allowed = MAY_IMPORT[name] | ANYWHERE | {name}
    for pattern, more in EXCEPTIONS.items():
        allowed |= more if fnmatch(posix, pattern) else set()
    torch_free = name in WITHOUT_TORCH and not any(fnmatch(posix, pattern) for pattern in WITH_TORCH)
    found = []
    for line, module in imported(source, path):
        top = module.split(".")[0]
        if top in ("datasets", "envs", "hardware"):
            found.append(f"{posix}:{line} imports top-level '{top}': it is installed as neuroaccel.{top}")
        if top == "neuroaccel" and module != "neuroaccel.__version__" and room_of(module) not in allowed:
            found.append(f"{posix}:{line} imports {module}: room '{name}' may import only {sorted(allowed - {name})}")
        if torch_free and top in ("torch", "lightning", "torchmetrics"):
            found.append(f"{posix}:{line} imports {module}: room '{name}' runs without torch")
    return found


def test_every_room_is_in_the_table() -> None:
    rooms = {path.name for path in (ROOT / "neuroaccel").iterdir() if (path / "__init__.py").exists()}
    rooms |= {path.stem for path in (ROOT / "neuroaccel").glob("*.py") if path.stem not in ("__init__", "__main__")}
    rooms |= set(SOURCES) - {"neuroaccel"}
    assert rooms <= set(MAY_IMPORT), f"rooms without a row in MAY_IMPORT: {sorted(rooms - set(MAY_IMPORT))}"


def test_the_table_has_no_cycle_but_the_named_ones() -> None:
    """cli and report may import each other; every other pair of rooms has one direction."""
    both_ways = {frozenset((a, b)) for a in MAY_IMPORT for b in MAY_IMPORT[a] if a in MAY_IMPORT.get(b, set())}
    assert both_ways == {frozenset(("cli", "report"))}


@pytest.mark.parametrize("path", source_files(), ids=str)
def test_imports_follow_the_table(path: Path) -> None:
    assert violations((ROOT / path).read_text("utf-8"), path) == []


@pytest.mark.parametrize(
    ("path", "source", "line"),
    [
        ("neuroaccel/program/x.py", "import neuroaccel.graph", 1),
        ("neuroaccel/program/x.py", "from neuroaccel import graph", 1),
        ("neuroaccel/graph/x.py", "def f():\n    from neuroaccel.neurons import LIF", 2),
        ("neuroaccel/graph/x.py", "from ..engine import run", 1),
        ("neuroaccel/graph/__init__.py", "from ..engine.run import run", 1),
        ("neuroaccel/engine/kernels/x.py", "import numpy\nimport torch.nn", 2),
        ("neuroaccel/ledger/x.py", "import importlib\nimportlib.import_module('neuroaccel.synapses')", 2),
        ("neuroaccel/ledger/x.py", "from torch import nn", 1),
        ("hardware/nir/x.py", "from neuroaccel.verify import verify", 1),
        ("datasets/x.py", "from datasets.events import Events", 1),
    ],
)
def test_a_planted_import_is_found(path: str, source: str, line: int) -> None:
    found = violations(source, Path(path))
    assert len(found) == 1, found
    assert found[0].startswith(f"{path}:{line} imports ")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("neuroaccel/graph/lower.py", "import torch\nfrom neuroaccel.synapses import Linear"),
        ("neuroaccel/ledger/torch_hooks.py", "import torch\nfrom neuroaccel.neurons import Neuron"),
        (
            "neuroaccel/engine/kernels/x.py",
            "from . import y\nfrom ..session import Session\nfrom ...graph import Graph",
        ),
        (
            "neuroaccel/program/x.py",
            "from neuroaccel import errors\nfrom neuroaccel.errors import ProgramError\nimport numpy",
        ),
        ("hardware/lava/x.py", "from neuroaccel.engine import run\nfrom ..nir import write"),
    ],
)
def test_a_rightful_import_is_not_found(path: str, source: str) -> None:
    assert violations(source, Path(path)) == []


@pytest.mark.parametrize("room", sorted(WITHOUT_TORCH))
def test_importing_the_room_loads_no_torch(room: str) -> None:
    code = f"import sys, neuroaccel.{room}; print([name for name in ('torch', 'lightning') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
