"""Optional dependencies: imported when first used, and named with their pip command where they are missing."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from neuroaccel.errors import MissingExtra


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra holds it and how to install that.

    Arguments:
        module: dotted name of the module, such as ``"tonic"`` or ``"tonic.transforms"``.
        extra: the extra of this distribution that installs it, such as ``"datasets"``.

    Returns:
        The imported module.

    Raises:
        MissingExtra: the module, or one that it needs, is not installed. An ImportError of any other kind is passed on
            as it is: the extra would not cure it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if importlib.util.find_spec(missing.partition(".")[0]) is not None:  # installed, but without such a submodule
            raise
        needed = "" if missing == module or module.startswith(f"{missing}.") else f", which '{module}' needs,"
        cure = f"the extra '{extra}' holds it: pip install \"neuroaccel[{extra}]\""
        raise MissingExtra(f"module '{missing}'{needed} is not installed; {cure}") from error
