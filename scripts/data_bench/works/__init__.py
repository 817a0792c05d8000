"""The works by name, in the order in which they run."""

from collections.abc import Callable

from engine_bench.table import Table

from data_bench.works import augmentation, binning, decoding, device, epoch, kinds

WORKS: dict[str, Callable[[Table, bool], None]] = {
    "binning": binning.work,
    "kinds": kinds.work,
    "augmentation": augmentation.work,
    "decoding": decoding.work,
    "epoch": epoch.work,
    "device": device.work,
}
