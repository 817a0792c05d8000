"""Networks of layers with state threaded through, and graphs as trainable torch networks."""

from neuroaccel.network.network import Network, NetworkState

__all__ = ["Network", "NetworkState"]
