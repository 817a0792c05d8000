"""How a convolution block goes about its work: its program with the normalisation in front, groups of samples, sums."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from neuroaccel.compiling import Kernel
from neuroaccel.kernels import conv, norm, op
from neuroaccel.kernels.buffers import empty
from neuroaccel.kernels.channels_last import Array, load
from neuroaccel.program import Program
from neuroaccel.program.language import INPUT, Assign, Parameter

EVEN = 4  # groups are a multiple of it, so that threads share them evenly
GROUP = 1 << 20  # floats of all ticks of the samples that pass together, about: they should stay in a cache
NORM = ("norm_scale", "norm_shift")
CURRENT = "norm_current"


@lru_cache(maxsize=512)
def normalised(text: str) -> str:
    """The program (as text) of neurons whose current is normalised first: factor and term are two more parameters."""
    program = Program.from_json(json.loads(text))
    scale, shift = NORM

    def renamed(body: tuple[Assign, ...]) -> tuple[Assign, ...]:
        return tuple(Assign(a.target, a.op, tuple(CURRENT if v == INPUT else v for v in a.args)) for a in body)

    first = (
        Assign(CURRENT, "mul", (INPUT, scale)),
        Assign(CURRENT, "add", (CURRENT, shift)),
    )
    return dataclasses.replace(
        program,
        parameters=(*program.parameters, *(Parameter(name) for name in NORM)),
        body=(*first, *renamed(program.body)),
        on_fire=renamed(program.on_fire),
    ).text


@dataclasses.dataclass(frozen=True)
class Fields:
    """What layers of a block are told beside tensors, as one text for the operator.

    Arguments:
        padding: zeros above and left of an image.
        eps: of the normalisation.
        program: the neurons', as text.
        surrogate, slope, detach_reset: their training fields.
        window, factor: of the pool; (1, 1) and 1 is none.
        first: whether the channels of what leaves shall come first in memory, as what flattens them wants.
    """

    padding: tuple[int, int]
    eps: float
    program: str
    surrogate: str
    slope: float
    detach_reset: bool
    window: tuple[int, int] = (1, 1)
    factor: float = 1.0
    first: bool = False

    @cached_property
    def text(self) -> str:
        return json.dumps([getattr(self, field.name) for field in dataclasses.fields(self)])

    @staticmethod
    @lru_cache(maxsize=512)
    def of(text: str) -> Fields:
        padding, eps, program, surrogate, slope, detach_reset, window, *rest = json.loads(text)
        return Fields(tuple(padding), eps, program, surrogate, slope, detach_reset, tuple(window), *rest)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where everything lies: groups of samples one after the other, in each ticks, samples, pixels, channels."""

    ticks: int
    samples: int
    shape: conv.Shape
    down: int
    across: int

    @staticmethod
    def of(x: Tensor, weight: Tensor, fields: Fields) -> Plan:
        return _plan(x.shape[0], x.shape[1], conv.Shape.of(x[0], weight, fields.padding), *fields.window)

    @cached_property
    def neurons(self) -> int:
        """Of a sample."""
        return self.shape.outputs * self.shape.size[0] * self.shape.size[1]

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        """First and last sample of each."""
        size = max(1, GROUP // (self.ticks * self.neurons))
        count = -(-self.samples // size)
        count = min(self.samples, -(-count // EVEN) * EVEN)
        bounds = [k * self.samples // count for k in range(count + 1)]
        return list(itertools.pairwise(bounds))

    @property
    def pooled(self) -> tuple[int, int]:
        return self.shape.size[0] // self.down, self.shape.size[1] // self.across

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Row ``t · samples + n`` of each image that lies here."""
        rows = np.arange(self.ticks * self.samples).reshape(self.ticks, self.samples)
        return np.concatenate([rows[:, first:last].reshape(-1) for first, last in self.groups])

    @cached_property
    def ways(self) -> list[NDArray[np.int64]]:
        """For every group, rows among its own images, and those rows."""
        bounds = [(first * self.ticks, last * self.ticks) for first, last in self.groups]
        return [np.stack([np.arange(last - first), self.order[first:last]]) for first, last in bounds]

    def part(self, flat: Array, group: tuple[int, int]) -> Array:
        """A group's ``[T, n · neurons]`` of all."""
        first, last = (k * self.ticks * self.neurons for k in group)
        return flat[first:last].reshape(self.ticks, -1)

    def kept(self, flat: Array, group: tuple[int, int], states: int) -> Array:
        """A group's states ``[chunks, S, n · neurons]`` of all that are kept."""
        chunks = flat.size // (states * self.samples * self.neurons)
        first, last = (k * chunks * states * self.neurons for k in group)
        return flat[first:last].reshape(chunks, states, (group[1] - group[0]) * self.neurons)

    @cached_property
    def most(self) -> int:
        """Neurons of the largest group."""
        return self.neurons * max(last - first for first, last in self.groups)

    def scratch(self) -> Array:
        """Memory for all ticks of a group."""
        array: Array = empty(self.ticks * self.most).numpy()
        return array

    def pool(self, name: str, fields: Fields) -> Kernel:
        first = int(fields.first)
        return load(name, CHANNELS=self.shape.outputs, DOWN=self.down, ACROSS=self.across, FIRST=first)


@lru_cache(maxsize=256)
def _plan(ticks: int, samples: int, shape: conv.Shape, down: int, across: int) -> Plan:
    return Plan(ticks, samples, shape, down, across)


class Neurons:
    """Values of a block's neurons as the kernels take them: the program's own, between them the statistics."""

    def __init__(self, text: str, values: Sequence[Tensor], plan: Plan, statistics: Sequence[NDArray[Any]]) -> None:
        self.text = normalised(text)
        self.at = len(op.program_of(text).parameters)  # derived values come behind
        self.plan = plan
        own = [np.ascontiguousarray(v.detach().numpy()).reshape(-1) for v in values]
        channels = plan.shape.outputs
        spread = [np.tile(np.asarray(s, np.float32), plan.neurons // channels) for s in statistics]
        per_neuron = [bool(v.dim()) for v in values]
        self.wide = [*per_neuron[: self.at], True, True, *per_neuron[self.at :]]
        arrays = zip((*own[: self.at], *spread, *own[self.at :]), self.wide, strict=True)
        samples = plan.most // plan.neurons
        self.arrays: list[Array] = [np.tile(a, samples) if wide else a for a, wide in arrays]
        self.names = frozenset(f"p{k}" for k, wide in enumerate(self.wide) if wide)
        self.scale, self.shift = self.at, self.at + 1

    def place(self, own: int) -> int:
        """Where the program's own value number ``own`` is."""
        return own if own < self.at else own + 2

    def given(self, samples: int) -> list[Array]:
        """Values of so many samples."""
        return [a[: samples * self.plan.neurons] if wide else a for a, wide in zip(self.arrays, self.wide, strict=True)]


def samples_of(array: Array, group: tuple[int, int]) -> Array:
    """Those of a group of ``[S, N, neurons]``, as ``[S, n · neurons]``."""
    return np.ascontiguousarray(array[:, group[0] : group[1]]).reshape(array.shape[0], -1)


class Sums:
    """Gradients of values, of every group on its own so that the order of summation is always the same."""

    def __init__(self, plan: Plan, neurons: Neurons, wanted: Sequence[int]) -> None:
        self.plan, self.wide = plan, neurons.wide
        self.statistics = (neurons.scale, neurons.shift)
        self.places = sorted([*(neurons.place(k) for k in wanted), *self.statistics])
        self.found: list[dict[int, NDArray[np.float64]]] = [{} for _ in plan.groups]

    def add(self, group: int, sums: NDArray[np.float64]) -> None:
        """Take the sums ``[places, n · neurons]`` of a group."""
        for place, row in zip(self.places, sums, strict=True):
            if place in self.statistics:
                total = norm.by_channel(row, self.plan.shape.outputs)
            elif self.wide[place]:
                total = row.reshape(-1, self.plan.neurons).sum(0)
            else:
                total = np.asarray(row.sum())
            self.found[group][place] = total

    def total(self, place: int) -> NDArray[np.float64]:
        """Over all groups."""
        result: NDArray[np.float64] = np.sum([found[place] for found in self.found], axis=0)
        return result
