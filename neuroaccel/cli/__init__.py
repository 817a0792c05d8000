"""The command line; it decides how its process waits."""

import os

# OpenMP's threads spin for a while after each of torch's operators and keep the processors from our kernels' threads
# (saccade-digits on two cores: 870 samples a second, 1,360 where they wait passively). Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
