"""Fused multi-step neurons generated from programs, and products by events: numba on the CPU, behind torch operators.

Neurons and synapses load the room when they run their first sequence.
"""

from neuroaccel.kernels.buffers import empty, keep_heap
from neuroaccel.kernels.conv import EventConv2d
from neuroaccel.kernels.dendrite import Dendrite
from neuroaccel.kernels.dendritic_conv import EventDendrites
from neuroaccel.kernels.norm import BatchNorm
from neuroaccel.kernels.numba_backend import NumbaBackend
from neuroaccel.kernels.pool import Pool2d
from neuroaccel.kernels.shrink import soft_threshold
from neuroaccel.kernels.sparse_linear import EventLinear
from neuroaccel.kernels.which import Choice, which
from neuroaccel.neurons.backend import register
from neuroaccel.synapses import AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, DendriticConv2d, Linear, SumPool2d
from neuroaccel.synapses.integrate import register_integration
from neuroaccel.synapses.layer_backend import register_layer
from neuroaccel.synapses.thresholding import register_lender, register_shrink

keep_heap()
register(NumbaBackend())
register_layer(Linear, EventLinear())
register_layer(Conv2d, EventConv2d())
register_layer(DendriticConv2d, EventDendrites())
register_layer(BatchNorm1d, BatchNorm())
register_layer(BatchNorm2d, BatchNorm())
register_layer(AvgPool2d, Pool2d())
register_layer(SumPool2d, Pool2d())
register_integration(Dendrite())
register_lender(empty)
register_shrink(soft_threshold)

__all__ = ["Choice", "EventLinear", "NumbaBackend", "which"]
