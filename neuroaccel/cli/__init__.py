"""The command line; it decides how its process waits."""

import os

# OpenMP's threads spin for a while after each of torch's operators, and so keep the processors from whatever else has
# work; scripts/bench_training shows what that costs, run with and without this. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
