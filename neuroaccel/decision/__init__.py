"""Decisions from offline trajectories: the Spiking Decision Transformer and its dense twin."""
