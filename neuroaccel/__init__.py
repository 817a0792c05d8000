"""neuroaccel: spiking neural networks whose spikes are the same everywhere and whose every operation is counted.

>>> import neuroaccel
>>> neuroaccel.__version__
'0.1.0'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuroaccel.graph import Graph, load_graph, save_graph
    from neuroaccel.graph.lower import lower
    from neuroaccel.ledger import count, energy
    from neuroaccel.network import Network
    from neuroaccel.verify import verify

__version__ = "0.1.0"

_WHERE = {
    "Graph": "neuroaccel.graph",
    "Network": "neuroaccel.network",
    "count": "neuroaccel.ledger",
    "energy": "neuroaccel.ledger",
    "load_graph": "neuroaccel.graph",
    "lower": "neuroaccel.graph.lower",
    "save_graph": "neuroaccel.graph",
    "verify": "neuroaccel.verify",
}

__all__ = ["Graph", "Network", "__version__", "count", "energy", "load_graph", "lower", "save_graph", "verify"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that the light rooms never load torch."""
    if name not in _WHERE:
        raise AttributeError(f"module 'neuroaccel' has no attribute '{name}'")
    return getattr(importlib.import_module(_WHERE[name]), name)
