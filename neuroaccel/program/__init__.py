"""The neuron language: programs as pure data, the field's neurons as constructors, integer formats.

>>> from neuroaccel.program import LIF
>>> print(LIF(beta=0.9, threshold=1.0).program)
LIF(beta, threshold)
  tick     v = mul(beta, v)
  tick     v = flush(v)
  tick     v = add(v, i)
  fire     v > threshold
  on fire  v = copy(0.0)
  emit     spike
"""

from neuroaccel.program.fixed import Arithmetic, Fixed
from neuroaccel.program.language import Assign, Emit, Fire, Parameter, Program, State
from neuroaccel.program.match import Known, match, program_of
from neuroaccel.program.resolve import check_parameters, resolve
from neuroaccel.program.zoo import ALIF, IF, LI, LIF, CubaLIF, GradedLIF, NeuronSpec

__all__ = [
    "ALIF",
    "IF",
    "LI",
    "LIF",
    "Arithmetic",
    "Assign",
    "CubaLIF",
    "Emit",
    "Fire",
    "Fixed",
    "GradedLIF",
    "Known",
    "NeuronSpec",
    "Parameter",
    "Program",
    "State",
    "check_parameters",
    "match",
    "program_of",
    "resolve",
]
