"""Networks of layers with state threaded through, and graphs as trainable torch networks."""

import neuroaccel.kernels  # noqa: F401  # registers the implementations that neurons choose from
from neuroaccel.network.attention import Attention
from neuroaccel.network.clocks import Keep, Memory, Window
from neuroaccel.network.network import Network, NetworkState
from neuroaccel.network.scope import Scope

__all__ = ["Attention", "Keep", "Memory", "Network", "NetworkState", "Scope", "Window"]
