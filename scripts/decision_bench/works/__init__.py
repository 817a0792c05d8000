"""The works by name: every module here that has ``work(table)``."""

import importlib
import pkgutil
from collections.abc import Callable

from engine_bench.table import Table

_MODULES = {m.name: importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)}
WORKS: dict[str, Callable[[Table], None]] = {name: _MODULES[name].work for name in sorted(_MODULES)}
