"""Neurons in torch: the reference interpreter of neuron programs, surrogates, and thin modules."""

from neuroaccel.neurons.module import ALIF, IF, LI, LIF, CubaLIF, GradedLIF, Neuron

__all__ = ["ALIF", "IF", "LI", "LIF", "CubaLIF", "GradedLIF", "Neuron"]
