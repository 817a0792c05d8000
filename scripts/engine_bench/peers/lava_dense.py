"""Lava on a dense layer, in floating point. Runs in .venv-lava (Python 3.10); argument: the work as .npz."""

import json
import sys
import time
from importlib.metadata import version

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi1SimCfg
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIF

work = np.load(sys.argv[1])
ticks, outputs = int(work["ticks"]), int(work["outputs"])
data = np.zeros((int(work["inputs"]), ticks))
data[work["address"], work["tick"]] = 1
source, dense = Source(data=data), Dense(weights=work["weights"].astype(float))
neurons = LIF(shape=(outputs,), du=1.0, dv=1.0 - float(np.float32(work["beta"])), vth=float(work["threshold"]))
sink = Sink(shape=(outputs,), buffer=ticks + 1)
source.s_out.connect(dense.s_in)
dense.a_out.connect(neurons.a_in)
neurons.s_out.connect(sink.a_in)

seconds, configuration = [], Loihi1SimCfg(select_tag="floating_pt")
fired = np.zeros((0, 2), int)
for k in range(int(work["runs"]) + 1):
    started = time.perf_counter()
    # A synapse carries one tick, so the last spikes come one later; the run that shows them is not timed.
    neurons.run(condition=RunSteps(num_steps=ticks + (k == 0)), run_cfg=configuration)
    seconds.append(time.perf_counter() - started)
    if k == 0:  # the later runs start from its state, their spikes are others
        fired = np.argwhere(sink.data.get().T[1:])
neurons.stop()
who = f"lava-nc {version('lava-nc')} (floating point)"
print(json.dumps({"who": who, "seconds": seconds[1:], "spikes": fired.T.tolist()}))
