"""An epoch of a set of the size of DVS128 Gesture, served to a training by two processes."""

import os
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import torch
from engine_bench.table import Table
from torch.nn.functional import cross_entropy

from data_bench.data import SIZE, SPAN_US, gesture
from neuroaccel import neurons, synapses
from neuroaccel.datasets import EventDataModule, Events
from neuroaccel.datasets.augment import FlipX, Shift
from neuroaccel.datasets.frames import TimeBins
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.datasets.store import Sample, build
from neuroaccel.network import Network

WORK = "epoch of 1,176 recordings"
RECORDINGS, CLASSES, BATCH, TICKS, WORKERS = 1176, 11, 16, 20, 2


class Gestures(EventDataModule):
    """A data module of a set that no registry knows."""

    def __init__(self, made: Recordings, **options: object) -> None:
        super().__init__("gestures of the benchmark", BATCH, seed=0, **options)  # type: ignore[arg-type]
        self.made = made

    def recordings(self, split: str) -> Recordings:
        return self.made


def work(table: Table, quick: bool) -> None:
    recordings = 128 if quick else RECORDINGS
    name = WORK if recordings == RECORDINGS else f"epoch of {recordings} recordings"
    with tempfile.TemporaryDirectory(prefix="neuroaccel-bench-") as folder:
        before = os.environ.get("NEUROACCEL_CACHE")
        os.environ["NEUROACCEL_CACHE"] = folder
        try:
            started = time.perf_counter()
            made = build("gestures", "0" * 32, _samples(recordings), SIZE, [str(c) for c in range(CLASSES)], recordings)
            spent = time.perf_counter() - started
            table.add(name, "neuroaccel", "time to store", spent, "s", f"{made.start[-1] / 1e6:.0f} M events", runs=1)
            _serve(table, name, made)
        finally:
            os.environ.pop("NEUROACCEL_CACHE") if before is None else os.environ.update(NEUROACCEL_CACHE=before)


def _samples(recordings: int) -> Iterator[Sample]:
    """Some recordings over and over, each time moved along the sensor."""
    pool = [gesture(seed).data for seed in range(8)]
    for number in range(recordings):
        data = pool[number % len(pool)].copy()
        data["x"] = (data["x"] + 7 * number) % SIZE[0]
        yield Sample(Events(data, SIZE), number % CLASSES, number, None, SPAN_US)


def _serve(table: Table, name: str, made: Recordings) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    frames = TimeBins(TICKS, SPAN_US // TICKS * 1e-6, "count")
    for bin_on in ("cpu", "cuda") if device == "cuda" else ("cpu",):
        module = Gestures(made, workers=WORKERS, frames=frames, augment=(FlipX(), Shift(8)), bin_on=bin_on)
        loader = module.train_dataloader()
        who = f"neuroaccel (bin on {bin_on})"
        for _ in loader:  # starts the workers, which stay
            pass
        started = time.perf_counter()
        seen = sum(len(batch[1]) for batch in loader)
        alone = time.perf_counter() - started
        assert seen == len(made)
        table.add(name, who, "time per sample, no training", alone / seen, "s", threads=WORKERS, runs=1)
        table.add(name, who, "events per second", made.start[-1] / alone / 1e6, "M/s", threads=WORKERS, runs=1)
        waited, step = _train(module, loader, device)
        note = f"of {sum(waited) + sum(step):.1f} s, a step {np.median(step) * 1e3:.0f} ms on {device}"
        share = sum(waited) / (sum(waited) + sum(step))
        table.add(name, who, "wait share of training", share, "fraction", note, threads=WORKERS, runs=1)
        table.add(name, who, "time per step", float(np.median(step)), "s", threads=1, runs=len(step))
        # What a faster step may take before it waits: the loaders' own pace.
        table.add(name, who, "time per batch, no training", alone / len(step), "s", threads=WORKERS, runs=1)
        del loader


def _train(
    module: EventDataModule, loader: torch.utils.data.DataLoader, device: str
) -> tuple[list[float], list[float]]:
    """Seconds of waiting for and of working on every batch of one epoch."""
    torch.manual_seed(0)
    layers = [
        synapses.SumPool2d(4),
        synapses.Conv2d(2, 16, 3, padding=1, bias=False),
        neurons.LIF(beta=0.9, threshold=1.0),
        synapses.SumPool2d(2),
        synapses.Conv2d(16, 32, 3, padding=1, bias=False),
        neurons.LIF(beta=0.9, threshold=1.0),
        synapses.SumPool2d(4),
        synapses.Flatten(),
        synapses.Linear(32 * 4 * 4, CLASSES, bias=False),
        neurons.LI(beta=0.9),
        synapses.Readout("mean_membrane"),
    ]
    network = Network(layers).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    waited, worked, batches = [], [], iter(loader)
    while True:
        started = time.perf_counter()
        batch = next(batches, None)
        got = time.perf_counter()
        if batch is None:
            return waited, worked
        x, labels = module.on_after_batch_transfer(tuple(part.to(device, non_blocking=True) for part in batch))
        optimizer.zero_grad()
        loss = cross_entropy(network(x)[0][-1], labels)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        waited.append(got - started)
        worked.append(time.perf_counter() - got)
