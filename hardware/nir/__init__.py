"""NIR, the Neuromorphic Intermediate Representation: export, import, and comparison of a file with its graph.

NIR describes neurons in continuous time and leaves the tick, the discretisation and the tie rule to whoever reads it.
Here dt is always explicit, constants are written in float64 so that every β comes back bit for bit, and what NIR has
no field for (the grid of the weights, ties, names, the graph's hash) travels as JSON in the file's metadata. A reader
that ignores the metadata still gets the same network.

>>> import numpy as np
>>> from neuroaccel.graph import Input, Linear, Neuron, Output, chain
>>> from neuroaccel.program import IF
>>> node = Neuron(IF().program, {"threshold": np.float32(1.0)}, (2,))
>>> graph = chain({"x": Input((3,)), "w": Linear(np.eye(2, 3, dtype=np.float32)), "n": node, "y": Output()}, dt=1e-3)
>>> to_nir(graph).nodes["n"].r.tolist()
[1000.0, 1000.0]
>>> list(from_nir(to_nir(graph), dt=1e-3).nodes)
['x', 'w', 'n', 'y']

Source: Pedersen et al., Nature Communications 15, 8122 (2024); nir 1.0.8.
"""

from neuroaccel.hardware.nir.compare import compare_nir
from neuroaccel.hardware.nir.exporter import export_nir, to_nir
from neuroaccel.hardware.nir.importer import from_nir, import_nir

__all__ = ["compare_nir", "export_nir", "from_nir", "import_nir", "to_nir"]
