"""Pruning of synapses while they are trained, of any module's weights, in one call.

    pruner = prune(model, "nsp", 0.1)
    for n in range(1, steps + 1):
        ...forward, backward, optimizer.step()
        pruner.step(n, steps)
    pruner.fold()

Methods: ``nsp`` (nonlinear synaptic pruning), ``stds`` (its parent), ``magnitude`` (gradual, Zhu & Gupta 2017) and
``rigl`` (Evci et al. 2020). All share the same budget: how many weights each layer keeps is fixed by the target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from neuroaccel.errors import InputError, StateError
from neuroaccel.synapses import rigl
from neuroaccel.synapses.pruning_maps import (
    NSP,
    STDS,
    ChannelGain,
    Gain,
    Gradient,
    Mask,
    PruningMap,
    attach,
    detach,
    maps_of,
    original,
)
from neuroaccel.synapses.pruning_schedule import SCHEDULES, Spread, drop_fraction, kept, progress

Method = Literal["nsp", "stds", "magnitude", "rigl"]
METHODS: tuple[Method, ...] = ("nsp", "stds", "magnitude", "rigl")
USUAL = {"nsp": "sine", "stds": "sine", "magnitude": "cubic", "rigl": "linear"}
UPDATES, LONGEST = 100, 100  # updates in a training, and the most steps between two of them
BAND, AIM = 0.008, 0.002  # below the target: how far the connectivity may drift once frozen, and what is steered to


@dataclass(frozen=True)
class Part:
    """One pruned tensor: the layer's name and module, which tensor it is, its map."""

    layer: str
    module: nn.Module
    tensor: str
    map: PruningMap

    @property
    def theta(self) -> nn.Parameter:
        """The trained parameter."""
        return original(self.module, self.tensor)

    def weight(self) -> Tensor:
        """The pruned weight as it is now, without gradient."""
        with torch.no_grad():
            return self.map.held(self.theta)


@dataclass(frozen=True)
class Living:
    """How much of a tensor lives."""

    layer: str
    tensor: str
    living: int
    total: int

    @property
    def connectivity(self) -> float:
        return self.living / self.total


class Pruner:
    """Moves the thresholds or masks of a pruned model; made by :func:`prune`.

    Thresholds and masks are in the model's state dict, and how far the schedule is in :meth:`state_dict`: both together
    continue a training bit for bit.

    **Steering.** The schedule g says which share of the final pruning is due: a group of tensors keeps
    total − g·(total − final) of its weights, and its d1 is put where that is so: in the middle between two neighbouring
    values of |θ|/(1 + cut/a_c), a quantile. # ours: the papers have d1 = D·g with a D found by trial. A group is a
    layer (W and V of a dendritic one together, with one d1, d2 and gains), and its final share comes from the
    Erdős–Rényi kernel, because θ of different layers have different scales: one d1 for all would empty wide layers
    first. ``spread="global"`` is that one d1, as in STDS. In the frozen part of the training d1 and d2 stay, unless
    drifting θ take the connectivity above the target or 0.8 points below it; then, and after the last step, d1 is put
    right.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        groups: Sequence[Sequence[Part]],
        method: Method,
        target: float | None,
        *,
        schedule: str,
        freeze: float,
        cut: float,
        d1: float,
        d2: float,
        final: Sequence[int],
        every: int | None,
        seed: int,
        drop: float,
        stop: float,
    ) -> None:
        self.parts, self.method, self.target = tuple(parts), method, target
        self._groups, self._final = [tuple(g) for g in groups], list(final)
        self._ramp: Callable[[float], float] = SCHEDULES[schedule]
        self._freeze, self._cut, self._d = freeze, cut, (d1, d2)
        self._every, self._drop, self._stop = every, drop, stop
        self.steps, self.total = 0, 0
        self._frozen = False
        if method == "rigl":
            self._draw(torch.Generator().manual_seed(seed))

    # What it is now

    def living(self) -> list[Living]:
        """Of every tensor, how many weights are not 0."""
        weights = [(p, p.weight()) for p in self.parts]
        return [Living(p.layer, p.tensor, int(torch.count_nonzero(w)), w.numel()) for p, w in weights]

    def connectivity(self, tensor: str | None = None) -> float:
        """Weights that are not 0 over all weights of the pruned tensors, or of ``weight`` or ``gate`` alone."""
        rows = [r for r in self.living() if tensor is None or r.tensor == tensor]
        return sum(r.living for r in rows) / max(1, sum(r.total for r in rows))

    # Training

    def step(self, step: int, total: int) -> None:
        """Set thresholds or masks for what follows; call it after every step of the optimiser.

        Arguments:
            step: optimiser steps done, from 1 on.
            total: how many the whole training has.

        Raises:
            InputError: a step outside of 0 to ``total``.
        """
        if not 0 <= step <= total or total < 1:
            raise InputError(f"pruning: step {step} of {total}; expected 0 to {total}, and at least one step")
        self.steps, self.total = step, total
        every = self._interval(total)
        if self.method == "rigl":
            self._rigl(step, total, every)
            return
        r = progress(step, total, self._freeze)
        due = step % every == 0 or step == total
        if self.target is None:
            self._open_loop(self._ramp(r))
        elif r < 1:
            if due:
                self._place(self._ramp(r))
        elif not self._frozen:
            self._place(1.0)
            self._frozen = True
            self._hold()
        elif self.method != "magnitude" and due:
            self._hold()

    def _interval(self, total: int) -> int:
        return self._every or min(LONGEST, max(1, round(total / UPDATES)))

    def _open_loop(self, g: float) -> None:
        for part in self.parts:
            assert isinstance(part.map, NSP)
            part.map.d1.fill_(self._d[0] * g)
            part.map.d2.fill_(self._d[1] * g)

    def _place(self, g: float, less: float = 0.0) -> None:
        """Keep in every group what the schedule says, and ``less`` of all weights less."""
        for group, final in zip(self._groups, self._final, strict=True):
            units = [p.map.scores(p.theta, self._cut) for p in group]
            size = sum(p.theta.numel() for p in group)
            share = (size - g * (size - final)) / size - less
            score = torch.cat([u.flatten() for u in units])
            keep = max(0, int(share * score.numel() + 1e-6))
            level = _between(score, keep)
            for part, own in zip(group, units, strict=True):
                if isinstance(part.map, NSP):
                    part.map.d1.copy_(level)
                    part.map.d2.copy_(level * self._cut)
                else:
                    assert isinstance(part.map, Mask)
                    part.map.mask.copy_((own > level).expand(part.theta.shape))

    def _hold(self) -> None:
        """Frozen: thresholds stay while the connectivity is in its band, and are put right where it has left it."""
        assert self.target is not None
        if any(p.map.structured for p in self.parts):
            found, low = self.connectivity(), 0.0  # whole channels come in steps that are larger than the band
        else:
            found, low = self.connectivity(), self.target - min(BAND, self.target / 5)
        if low <= found <= self.target:
            return
        less = min(AIM, self.target / 20)
        for attempt in range(8):  # a value that the rounding of the threshold lets through
            self._place(1.0, less * (attempt > 0))
            if self.connectivity() <= self.target:
                return
            less *= 1.5

    def _draw(self, generator: torch.Generator) -> None:
        for group, final in zip(self._groups, self._final, strict=True):
            sizes = [p.theta.numel() for p in group]
            left = final
            for i, part in enumerate(group):
                assert isinstance(part.map, Mask)
                count = left if i == len(group) - 1 else final * sizes[i] // sum(sizes)
                rigl.draw(part.map, count, generator)
                left -= count

    def _rigl(self, step: int, total: int, every: int) -> None:
        end = self._stop * total
        for part in self.parts:
            assert isinstance(part.map, Mask)
            if step % every == 0 and part.map.probe is not None:
                rigl.drop_and_grow(part.map, part.theta, drop_fraction(step, end, self._drop))
            part.map.probe = None
        self._watch()

    def _watch(self) -> None:
        """Before the step that ends in an update, look at the gradients of dead weights."""
        after = self.steps + 1
        if self.method == "rigl" and after % self._interval(self.total) == 0 and after < self._stop * self.total:
            for part in self.parts:
                assert isinstance(part.map, Mask)
                part.map.watch(part.theta)

    # Checkpoints, and the end

    def state_dict(self) -> dict[str, Any]:
        """How far it is; plain values. Thresholds and masks are in the model's."""
        return {"method": self.method, "steps": self.steps, "total": self.total, "frozen": self._frozen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; load the model's first.

        Raises:
            StateError: of another method.
        """
        if state.get("method") != self.method:
            raise StateError(f"pruning: the state is of {state.get('method')!r}, expected {self.method!r}")
        self.steps, self.total = int(state["steps"]), int(state["total"])
        self._frozen = bool(state["frozen"])
        if self.total:
            self._watch()

    def fold(self) -> None:
        """Replace every parametrised tensor by the plain sparse weight that it stands for; training it is over.

        A structured method leaves rows of zeros, which the engine leaves out.
        """
        for module in dict.fromkeys(p.module for p in self.parts):
            detach(module)


def fold(model: nn.Module) -> None:
    """:meth:`Pruner.fold` of all that is pruned in a model, such as a copy of one that is still trained."""
    for module in list(model.modules()):
        detach(module)


def _between(score: Tensor, keep: int) -> Tensor:
    """A level above which there are ``keep`` values, in the middle between two of them."""
    count = score.numel()
    if keep >= count:
        return score.new_zeros(())
    if keep > 0 and score.device.type == "cpu" and score.dtype in (torch.float32, torch.float64):
        # numpy selects both neighbours at once, several times faster than torch one of them.
        low, high = np.partition(score.numpy(), (count - keep - 1, count - keep))[count - keep - 1 : count - keep + 1]
        if low < high:
            return score.new_tensor((low + min(high, low * 2)) / 2)
    above = score.kthvalue(count - keep).values
    if keep == 0:
        return above * 2 + torch.finfo(score.dtype).tiny
    return (above + score.masked_fill(score <= above, torch.inf).min().clamp(max=above * 2)) / 2


def prune(
    model: nn.Module,
    method: Method = "nsp",
    target_connectivity: float | None = None,
    *,
    gain: Gain = "fixed",
    gradient: Gradient = "stmod",
    schedule: str | None = None,
    freeze: float = 0.1,
    cut: float = 0.1,
    d1: float | None = None,
    d2: float = 0.0,
    spread: Spread = "erk",
    structured: bool = False,
    gate: bool = True,
    share_gate: bool = True,
    layers: Iterable[str] | None = None,
    skip: Iterable[str] = (),
    every: int | None = None,
    seed: int = 0,
    drop: float = 0.3,
    stop: float = 0.75,
) -> Pruner:
    """Put pruning on every prunable layer of a model: dense, convolutional and dendritic ones.

    Arguments:
        model: any module; layers are found by their type, biases and normalisations stay as they are.
        method: ``nsp``, ``stds``, ``magnitude`` or ``rigl``.
        target_connectivity: living weights over all weights of the pruned tensors, at the end; None: thresholds
            follow ``d1`` and ``d2`` and no controller steers them.
        gain: of ``nsp``: ``fixed``, ``learned`` or ``one``.
        gradient: of ``nsp`` and ``stds``: ``stmod`` (straight through) or ``st``.
        schedule: ``sine``, ``linear`` or ``cubic``; None: sine, and cubic for ``magnitude``.
        freeze: the last part of the training in which the schedule stands still.
        cut: of ``nsp`` with a target: d2 as a multiple of d1, so that one schedule moves both.  # ours
        d1, d2: final thresholds without a target.
        spread: what each layer keeps, see :class:`Pruner`: ``erk``, ``uniform`` or ``global``.
        structured: prune whole output channels (not ``rigl``); the last layer is left alone unless named in ``layers``.
        gate: prune V of dendritic layers too.
        share_gate: W and V of a layer share d1, d2 and gains.
        layers: names of the layers to prune; None: all.
        skip: names of layers to leave alone.
        every: steps between two updates; None: a hundredth of the training, at most 100.
        seed: of fixed gains and of RigL's first mask.
        drop: of ``rigl``: α, the fraction that is exchanged at first.
        stop: of ``rigl``: the part of the training after which masks stay.

    Returns:
        The pruner, whose ``step`` is to be called after every step of the optimiser.

    Raises:
        InputError: an unknown method or layer, a layer that is pruned already, a tied weight, options that do not fit.
    """
    _check(method, target_connectivity, schedule, d1, structured, spread, every, freeze)
    named = _layers(model, layers, skip, structured)
    generator = torch.Generator().manual_seed(seed)
    groups: list[list[Part]] = []
    for name, module in named:
        tensors = ["weight", *(["gate"] if gate and isinstance(getattr(module, "gate", None), nn.Parameter) else [])]
        axis = 1 if isinstance(module, _ConvTransposeNd) else 0
        shared: ChannelGain | None = None
        maps: dict[str, PruningMap] = {}
        for tensor in tensors:
            theta = getattr(module, tensor)
            if method in ("nsp", "stds"):
                if shared is None or not share_gate:
                    shared = ChannelGain(theta.shape[axis], gain if method == "nsp" else "one", generator)
                with_cut = method == "nsp" and (cut > 0 if target_connectivity is not None else d2 > 0)
                made: PruningMap = (
                    NSP(theta.shape[axis], shared, gradient, with_cut, structured, axis)
                    if method == "nsp"
                    else STDS(theta.shape[axis], gradient, structured, axis)
                )
            else:
                made = Mask(theta, structured, axis)
            maps[tensor] = made.to(theta.device) if isinstance(made, Mask) else made.to(theta.device, theta.dtype)
        attach(module, maps)
        parts = [Part(name, module, tensor, part) for tensor, part in maps.items()]
        groups += [parts] if share_gate else [[p] for p in parts]
    sizes = [sum(p.theta.numel() for p in g) for g in groups]
    shapes = [tuple(g[0].theta.shape) for g in groups]
    parts = [p for g in groups for p in g]
    final = kept(shapes, sizes, target_connectivity, spread) if target_connectivity is not None else sizes
    pruner = Pruner(
        parts,
        [parts] if spread == "global" and target_connectivity is not None else groups,
        method,
        target_connectivity,
        schedule=schedule or USUAL[method],
        freeze=freeze,
        cut=cut if method == "nsp" else 0.0,
        d1=d1 or 0.0,
        d2=d2,
        final=final,
        every=every,
        seed=seed,
        drop=drop,
        stop=stop,
    )
    return pruner


def _check(
    method: str,
    target: float | None,
    schedule: str | None,
    d1: float | None,
    structured: bool,
    spread: str,
    every: int | None,
    freeze: float,
) -> None:
    if method not in METHODS:
        raise InputError(f"pruning: unknown method {method!r}; expected one of {', '.join(METHODS)}")
    if schedule is not None and schedule not in SCHEDULES:
        raise InputError(f"pruning: unknown schedule {schedule!r}; expected one of {', '.join(SCHEDULES)}")
    if target is None and (method not in ("nsp", "stds") or d1 is None):
        raise InputError(f"pruning: {method} without a connectivity to reach; nsp and stds can take d1 instead")
    if target is not None and (d1 is not None or not 0 < target <= 1):
        raise InputError(f"pruning: connectivity {target} and d1 {d1}; expected one of them, the first in (0, 1]")
    if structured and (method == "rigl" or spread == "global"):
        raise InputError("pruning: structured pruning has no rigl and no global spread; take another method or spread")
    if method == "rigl" and spread == "global":
        raise InputError("pruning: rigl draws its masks layer by layer; take spread erk or uniform")
    if spread not in ("erk", "uniform", "global"):
        raise InputError(f"pruning: spread is {spread!r}; expected erk, uniform or global")
    if (every is not None and every < 1) or not 0 <= freeze < 1:
        raise InputError(f"pruning: every={every}, freeze={freeze}; expected every ≥ 1 and freeze in [0, 1)")


def _layers(
    model: nn.Module, layers: Iterable[str] | None, skip: Iterable[str], structured: bool
) -> list[tuple[str, nn.Module]]:
    found = {_known_as(model, n): m for n, m in model.named_modules() if isinstance(m, (nn.Linear, _ConvNd))}
    left_out = set(skip)
    if structured and layers is None and found:
        left_out.add(list(found)[-1])  # whose channels are the answers
    wanted = [name for name in found if name not in left_out] if layers is None else list(layers)
    unknown = [name for name in (*wanted, *skip) if name not in found]
    if unknown or not wanted:
        raise InputError(f"pruning: no prunable layer {unknown or ''}; there are {', '.join(found) or 'none'}")
    seen: dict[int, str] = {}
    for name in wanted:
        if maps_of(found[name]):
            raise InputError(f"pruning: layer '{name}' is pruned already; fold it first")
        other = seen.setdefault(id(found[name].weight), name)
        if other != name:
            raise InputError(f"pruning: layers '{other}' and '{name}' share one weight; skip one, or untie them")
    return [(name, found[name]) for name in wanted]


def _known_as(model: nn.Module, name: str) -> str:
    """A module's name as its user knows it: a Network keeps layer ``a`` as ``layers.layer_a``."""
    return name.removeprefix("layers.layer_") if hasattr(model, "names") else name


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser in which decay leaves thresholded parameters and gains alone.

    Decay and soft thresholds fight: it would draw every pruned θ back to 0. Masked weights (magnitude, RigL) decay as
    in their papers. A model without thresholds gives one group.
    """
    spared: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, part in maps_of(module).items():
            if not part.decays:
                spared.update({id(p): p for p in (original(module, name), *part.parameters())})
    rest = [p for p in model.parameters() if id(p) not in spared]
    groups = [{"params": rest, "weight_decay": weight_decay}]
    return groups + ([{"params": list(spared.values()), "weight_decay": 0.0}] if spared else [])
