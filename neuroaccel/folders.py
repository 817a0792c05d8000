"""Where files go that nobody named a place for."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """``XDG_CACHE_HOME/neuroaccel`` if that variable holds an absolute path, else ``~/.cache/neuroaccel``.

    Source: the XDG base directory specification, which has relative paths ignored.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "neuroaccel"
