"""The works by name, in the order in which they run."""

from collections.abc import Callable

from engine_bench.table import Table
from engine_bench.works import conv, costs, crossover, delays, dense, net, scaling, stream

WORKS: dict[str, Callable[[Table], None]] = {
    "dense": dense.work,
    "conv": conv.work,
    "net": net.work,
    "crossover": crossover.work,
    "scaling": scaling.work,
    "stream": stream.work,
    "delays": delays.work,
    "costs": costs.work,
}
