"""Run an exported network in Lava. Needs Python 3.10, lava-nc 0.10 and numpy; nothing of the package that wrote it.

    python run_bundle.py BUNDLE --input spikes.npz --output out.npz [--samples K] [--timeout SECONDS]

``spikes.npz`` holds one array per input of the network, ``[T, N, *shape]``. All samples run in one process graph, one
window after another; between windows every process is fresh. ``out.npz`` holds, per neuron and aligned to the input's
ticks: ``spikes/NAME``, ``states/NAME/STATE`` (after the tick), ``currents/NAME``; and ``values/NAME`` per sink.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # one operating system process per node: more threads only fight

import numpy as np  # noqa: E402

FORMAT = 1
CHILD_FAILED, TIMED_OUT = 3, 4


def load(folder):
    """The bundle's description and arrays."""
    with open(os.path.join(folder, "graph.json"), encoding="utf-8") as stream:
        network = json.load(stream)
    if network.get("format") != FORMAT:
        raise SystemExit(f"{folder}: bundle format {network.get('format')}, this runner reads {FORMAT}")
    with np.load(os.path.join(folder, "weights.npz"), allow_pickle=False) as stored:
        return network, {name: stored[name] for name in stored.files}


def flat_input(network, data, samples, period):
    """Inputs as [size, steps]: samples behind one another, each padded with zeros to the window."""
    out = {}
    for name, entry in network["inputs"].items():
        if name not in data:
            raise SystemExit(f"the input file has no array '{name}', it has {sorted(data)}")
        x = data[name][:, :samples]
        if list(x.shape[2:]) != entry["shape"]:
            raise SystemExit(f"input '{name}' has shape {list(x.shape)}, expected [T, N, *{entry['shape']}]")
        ticks, count = x.shape[:2]
        steps = np.zeros((count, period, int(np.prod(entry["shape"], dtype=int))))
        steps[:, :ticks] = np.moveaxis(x.reshape(ticks, count, -1), 0, 1)
        out[name] = np.ascontiguousarray(steps.reshape(count * period, -1).T)
    return out


def build(network, arrays, inputs, period, window):
    """Lava processes by name, connected; returns them."""
    import processes as p
    from lava.proc.io.source import RingBuffer

    fixed = network["model"] == "fixed"
    number = (lambda a: np.asarray(a).astype(np.int32)) if fixed else (lambda a: np.asarray(a, dtype=np.float64))
    made, emits, takes = {}, {}, {}
    for index, entry in enumerate(network["processes"]):
        name, kind = entry["name"], entry["type"]
        own = {field: arrays[key] for field, key in entry["arrays"].items()}
        place = dict(window, index=index, **{k: entry[k] for k in ("name", "start", "states", "emits") if k in entry})
        if kind == "source":
            made[name] = RingBuffer(data=number(inputs[name]))
            emits[name] = made[name].s_out
        elif kind == "constant":
            value, along = own["value"], entry["along"]
            if along is not None:  # one value per channel
                value = value.reshape([-1 if axis == along else 1 for axis in range(len(entry["shape"]))])
            pattern = np.zeros((entry["size"], period))
            pattern[:, entry["start"] :] = np.broadcast_to(value, entry["shape"]).reshape(-1, 1)
            made[name] = RingBuffer(data=number(pattern))
            emits[name] = made[name].s_out
        elif kind == "dense":
            weights = np.kron(np.eye(entry["repeat"]), own["weight"]) if entry["repeat"] > 1 else own["weight"]
            made[name] = p.WindowedDense(weights=number(weights), num_message_bits=entry["message_bits"], window=place)
            emits[name], takes[name] = made[name].a_out, made[name].s_in
        elif kind == "conv":
            # Lava convolves (the kernel turned round) over (W, H, C); the bundle holds [out, in, Ky, Kx] and [C, H, W].
            kernel = own["weight"].reshape(own["weight"].shape[0], -1, *entry["kernel"])
            kernel = kernel[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)
            made[name] = p.WindowedConv(
                weight=np.ascontiguousarray(number(kernel)),
                input_shape=tuple(entry["shape_in"][::-1]),
                stride=tuple(entry["stride"][::-1]),
                padding=tuple(entry["padding"][::-1]),
                dilation=tuple(entry["dilation"][::-1]),
                groups=entry["groups"],
                num_message_bits=entry["message_bits"],
                window=place,
            )
            emits[name] = made[name].a_out.transpose((2, 1, 0)).flatten()
        elif kind == "lif":
            made[name] = p.WindowedLIF(
                shape=(entry["size"],),
                du=entry["du"],
                dv=entry["dv"],
                vth=entry["vth"],
                bias_mant=number(own["bias_mant"]) if "bias_mant" in own else 0,
                bias_exp=entry["bias_exp"],
                window=place,
            )
            emits[name], takes[name] = made[name].s_out, made[name].a_in
        elif kind == "program":
            made[name] = p.ProgramNeuron(
                size=entry["size"], window=place, program=entry["program"], values=own, integer=entry["integer"]
            )
            emits[name], takes[name] = made[name].s_out, made[name].a_in
        elif kind == "delay":
            made[name] = p.DelayLine(size=entry["size"], ticks=np.asarray(own["ticks"], dtype=int), window=place)
            emits[name], takes[name] = made[name].s_out, made[name].s_in
        elif kind == "dendrite":
            made[name] = p.Dendrite(size=entry["size"], bias=number(own["bias"]), window=place)
            emits[name], takes[name] = made[name].a_out, (made[name].y_in, made[name].z_in)
        elif kind == "relay":
            made[name] = p.Relay(size=entry["size_in"], index=own["index"], divide=entry["divide"], window=place)
            emits[name], takes[name] = made[name].s_out, made[name].s_in
        elif kind == "sink":
            made[name] = p.Sink(size=entry["size"], window=place)
            takes[name] = made[name].s_in
        else:
            raise SystemExit(f"process '{name}' has the unknown type '{kind}'")
    for entry in network["processes"]:
        for place, source in enumerate(entry["sources"]):
            if entry["type"] == "dendrite":  # W's current, then V's
                emits[source].connect(takes[entry["name"]][place])
            elif entry["type"] == "conv":
                grid = emits[source].reshape(tuple(entry["shape_in"])).transpose((2, 1, 0))
                grid.connect(made[entry["name"]].s_in)
            else:
                emits[source].connect(takes[entry["name"]])
    return made


def components(network):
    """Names of one process of every part of the network that is connected within itself."""
    part = {entry["name"]: entry["name"] for entry in network["processes"]}

    def root(name):
        while part[name] != name:
            name = part[name]
        return name

    for entry in network["processes"]:
        for source in entry["sources"]:
            part[root(source)] = root(entry["name"])
    return sorted({root(name) for name in part})


def end_with(code, message):
    """Say what happened and end with every child: Lava's own shutdown may wait for ever for one that is gone."""
    sys.stderr.write(message.rstrip() + "\n")
    sys.stderr.flush()
    for child in multiprocessing.active_children():
        with contextlib.suppress(ProcessLookupError):  # one that has ended by itself in the meantime
            os.kill(child.pid, signal.SIGKILL)
    os._exit(code)


class Watch(threading.Thread):
    """Ends the run when a process has failed or died, or when the time is over: Lava itself would wait for ever."""

    def __init__(self, folder, seconds):
        super().__init__(daemon=True)
        self.folder, self.seconds = folder, seconds
        self.children = []  # ids of the processes that must be alive
        self.done = threading.Event()

    def reports(self):
        return sorted(name for name in os.listdir(self.folder) if not name.endswith(".part"))

    def end_if_reported(self):
        texts = []
        for name in self.reports():
            with open(os.path.join(self.folder, name), encoding="utf-8") as stream:
                texts.append(stream.read())
        if texts:
            end_with(CHILD_FAILED, "\n".join(texts))

    def missing(self):
        """Whether a child has ended. WNOWAIT: reaping it here would race with Lava's own join of its processes."""
        try:
            ended = [os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) for pid in self.children]
        except ChildProcessError:
            return True
        return any(state is not None for state in ended)

    def run(self):
        stop = None if self.seconds is None else time.monotonic() + self.seconds
        while not self.done.wait(0.1):
            # A child that fails reports before it ends: look for its report once more before calling it dead.
            silent = self.missing() and not self.reports()
            if silent and not self.done.wait(1.0) and self.missing() and not self.reports():
                end_with(CHILD_FAILED, "a Lava process ended without a word (killed, or out of memory)")
            self.end_if_reported()
            if stop is not None and time.monotonic() > stop:
                end_with(TIMED_OUT, f"no result after {self.seconds:g} seconds")


def collect(network, records, ticks, count):
    """The processes' files as arrays [T, N, *shape]."""
    out = {}
    fixed = network["model"] == "fixed"

    def read(index, field, dtype, shape):
        path = os.path.join(records, f"{index}.{field}")
        flat = np.fromfile(path, dtype=dtype)
        return np.ascontiguousarray(np.moveaxis(flat.reshape(count, ticks, *shape), 0, 1))

    for index, entry in enumerate(network["processes"]):
        name, shape = entry["name"], entry["shape"]
        if entry["type"] == "sink":
            out[f"values/{name}"] = read(index, "values", np.int32 if fixed else np.float64, shape)
        elif entry["type"] in ("lif", "program"):
            wide = np.float64 if not fixed else np.int32 if entry["type"] == "lif" else np.int64
            out[f"spikes/{name}"] = read(index, "spikes", np.dtype(entry["emits"]), shape)
            out[f"currents/{name}"] = read(index, "i", np.int32 if fixed else np.float64, shape)
            for state in entry["states"]:
                out[f"states/{name}/{state}"] = read(index, state, wide, shape)
    return out


def run(folder, data, samples=None, seconds=None):
    """Run all samples; returns name -> array."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg

    network, arrays = load(folder)
    shapes = {name: data[name].shape[:2] for name in network["inputs"] if name in data}
    if len(set(shapes.values())) > 1:
        raise SystemExit(f"the inputs differ in ticks or samples: {shapes}")
    ticks, count = next(iter(shapes.values()), (0, 0))
    count = count if samples is None else min(samples, count)
    if ticks < 1 or count < 1:
        raise SystemExit(f"nothing to run: {ticks} ticks, {count} samples")
    period = ticks + network["warm_up"]
    with tempfile.TemporaryDirectory() as scratch:
        window = {"period": period, "ticks": ticks}
        for use in ("records", "errors"):
            window[use] = os.path.join(scratch, use)
            os.mkdir(window[use])
        watch = Watch(window["errors"], seconds)
        watch.start()
        try:
            made = build(network, arrays, flat_input(network, data, samples, period), period, window)
            tag = "fixed_pt" if network["model"] == "fixed" else "floating_pt"
            for name in components(network):
                made[name].create_runtime(run_cfg=Loihi2SimCfg(select_tag=tag))
                watch.children = [child.pid for child in multiprocessing.active_children()]
                made[name].run(condition=RunSteps(num_steps=period * count))
                watch.children = []
                made[name].stop()
        except Exception:  # noqa: BLE001  (ends the run: Lava's exit handlers would wait for the other processes)
            watch.end_if_reported()
            end_with(CHILD_FAILED, traceback.format_exc())
        watch.done.set()
        return collect(network, window["records"], ticks, count)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--samples", type=int, help="run only the first so many samples")
    parser.add_argument("--timeout", type=float, help="seconds until the run is given up")
    options = parser.parse_args()
    with np.load(options.input, allow_pickle=False) as stored:
        data = {name: stored[name] for name in stored.files}
    result = run(options.bundle, data, options.samples, options.timeout)
    partial = f"{options.output}.part.npz"
    np.savez(partial, **result)
    os.replace(partial, options.output)


if __name__ == "__main__":
    main()
