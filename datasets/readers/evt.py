"""Decoders of Prophesee's words. Each keeps its state from block to block, and none runs Python code per event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.readers.recording import Columns

OUT = 1 << 20  # events of EVT3 that are decoded at once


class BadWord(Exception):  # noqa: N818  (its reader tells of it as a FileFormatError)
    """A word of a type that the encoding reserves.

    Arguments:
        word: its number in the file.
        kind: its type.
    """

    def __init__(self, word: int, kind: int) -> None:
        super().__init__(f"word {word} has the reserved type {kind:#x}")
        self.word, self.kind = word, kind


class Decoder:
    """What all decoders count.

    Arguments:
        skip: whether words of a reserved type are skipped and counted, rather than refused.
    """

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.words = self.unknown = self.triggers = self.untimed = 0

    def decode(self, words: NDArray[Any]) -> Iterator[Columns]:
        """Give the events of the next words."""
        raise TypeError(f"{type(self).__name__} decodes nothing by itself")

    def _check(self, kind: NDArray[Any], known: tuple[int, ...]) -> None:
        table = np.zeros(16, bool)
        table[list(known)] = True
        wrong = np.flatnonzero(~table[kind])
        if len(wrong) and not self.skip:
            raise BadWord(self.words + int(wrong[0]), int(kind[wrong[0]]))
        self.unknown += len(wrong)


class TimeBase:
    """The upper 28 bits of EVT2's time: words of their own, which begin anew after 4.8 hours."""

    def __init__(self) -> None:
        self.base, self.timed = 0, False

    def spread(self, high: NDArray[np.bool_], value: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return ``(base, timed)``: the time base of every word, and whether there is one yet."""
        bases = value[high].astype(np.int64)
        before = self.base >> 6
        rounds = before >> 28
        steps = np.diff(bases, prepend=before & 0xFFFFFFF)
        # As with EVT3, a small step back is no new round.
        bases += (rounds + np.cumsum(steps < -(1 << 27))) << 28
        bases = np.concatenate(([before], bases)) << 6
        number = np.cumsum(high)
        timed = (number > 0) | self.timed
        self.base, self.timed = int(bases[-1]), bool(self.timed or high.any())
        return bases[number], timed


class Evt2(Decoder):
    """EVT 2.0: words of 32 bits, type 4, then time 6, x 11, y 11; the upper 28 bits of time in words of their own."""

    pairs = 0

    def __init__(self, skip: bool) -> None:
        super().__init__(skip)
        self.state = np.zeros(8, np.int64)

    def decode(self, words: NDArray[Any]) -> Iterator[Columns]:
        from neuroaccel.datasets.kernels import evt2, load

        held = np.ascontiguousarray(words).view(np.uint32)
        x, y = np.empty(len(words), np.int16), np.empty(len(words), np.int16)
        t, p = np.empty(len(words), np.int64), np.empty(len(words), np.uint8)
        load("evt2")(held, self.state, x, y, t, p, int(self.skip), self.pairs)
        self.unknown, self.triggers, self.untimed = (
            int(self.state[i]) for i in (evt2.UNKNOWN, evt2.TRIGGERS, evt2.UNTIMED)
        )
        if self.unknown and not self.skip:
            at = int(self.state[evt2.FIRST_UNKNOWN])
            raise BadWord(at, int(words[at - int(self.state[evt2.WORDS]) + len(words)]) >> 28)
        n = int(self.state[evt2.EVENTS])
        yield x[:n], y[:n], t[:n], p[:n]


class Dat(Evt2):
    """DAT: 32 bits of time, then x 14, y 14, polarity 4."""

    pairs = 1


class Evt21(Decoder):
    """EVT 2.1: words of 64 bits; as EVT 2.0 in the upper half, and below a bit for each of 32 pixels from x on."""

    legacy = False

    def __init__(self, skip: bool) -> None:
        super().__init__(skip)
        self.time = TimeBase()

    def decode(self, words: NDArray[Any]) -> Iterator[Columns]:
        halves = np.ascontiguousarray(words).view("<u4").reshape(-1, 2)
        head, valid = (halves[:, 0], halves[:, 1]) if self.legacy else (halves[:, 1], halves[:, 0])
        kind = head >> 28
        self._check(kind, (0, 1, 8, 10, 14, 15))
        base, timed = self.time.spread(kind == 8, head & 0xFFFFFFF)
        event = kind <= 1
        self.words += len(words)
        self.triggers += int(np.count_nonzero(kind == 10))
        chosen = np.flatnonzero(event)
        bits = np.unpackbits(
            np.ascontiguousarray(valid[chosen]).view(np.uint8).reshape(-1, 4), axis=1, bitorder="little"
        )
        row, bit = np.nonzero(bits)
        place = chosen[row]
        kept = timed[place]
        self.untimed += int(np.count_nonzero(~kept))
        place, bit = place[kept], bit[kept]
        found = head[place]
        t = base[place] + ((found >> 22) & 63)
        x = ((found >> 11) & 0x7FF).astype(np.int16) + bit.astype(np.int16)
        yield x, (found & 0x7FF).astype(np.int16), t, (found >> 28).astype(np.uint8)


class Evt21Legacy(Evt21):
    """EVT 2.1 as the IMX636 sends it: the half with the bits of the pixels last."""

    legacy = True


class Evt3(Decoder):
    """EVT 3.0: words of 16 bits, decoded by the kernel ``evt3``."""

    def __init__(self, skip: bool) -> None:
        super().__init__(skip)
        self.state = np.zeros(12, np.int64)

    def decode(self, words: NDArray[Any]) -> Iterator[Columns]:
        from neuroaccel.datasets.kernels import evt3, load

        kernel = load("evt3")
        words = np.ascontiguousarray(words, np.uint16)
        at = 0
        while at < len(words):
            room = min(OUT, 12 * (len(words) - at)) + 12
            x, y = np.empty(room, np.int16), np.empty(room, np.int16)
            t, p = np.empty(room, np.int64), np.empty(room, np.uint8)
            read = int(kernel(words[at:], self.state, x, y, t, p, int(self.skip)))
            at += read
            if self.state[evt3.UNKNOWN] and not self.skip:
                raise BadWord(int(self.state[evt3.FIRST_UNKNOWN]), int(words[at]) >> 12)
            n = int(self.state[evt3.EVENTS])
            yield x[:n], y[:n], t[:n], p[:n]
        self.unknown, self.triggers, self.untimed = (
            int(self.state[i]) for i in (evt3.UNKNOWN, evt3.TRIGGERS, evt3.UNTIMED)
        )


DECODERS: dict[str, Callable[[bool], Decoder]] = {
    "EVT2": Evt2,
    "EVT2.1": Evt21,
    "EVT2.1 legacy": Evt21Legacy,
    "EVT3": Evt3,
    "DAT": Dat,
}
