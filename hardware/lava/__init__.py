"""Lava: a network as a bundle that runs in Intel's simulator, in float64 or in Loihi's integers."""

from neuroaccel.hardware.lava.environment import find_environment, make_environment
from neuroaccel.hardware.lava.export import compare_lava, export_lava, load_bundle
from neuroaccel.hardware.lava.loihi import quantise
from neuroaccel.hardware.lava.run import run_bundle, run_lava

__all__ = [
    "compare_lava",
    "export_lava",
    "find_environment",
    "load_bundle",
    "make_environment",
    "quantise",
    "run_bundle",
    "run_lava",
]
