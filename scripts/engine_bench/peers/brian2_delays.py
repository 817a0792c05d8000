"""Brian2's standalone C++ on synapses with delays of their own. Runs in .venv-peers; argument: the work as .npz."""

import json
import sys
import tempfile

import brian2 as b
import numpy as np

work = np.load(sys.argv[1])
ticks, runs = int(work["ticks"]), int(work["runs"])

b.prefs.core.default_float_dtype = np.float32
b.prefs.devices.cpp_standalone.openmp_threads = 0
b.set_device("cpp_standalone", build_on_run=False, directory=None)
b.defaultclock.dt = 1 * b.ms

# A tick here is decay, synapses, threshold, reset, in this order: what every contender does.
b.magic_network.schedule = ["start", "groups", "synapses", "thresholds", "resets", "end"]
constants = {"beta": float(np.float32(work["beta"])), "theta": float(work["threshold"])}
source = b.SpikeGeneratorGroup(int(work["inputs"]), work["address"], work["tick"] * b.ms, when="start")
target = b.NeuronGroup(int(work["outputs"]), "v : 1", threshold="v > theta", reset="v = 0", namespace=constants)
target.run_regularly("v *= beta", when="groups")
synapses = b.Synapses(source, target, "w : 1", on_pre="v_post += w")
synapses.connect(i=work["pre"], j=work["post"])
synapses.w = work["weight"]
synapses.delay = work["delay"] * b.ms
spikes = b.SpikeMonitor(target)

with tempfile.TemporaryDirectory() as folder:
    b.run(ticks * b.ms)
    b.device.build(directory=folder, run=False)
    seconds = []
    for _ in range(runs + 1):
        b.device.run(directory=folder, with_output=False, run_args=[])
        seconds.append(float(b.device._last_run_time))
    fired = [np.rint(np.asarray(spikes.t / b.ms)).astype(int).tolist(), np.asarray(spikes.i).tolist()]
print(json.dumps({"who": f"brian2 {b.__version__} (C++ standalone)", "seconds": seconds[1:], "spikes": fired}))
