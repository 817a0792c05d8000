"""One rule, in one place: which kernel sums the events of a Linear.

The time that each would take for the block at hand is estimated, and the least is taken. The constants were measured on
one core of an AMD EPYC (Zen 5, 48 KB L1, 1 MB L2, 32 MB L3) as the best of 10 to 30 runs, over layers of 1024 and 4096,
1 to 20 % of the inputs active, 1 and 128 rows. They set which kernel runs, never what it computes.
"""

from __future__ import annotations

import functools
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LOG = logging.getLogger("neuroaccel")
Kind = Literal["plain", "strict", "blocked", "csr", "lines", "dense"]
Storage = Literal["f4", "bf16", "i1"]
BYTES: dict[str, int] = {"f4": 4, "bf16": 2, "i1": 1}
PANEL = 128
CACHE_FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")

# GB/s at which weight rows were gathered from where they lie, in the order of events.
GATHER = {"L2": 150.0, "L3": 90.0, "memory": 45.0}
# Synaptic events per ns that the sums reach when the weights are at hand (of the int8 kernel; float32 is bound by L2).
SUMS = 150.0
# ns for taking up and putting down the sums of one row and panel.
SEGMENT = 8.0
# Multiply-adds per ns of numpy's float32 product: 60, and more here because the event kernels lose a quarter of their
# speed where most inputs are active. The two meet at 50 to 55 % active inputs.
DENSE = 70.0
# ns per event, and per living synaptic event, of the CSR kernel.
CSR_EVENT, CSR = 5.0, 0.45
# Of the kernel that takes a target at a time through up to LINES rows: ns per living weight and 16 rows, per living
# weight, per event, and per sum that is turned into its row.
LINE, LINE_WEIGHT, LINE_EVENT, LINE_SUM = 0.18, 0.2, 0.5, 0.13
LINES = 256
# A segment should hold about this many events, so that taking up its sums is little beside them.
EVENTS_PER_SEGMENT = 24
# Rows that share a tile: their event lists and sums must not push it out of L2.
GROUP = 256


@dataclass(frozen=True)
class Caches:
    """Bytes of the second and third cache, as one thread sees them."""

    l2: int = 1 << 20
    l3: int = 32 << 20

    def level(self, size: int) -> str:
        """Where ``size`` bytes lie that are read again and again."""
        return "L2" if size <= self.l2 // 2 else "L3" if size <= self.l3 * 3 // 4 else "memory"


@functools.cache
def machine_caches() -> Caches:
    """The caches of this machine, where Linux tells them; else those of the machine that was measured."""
    found = {}
    for entry in sorted(CACHE_FOLDER.glob("index*")):
        try:
            level, size = (entry / "level").read_text().strip(), (entry / "size").read_text().strip()
            found[level] = int(size.rstrip("KM")) << (20 if size.endswith("M") else 10)
        except (OSError, ValueError) as error:
            LOG.debug("size of cache %s is not known (%s)", entry.name, error)
    return Caches(found.get("2", Caches.l2), found.get("3", found.get("2", Caches.l3)))


@dataclass(frozen=True)
class Schedule:
    """What runs.

    Arguments:
        kind: the kernel.
        tile, group: inputs and rows that the panels' kernel takes at a time.
        ahead: rows of weights are asked for some events ahead.
        streamed: tiles to come are asked for.
    """

    kind: Kind
    tile: int
    group: int = 1
    ahead: bool = False
    streamed: bool = False


@dataclass(frozen=True)
class LinearRule:
    """The rule for one layer.

    Arguments:
        inputs, outputs: of the weight.
        lead: rows of inputs in a row of events, one per leading place.
        storage: how its weights lie in panels.
        living: share of weights that are not 0.
        exact: sums do not depend on their order, so that a product of whole matrices gives the same.
        sparse: whether CSR rows are there.
        lines: whether the living weights of each target are there too, and every event is 1.
    """

    inputs: int
    outputs: int
    lead: int = 1
    storage: Storage = "f4"
    living: float = 1.0
    exact: bool = False
    sparse: bool = False
    caches: Caches = Caches()
    lines: bool = False

    @property
    def bytes(self) -> int:
        """Of all weights, as stored."""
        return self.inputs * self.outputs * BYTES[self.storage]

    @property
    def level(self) -> str:
        """Where the weights lie."""
        return self.caches.level(self.bytes)

    @property
    def largest_tile(self) -> int:
        """Inputs whose rows of a panel fill a quarter of L2."""
        return min(self.inputs, self.caches.l2 // 4 // (PANEL * BYTES[self.storage]))

    def tile(self, rows: int, events: int) -> int:
        """Inputs of a tile of a panel: the largest where events are rare, else half of that."""
        largest = self.largest_tile
        wanted = EVENTS_PER_SEGMENT * rows * self.lead * self.inputs // max(events, 1)
        return largest if wanted > largest // 2 else -(-largest // 2)

    def times(self, rows: int, events: int) -> dict[Kind, float]:
        """Estimated ns of every kernel that gives the right sums, for ``events`` events in ``rows`` rows."""
        each = BYTES[self.storage]
        products = events * self.outputs
        segments = rows * self.lead * -(-self.outputs // PANEL) * SEGMENT
        times: dict[Kind, float] = {}
        if rows > 1:
            groups, tiles = -(-rows // GROUP), -(-self.inputs // self.largest_tile)
            # Every weight that the rows of a group read is fetched once; from L3, half of that hides behind the sums.
            fetched = groups * self.bytes * -math.expm1(-events / groups / self.inputs)
            shown = {"L2": 0.0, "L3": 0.5, "memory": 1.0}[self.level]
            close = products * max(each / GATHER["L2"], 1 / SUMS)
            times["blocked"] = close + segments * tiles + shown * fetched / GATHER[self.level]
        times["strict"] = products * max(each / GATHER[self.level], 1 / SUMS) + segments
        if self.sparse:
            times["csr"] = events * CSR_EVENT + products * self.living * CSR
        if self.lines and rows > 1:
            whole, rest = divmod(rows, LINES)
            groups = -(-rest // 16)
            # Above 8 groups of 16 rows an even number goes at once.
            lots = 16 * whole + (groups if groups <= 8 else groups + groups % 2)
            passes = whole + (rest > 0)
            living = self.living * self.inputs * self.outputs
            times["lines"] = living * (lots * LINE + passes * LINE_WEIGHT)
            times["lines"] += events * LINE_EVENT + rows * self.outputs * LINE_SUM
        if self.exact and rows > 1:
            times["dense"] = rows * self.lead * self.inputs * self.outputs / DENSE
        return times

    def choose(self, rows: int, events: int) -> Schedule:
        """The kernel for a block of ``rows`` rows (ticks times samples) that hold ``events`` events together."""
        times = self.times(rows, events)
        kind = min(times, key=lambda name: times[name])
        if kind != "blocked":
            return Schedule(kind, self.inputs, ahead=self.level != "L2")
        return Schedule(kind, self.tile(rows, events), GROUP, streamed=self.level == "memory")

    def explain(self, rows: int = 128) -> str:
        """The rule in words, and where it changes its mind in blocks of ``rows`` rows."""
        size = rows * self.lead * self.inputs
        changes: list[str] = []
        before = ""
        for step in range(-120, 1):
            share = 10 ** (step / 30)
            kind = self.choose(rows, max(1, round(share * size))).kind
            if kind != before:
                changes.append(kind if not before else f"{kind} from {share:.2%} active")
                before = kind
        text = {"f4": "float32", "bf16": "bfloat16", "i1": "int8"}[self.storage]
        single = self.choose(1, max(1, self.inputs // 20)).kind
        return (
            f"{text} weights, {self.bytes / 2**20:.3g} MiB in {self.level}, {self.living:.3g} of them not 0; "
            f"a single row: {single}; blocks of {rows} rows: {', '.join(changes)}"
        )
