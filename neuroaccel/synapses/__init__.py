"""What turns spikes into currents, and what stands between: layers on ``[T, N, ...]``, pools, delay, readout."""

from neuroaccel.synapses.dendritic import Dendritic, DendriticConv1d, DendriticConv2d, DendriticLinear
from neuroaccel.synapses.over_state import Add, Delay, Dropout, Readout, Recurrent
from neuroaccel.synapses.over_time import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    OverTime,
    SumPool2d,
    over_time,
)
from neuroaccel.synapses.plastic import PlasticLinear, ThreeFactor

__all__ = [
    "Add",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "Delay",
    "Dendritic",
    "DendriticConv1d",
    "DendriticConv2d",
    "DendriticLinear",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool2d",
    "OverTime",
    "PlasticLinear",
    "Readout",
    "Recurrent",
    "SumPool2d",
    "ThreeFactor",
    "over_time",
]
