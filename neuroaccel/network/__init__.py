"""Networks of layers with state threaded through, and graphs as trainable torch networks."""

import neuroaccel.kernels  # noqa: F401  # registers the implementations that neurons choose from
from neuroaccel.network.network import Network, NetworkState

__all__ = ["Network", "NetworkState"]
