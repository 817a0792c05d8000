"""The Python 3.10 environment that Lava needs: found, or made when asked."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from neuroaccel.errors import ExecutorFailure, ExecutorUnavailable
from neuroaccel.folders import user_cache

LAVA = "lava-nc==0.10.0"
VARIABLE = "NEUROACCEL_LAVA_PYTHON"
FOLDER = ".venv-lava"
_IMPORTS = "import sys, numpy, lava.proc.lif.process; assert sys.version_info[:2] == (3, 10)"
log = logging.getLogger("neuroaccel")


def default_folder() -> Path:
    """Where :func:`make_environment` puts an environment if it is not told."""
    return user_cache() / "lava"


def candidates() -> Iterator[Path]:
    """Where a Lava environment may be, in the order in which they are tried."""
    here = Path.cwd()
    beside = Path(__file__).resolve().parents  # of a checkout: hardware/lava/environment.py lies inside it
    seen: set[Path] = set()
    for folder in (here, *here.parents, *beside):
        if folder not in seen:
            seen.add(folder)
            yield folder / FOLDER / "bin" / "python"
    yield default_folder() / "bin" / "python"


@cache
def _works(python: str) -> bool:
    done = subprocess.run([python, "-c", _IMPORTS], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        log.info("%s has no Lava: %s", python, (done.stderr.strip().splitlines() or ["no message"])[-1])
    return done.returncode == 0


def find_environment() -> Path:
    """The interpreter of an environment that holds Lava.

    ``NEUROACCEL_LAVA_PYTHON`` names it, else ``.venv-lava`` in this folder, one above it or beside the sources, else
    ``lava`` in the user's cache folder (:func:`neuroaccel.folders.user_cache`).

    Raises:
        ExecutorUnavailable: there is none; the message says how to get it.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file() or not _works(named):
            raise ExecutorUnavailable(f"{VARIABLE} is '{named}', which is no Python 3.10 with {LAVA}")
        return Path(named)
    for python in candidates():
        if python.is_file() and _works(str(python)):
            return python
    raise ExecutorUnavailable(
        f"Lava is not here: it needs Python 3.10 with {LAVA}. Make it with `python3.10 -m venv {FOLDER} && "
        f"{FOLDER}/bin/pip install {LAVA}`, or name an interpreter that has it in {VARIABLE}"
    )


def find_python310() -> list[str]:
    """A command that makes virtual environments with Python 3.10.

    Raises:
        ExecutorUnavailable: there is none; the message says how to get it.
    """
    roots = [Path(os.environ[k]) for k in ("PYENV_ROOT",) if k in os.environ] + [Path.home() / ".pyenv"]
    pyenv = [str(p) for root in roots for p in sorted(root.glob("versions/3.10*/bin/python3.10"), reverse=True)]
    for python in [*filter(None, [shutil.which("python3.10")]), *pyenv]:
        # Run it: pyenv puts a name on PATH for versions that are not active, and that one then fails.
        check = subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True, check=False)
        if check.returncode == 0:
            return [python, "-m", "venv"]
    if uv := shutil.which("uv"):
        return [uv, "venv", "--seed", "--python", "3.10"]
    raise ExecutorUnavailable(
        "there is no Python 3.10, which Lava needs; install it (`pyenv install 3.10`, `uv python install 3.10`, or "
        "your distribution's python3.10 with its venv package)"
    )


def make_environment(folder: str | os.PathLike[str] | None = None, *, timeout_s: float = 1800.0) -> Path:
    """Make the environment: Python 3.10 with lava-nc, about 310 MB.

    Arguments:
        folder: where (default: ``lava`` in the user's cache folder); one that works already is kept.
        timeout_s: seconds for each of its two steps.

    Returns:
        its interpreter.

    Raises:
        ExecutorUnavailable: no Python 3.10.
        ExecutorFailure: a step failed or took too long; a half-made environment is removed.
    """
    target = default_folder() if folder is None else Path(folder)
    python = target / "bin" / "python"
    if python.is_file() and _works(str(python)):
        return python
    maker = find_python310()
    existed = target.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _step([*maker, str(target)], timeout_s)
        _step([str(python), "-m", "pip", "install", "--disable-pip-version-check", LAVA], timeout_s)
        _works.cache_clear()
        if not _works(str(python)):
            raise ExecutorFailure(f"{python}: {LAVA} was installed but does not import")
    except BaseException:
        if not existed:
            shutil.rmtree(target, ignore_errors=True)
        raise
    return python


def _step(command: list[str], timeout_s: float) -> None:
    log.info("running %s", " ".join(command))
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ExecutorFailure(f"`{' '.join(command)}` took more than {timeout_s:g} seconds") from error
    if done.returncode:
        tail = (done.stderr or done.stdout).strip()[-1000:]
        raise ExecutorFailure(f"`{' '.join(command)}` failed with code {done.returncode}: {tail}")
