"""NIR, the Neuromorphic Intermediate Representation: export, import, and comparison of a file with its graph.

NIR describes neurons in continuous time and leaves the tick, the discretisation and the tie rule to whoever reads it.
Here dt is always explicit, constants are written in float64 so that every β comes back bit for bit, and what NIR has
no field for (the grid of the weights, ties, names, the graph's hash) travels as JSON in the file's metadata. A reader
that ignores the metadata still gets the same network.

Source: Pedersen et al., Nature Communications 15, 8122 (2024); nir 1.0.8.
"""

from neuroaccel.hardware.nir.compare import compare_nir
from neuroaccel.hardware.nir.exporter import export_nir, to_nir
from neuroaccel.hardware.nir.importer import from_nir, import_nir

__all__ = ["compare_nir", "export_nir", "from_nir", "import_nir", "to_nir"]
