"""What ``doctor`` looks at. Nothing here writes a file, and nothing imports what it only has to find."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neuroaccel.errors import NeuroaccelError

REPORTED = ("torch", "numba", "lightning", "nir", "safetensors", "scikit-learn")


@dataclass(frozen=True)
class Check:
    """One finding.

    Arguments:
        name: what was looked for.
        ok: whether it is there and can be used.
        found: version, path or size; or what is missing and what for.
        cure: the command that gets it; empty where nothing is missing.
    """

    name: str
    ok: bool
    found: str
    cure: str = ""


def all_checks() -> list[Check]:
    """All findings, in the order in which they are printed."""
    return [*_packages(), _cuda(), *_lava(), _compiler(), *_extras(), *_caches()]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> list[Check]:
    checks = [Check("Python", True, f"{platform.python_version()} ({sys.executable})")]
    for package in ("neuroaccel", *REPORTED):
        version = _version(package)
        checks.append(Check(package, version is not None, version or "not installed", _pip(package, version)))
    return checks


def _pip(package: str, version: str | None) -> str:
    return "" if version else f"pip install {package}"


def _cuda() -> Check:
    """A GPU that torch can use; torch is asked, and thereby imported, only where there may be one."""
    version = _version("torch") or ""
    build = version.partition("+")[2]
    if not (Path("/proc/driver/nvidia").exists() or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()):
        return Check("CUDA", False, "no NVIDIA GPU here; everything runs on the CPU")
    if build == "cpu":
        cure = "pip install --force-reinstall torch, without the CPU index"
        return Check("CUDA", False, f"a GPU is here, but torch {version} was built for the CPU", cure)
    import torch

    if not torch.cuda.is_available():
        cure = "update the NVIDIA driver; nvidia-smi shows its version"
        return Check("CUDA", False, f"a GPU is here, but torch {version} cannot use it", cure)
    return Check("CUDA", True, f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}")


def _compiler() -> Check:
    chosen = os.environ.get("CC")
    for command in (*((chosen,) if chosen else ()), "cc", "gcc", "clang"):
        found = shutil.which(command)
        if found:
            return Check("C compiler", True, found)
    return Check(
        "C compiler", False, "none on PATH; torch.compile needs one", "apt-get install gcc, or xcode-select --install"
    )


def _extras() -> list[Check]:
    """Each extra of this distribution, by what it declares itself."""
    try:
        lines = importlib.metadata.requires("neuroaccel") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    wanted: dict[str, list[str]] = {}
    for line in lines:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
        package = re.match(r"[A-Za-z0-9._-]+", line)
        if extra and package and package[0] != "neuroaccel" and extra[1] != "dev":
            wanted.setdefault(extra[1], []).append(package[0])
    checks = []
    for name, packages in wanted.items():
        missing = [package for package in packages if _version(package) is None]
        found = f"without {', '.join(missing)}" if missing else ", ".join(f"{p} {_version(p)}" for p in packages)
        cure = f'pip install "neuroaccel[{name}]"' if missing else ""
        checks.append(Check(f"extra {name}", not missing, found, cure))
    return checks


def _caches() -> list[Check]:
    from neuroaccel.datasets.cache import cache_dir
    from neuroaccel.engine.cache import wanted

    return [
        _folder("data cache", cache_dir(), "NEUROACCEL_CACHE", (".npy",)),
        _folder("kernel cache", wanted(), "NEUROACCEL_KERNEL_CACHE", (".py", ".nbi", ".nbc")),
    ]


def _folder(name: str, path: Path, variable: str, suffixes: tuple[str, ...]) -> Check:
    standing = path
    while not standing.exists() and standing != standing.parent:
        standing = standing.parent
    writable = standing.is_dir() and os.access(standing, os.W_OK | os.X_OK)
    if not path.exists():
        size = "not made yet"
    else:
        files = [file for file in path.rglob("*") if file.is_file() and file.suffix in suffixes]
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        size = f"{len(files)} {'file' if len(files) == 1 else 'files'}, {megabytes:.1f} MB"
    found = f"{path} ({size}{'' if writable else ', cannot be written'})"
    return Check(name, writable, found, "" if writable else f"export {variable}=a folder that you may write to")


def _lava() -> list[Check]:
    """Lava's environment and the Python that makes it; each interpreter found is really run."""
    from neuroaccel.hardware.lava.environment import find_environment, find_python310

    def found(name: str, look: Callable[[], str], cure: str) -> Check:
        try:
            return Check(name, True, look())
        except (NeuroaccelError, OSError, subprocess.SubprocessError) as error:
            return Check(name, False, " ".join(str(error).split()), cure)

    python = found(
        "Python 3.10", lambda: " ".join(find_python310()[:1]), "pyenv install 3.10, or uv python install 3.10"
    )
    return [python, found("Lava", lambda: str(find_environment()), "neuroaccel lava setup")]
