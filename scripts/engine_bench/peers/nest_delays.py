"""NEST on synapses with delays of their own. Runs in .venv-peers; argument: the work as .npz."""

import json
import math
import sys
import time

import nest
import numpy as np

work = np.load(sys.argv[1])
ticks, beta = int(work["ticks"]), float(np.float32(work["beta"]))
nest.set_verbosity("M_ERROR")


def once() -> tuple[float, list[list[int]]]:
    """Build, simulate, and return the seconds of the simulation and what fired."""
    nest.ResetKernel()
    nest.set(resolution=1.0, local_num_threads=1)
    trains = [work["tick"][work["address"] == k] + 1.0 for k in range(int(work["inputs"]))]
    source = nest.Create("spike_train_injector", len(trains), [{"spike_times": train.tolist()} for train in trains])
    neuron = {"tau_m": -1 / math.log(beta), "C_m": 1.0, "E_L": 0.0, "V_reset": 0.0, "V_m": 0.0, "t_ref": 0.0}
    target = nest.Create("iaf_psc_delta", int(work["outputs"]), {**neuron, "V_th": float(work["threshold"])})
    recorder = nest.Create("spike_recorder")
    synapse = {"weight": work["weight"].astype(float), "delay": work["delay"].astype(float)}
    pre, post = np.array(source.tolist())[work["pre"]], np.array(target.tolist())[work["post"]]
    nest.Connect(pre, post, "one_to_one", {"synapse_model": "static_synapse", **synapse})
    nest.Connect(target, recorder)
    nest.Prepare()
    started = time.perf_counter()
    nest.Run(float(ticks))
    seconds = time.perf_counter() - started
    nest.Cleanup()
    events = recorder.events
    # A spike that enters at tick t is a spike at t + 1 here, and so is what it sets off.
    fired = [(np.rint(events["times"]) - 1).astype(int).tolist(), (events["senders"] - target.tolist()[0]).tolist()]
    return seconds, fired


found = [once() for _ in range(int(work["runs"]) + 1)]
who = f"nest {nest.__version__}"
print(json.dumps({"who": who, "seconds": [seconds for seconds, _ in found[1:]], "spikes": found[-1][1]}))
