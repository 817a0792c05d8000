"""neuroaccel: spiking neural networks whose spikes are the same everywhere and whose every operation is counted."""
