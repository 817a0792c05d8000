"""Compiled kernels: sources are written to a cache folder and compiled there once, for all processes.

The folder's name hashes what the machine code depends on beside a kernel's own text, which the file's name hashes: the
versions of numba and Python, and the CPU. A changed source therefore never meets old code, and site-packages may be
read-only.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.util
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from pickle import UnpicklingError  # what numba raises on a damaged file of its own
from types import ModuleType
from typing import Any

import llvmlite.binding
import numba

from neuroaccel.folders import user_cache

LOG = logging.getLogger("neuroaccel")
Kernel = Callable[..., Any]
_COMPILED: dict[tuple[Path, str], Kernel] = {}
# numba recognises a source file by size and time of change: with one fixed time, processes that race to write the same
# text leave a file that is the same to numba, whoever came last.
_WRITTEN = 1_000_000_000
_HELPERS = re.compile(r"^from (neuroaccel\.\w+(?:\.\w+)*)\.(\w+) import", re.MULTILINE)


def folder() -> Path:
    """Where kernels are compiled: below ``NEUROACCEL_KERNEL_CACHE``, else the user's cache, else a temporary folder."""
    return _usable(wanted()) / _key()


def wanted() -> Path:
    """The folder of all versions' kernels that ``folder`` would use if it can be written; touches nothing."""
    chosen = os.environ.get("NEUROACCEL_KERNEL_CACHE")
    return Path(chosen) if chosen else user_cache() / "kernels"


def compile_source(name: str, source: str, number: str) -> Kernel:
    """Compile the function ``kernel`` of a source text, under the signature that it states.

    Arguments:
        name: for the file; the text's own hash is added to it.
        source: a module with ``SIGNATURE`` and ``kernel``.
        number: the type that ``V`` stands for in the signature.

    Returns:
        The compiled function; loading one that this machine compiled before takes milliseconds.
    """
    stem = f"{name}_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    where = folder()
    if (where, stem) not in _COMPILED:
        started = time.perf_counter()
        path = _write(where, stem, source)
        try:
            kernel = _compile(path, number)
        except (UnpicklingError, EOFError, ImportError, AttributeError, ValueError, KeyError, TypeError) as error:
            # Machine code that a crash cut short: once more from the source, which fails again if it is to blame.
            LOG.info("compiling kernel %s anew, what the cache holds of it is damaged (%r)", name, error)
            for stale in (where / "__pycache__").glob(f"{stem}.*"):
                stale.unlink(missing_ok=True)
            kernel = _compile(path, number)
        if not getattr(getattr(kernel, "stats", None), "cache_hits", True):
            LOG.info("compiled kernel %s in %.1f s, kept in %s", name, time.perf_counter() - started, where)
        _COMPILED[where, stem] = kernel
    return _COMPILED[where, stem]


def load(
    package: str,
    name: str,
    number: str = "float32",
    constants: Mapping[str, str | int] | None = None,
    inner: str = "",
    plain: bool = False,
) -> Kernel:
    """The kernel of a file ``{name}.py`` of a package of kernels, compiled.

    Arguments:
        package: such as ``neuroaccel.engine.kernels``.
        name: of the file.
        number: the type that ``V`` stands for in its signature.
        constants: values that replace those of the lines ``NAME = value``.
        inner: a file whose text takes the place of the line that imports from it, so that constants reach it too.
        plain: take ``{inner}_plain.py``, the same without vectors, instead.

    Raises:
        ValueError: there is no such line.
    """
    where = os.environ.get("NEUROACCEL_KERNEL_CACHE", "")
    return _load(where, package, name, number, inner, plain, tuple(sorted((constants or {}).items())))


@functools.cache
def _load(
    _where: str, package: str, name: str, number: str, inner: str, plain: bool, constants: tuple[tuple[str, Any], ...]
) -> Kernel:
    """As :func:`load`; the folder is part of the key only."""
    text = _text(package, name)
    if inner:
        loop = _text(package, f"{inner}_plain" if plain else inner)
        text = re.sub(rf"^from {re.escape(package)}\.{inner} import .*\n", lambda _: loop, text, flags=re.MULTILINE)
    tags = [name, number]
    for key, value in constants:
        text, found = re.subn(rf"^{key} = .*$", f"{key} = {value!r}", text, flags=re.MULTILINE)
        if not found:  # the text of an inner loop states it again
            raise ValueError(f"kernel {name} does not state {key}")
        tags.append(str(value))
    return compile_source("_".join(tags), stamped(text), number)


@functools.cache
def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath(f"{name}.py").read_text("utf-8")


def stamped(text: str) -> str:
    """A kernel's text with the hashes of the files that it imports from: machine code holds what they say too."""
    helpers = sorted(set(_HELPERS.findall(text)))
    hashes = (
        f"# {package}.{name} {hashlib.sha256(stamped(_text(package, name)).encode()).hexdigest()}\n"
        for package, name in helpers
    )
    return text + "".join(hashes)


def _compile(path: Path, number: str) -> Kernel:
    """Import a written source and compile its kernel, or load the machine code that numba keeps beside it."""
    module = _import(path)
    signature = module.SIGNATURE.replace("V", number)
    kernel: Kernel = numba.njit(signature, cache=True, nogil=True, error_model="numpy")(module.kernel)
    return kernel


@functools.cache
def _key() -> str:
    cpu = llvmlite.binding
    parts = [numba.__version__, sys.version, platform.machine(), cpu.get_host_cpu_name()]
    parts.append(cpu.get_host_cpu_features().flatten())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@functools.cache
def _usable(wanted: Path) -> Path:
    """The folder if it can be written, else a temporary one that goes with the process."""
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted.resolve()
    except OSError as error:
        # A fresh private folder, not a guessable one: code is loaded from it.
        temporary = Path(tempfile.mkdtemp(prefix="neuroaccel-kernels-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        LOG.info("kernel cache %s cannot be written (%s); compiling into %s", wanted, error, temporary)
        return temporary


def _write(where: Path, stem: str, source: str) -> Path:
    path, content = where / f"{stem}.py", source.encode()
    if path.is_file() and path.read_bytes() == content:
        return path
    where.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=where, prefix=f".{stem}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.utime(temporary, (_WRITTEN, _WRITTEN))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _import(path: Path) -> ModuleType:
    name = f"neuroaccel_kernel_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    # numba's cache looks functions up by module name when it loads machine code.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
