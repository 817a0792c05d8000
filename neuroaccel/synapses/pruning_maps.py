"""What stands between a trained parameter θ and the weight that a layer uses: soft thresholds and masks.

All are parametrisations (:mod:`torch.nn.utils.parametrize`): ``layer.weight`` is the pruned weight, whoever reads it,
and ``layer.parametrizations.weight.original`` is θ. What they know of the schedule is in buffers, thus in state dicts.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from neuroaccel.errors import InputError
from neuroaccel.synapses.thresholding import Both, Levels, Threshold, channel_size, room, takes

Gain = Literal["fixed", "learned", "one"]
Gradient = Literal["stmod", "st"]


SMALL = 1 << 14  # weights up to which a call of our own costs more than the memory that it saves


def per_channel(value: Tensor, dims: int, axis: int) -> Tensor:
    """``[channels]`` shaped so that it broadcasts along ``axis`` of a weight of ``dims`` axes."""
    return value.reshape(*(-1 if d == axis else 1 for d in range(dims)))


class ChannelGain(nn.Module):
    """The transition gain a_c > 0 of every output channel.

    ``fixed``: drawn once from U(0.5, 1.5); ``learned``: softplus(α_c), 1 at first; ``one``: 1. # ours: which axis, and
    the values; the paper has gains that differ between channels.

    Arguments:
        channels: how many.
        kind: which of them.
        generator: draws the fixed ones; None: torch's own.
    """

    value: Tensor

    def __init__(self, channels: int, kind: Gain = "fixed", generator: torch.Generator | None = None) -> None:
        super().__init__()
        if kind not in ("fixed", "learned", "one"):
            raise InputError(f"pruning: the gain is {kind!r}; expected fixed, learned or one")
        self.kind = kind
        if kind == "learned":
            self.alpha = nn.Parameter(torch.full((channels,), math.log(math.e - 1)))
        elif kind == "fixed":
            self.register_buffer("value", torch.empty(channels).uniform_(0.5, 1.5, generator=generator))

    def forward(self) -> Tensor | None:
        """a ``[channels]``; None where all are 1."""
        if self.kind == "learned":
            return nn.functional.softplus(self.alpha)
        return self.value if self.kind == "fixed" else None


def _product(values: Tensor, mask: Tensor) -> Tensor:
    """values · mask, by numbers read from the mask's bytes: several times faster than by truth values."""
    return room(values).copy_(mask.view(torch.uint8)).mul_(values)


class _Masked(torch.autograd.Function):
    """θ · mask, of which only the mask is kept."""

    @staticmethod
    def forward(theta: Tensor, mask: Tensor) -> Tensor:
        return _product(theta, mask)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient will be asked for
            return grads[0] * mask.to(grads[0].dtype), None
        return _product(grads[0], mask), None


class PruningMap(nn.Module):
    """What all have in common; ``decays``: whether weight decay may act on θ without being asked for."""

    decays: ClassVar[bool] = True
    structured: bool = False
    axis: int = 0

    def held(self, theta: Tensor) -> Tensor:
        """The weight from θ."""
        raise TypeError(f"{type(self).__name__} maps nothing")

    def scores(self, theta: Tensor, cut: float) -> Tensor:
        """The level up to which each synapse (or channel) lives, where d2 is ``cut`` times that of d1."""
        raise TypeError(f"{type(self).__name__} has no levels")

    def learns(self) -> bool:
        """Whether θ can have a gradient other than 0."""
        return True

    def forward(self, theta: Tensor) -> Tensor:
        """The weight; one and the same within one call of the layer, which may read it several times."""
        if torch.compiler.is_compiling():
            return self.held(theta)
        cache = self.__dict__.get("_cache")
        if cache is None:
            return self.held(theta)
        learns = torch.is_grad_enabled()  # what was made without a gradient is none for who needs one
        if learns not in cache:
            cache[learns] = self.held(theta)
        return cache[learns]  # type: ignore[no-any-return]


class NSP(PruningMap):
    """Nonlinear synaptic pruning: w = sign(θ)·[a_c(|θ| − d1)]₊, and 0 where that is not above d2.

    The published form is the first part; the cut at d2, the axis of the gains and all constants are ours. With gain 1
    and d2 0 it is STDS. ``structured`` prunes whole output channels: |θ| is the channel's root mean square m_c then,
    and the channel is scaled by a_c·[1 − d1/m_c]₊. # ours

    Arguments:
        channels: output channels (neurons of a dense layer).
        gain: kind of the gains, or gains that are shared with another tensor.
        gradient: ``stmod``: dL/dθ = a_c·dL/dw also for pruned synapses, so that they can come back; ``st``: the true
            one, 0 for pruned synapses.
        cut: whether d2 may be other than 0.
        structured: prune whole channels.
        axis: which axis of the weight the output channels are.
        generator: draws fixed gains.

    Source: NSPDI-SNN (arXiv 2508.21566); STDS (Chen et al., ICML 2022) for the gradient.
    """

    decays: ClassVar[bool] = False
    d1: Tensor
    d2: Tensor

    def __init__(
        self,
        channels: int,
        gain: Gain | ChannelGain = "fixed",
        gradient: Gradient = "stmod",
        cut: bool = True,
        structured: bool = False,
        axis: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if gradient not in ("stmod", "st"):
            raise InputError(f"pruning: the gradient is {gradient!r}; expected stmod or st")
        self.gain = gain if isinstance(gain, ChannelGain) else ChannelGain(channels, gain, generator)
        self.gradient, self.cut, self.structured, self.axis = gradient, cut, structured, axis
        self.register_buffer("d1", torch.zeros(()))
        self.register_buffer("d2", torch.zeros(()))

    def held(self, theta: Tensor) -> Tensor:
        result: Tensor = Threshold.apply(  # type: ignore[no-untyped-call]
            theta, self._gains(theta), self._levels(), self.gradient == "stmod", self.axis if self.structured else -1
        )
        return result

    def held_with(self, other: NSP, theta: Tensor, further: Tensor, stack: bool) -> Any:
        """This weight and another's by one function, in one tensor or two; None where they have to be made apart."""
        if self.structured or other.structured or not takes(theta, further):
            return None
        gain = self._gains(theta)
        # Learned ones are to have a gradient from each tensor, which are added up as those of two calls.
        same = other.gain is self.gain and other.axis == self.axis and self.gain.kind != "learned"
        return Both.apply(  # type: ignore[no-untyped-call]
            *(theta, further, gain, gain if same else other._gains(further)),
            (self._levels(), other._levels()),
            (self.gradient == "stmod", other.gradient == "stmod"),
            stack,
        )

    def _gains(self, theta: Tensor) -> Tensor | None:
        gain = self.gain()
        return None if gain is None else per_channel(gain, theta.dim(), self.axis).to(theta.dtype)

    def _levels(self) -> Levels:
        return Levels(self.d1, self.d2, self.cut)

    @torch.no_grad()
    def scores(self, theta: Tensor, cut: float) -> Tensor:
        """The d1 up to which each synapse (or channel) lives, where d2 = cut·d1: |θ|/(1 + cut/a_c)."""
        gain = self.gain()
        size = channel_size(theta, self.axis) if self.structured else theta.abs()
        if gain is None:
            return size / (1 + cut)
        return size / (1 + cut / per_channel(gain, theta.dim(), self.axis))


class STDS(NSP):
    """The soft threshold of STDS: w = sign(θ)·[|θ| − d]₊. Source: Chen et al., ICML 2022."""

    def __init__(self, channels: int, gradient: Gradient = "stmod", structured: bool = False, axis: int = 0) -> None:
        super().__init__(channels, "one", gradient, cut=False, structured=structured, axis=axis)


class Mask(PruningMap):
    """w = θ where the mask is set, else 0; only living weights have a gradient.

    ``watch()`` puts zeros that have a gradient in the place of dead weights, from which RigL learns dL/dw of all.

    Arguments:
        theta: the parameter.
        structured: masks cover whole output channels.
        axis: which axis they are.
    """

    mask: Tensor

    def __init__(self, theta: Tensor, structured: bool = False, axis: int = 0) -> None:
        super().__init__()
        self.structured, self.axis = structured, axis
        self.register_buffer("mask", torch.ones_like(theta, dtype=torch.bool))
        self.probe: Tensor | None = None  # no buffer: it lives from one step's forward to the next one's

    def held(self, theta: Tensor) -> Tensor:
        if self.probe is not None:
            return torch.where(self.mask, theta, self.probe)
        if torch.compiler.is_compiling() or theta.device.type != "cpu":
            return theta * self.mask.to(theta.dtype)
        if theta.numel() < SMALL:
            return theta * self.mask.view(torch.uint8).to(theta.dtype)
        masked: Tensor = _Masked.apply(theta, self.mask)  # type: ignore[no-untyped-call]
        return masked

    def learns(self) -> bool:
        """Whether anything lives, or dead weights are watched; asked on the CPU alone, where it stops no device."""
        return self.probe is not None or self.mask.device.type != "cpu" or bool(self.mask.numpy().any())

    def watch(self, theta: Tensor) -> None:
        """From now on gather the gradient of dead weights."""
        self.probe = torch.zeros_like(theta).requires_grad_()

    @torch.no_grad()
    def scores(self, theta: Tensor, cut: float) -> Tensor:
        """|θ|, or each channel's root mean square."""
        return channel_size(theta, self.axis) if self.structured else theta.abs()


def _begin(module: nn.Module, args: Any) -> None:
    if not torch.compiler.is_compiling():
        for part in maps_of(module).values():
            part.__dict__["_cache"] = {}


def _end(module: nn.Module, args: Any, output: Any) -> None:
    if not torch.compiler.is_compiling():
        for part in maps_of(module).values():
            part.__dict__["_cache"] = None


def maps_of(module: nn.Module) -> dict[str, PruningMap]:
    """Tensor name → the pruning map on it, of one layer."""
    if not parametrize.is_parametrized(module):
        return {}
    found = {}
    for name, chain in module.parametrizations.items():  # type: ignore[operator,union-attr]
        for part in chain:
            if isinstance(part, PruningMap):
                found[name] = part
    return found


def learns(module: nn.Module, name: str) -> bool:
    """Whether what a tensor is made from can have a gradient other than 0, as far as pruning knows."""
    if not parametrize.is_parametrized(module, name):
        return True
    chain = module.parametrizations[name]  # type: ignore[index]
    # Another map after this one could learn from what is pruned away.
    return len(chain) > 1 or not isinstance(chain[0], PruningMap) or chain[0].learns()


def both(module: nn.Module, stack: bool) -> Any:
    """W and V of a dendritic layer that thresholds prune: W over V (``stack``), or (W, V); None if others prune it."""
    if not all(parametrize.is_parametrized(module, name) for name in ("weight", "gate")):
        return None
    weight, gate = (module.parametrizations[name] for name in ("weight", "gate"))  # type: ignore[index]
    if not all(len(chain) == 1 and _thresholds(chain[0]) for chain in (weight, gate)):
        return None
    return weight[0].held_with(gate[0], weight.original, gate.original, stack)  # type: ignore[union-attr]


def _thresholds(part: Any) -> bool:
    """Whether a map's weight is what NSP makes, by no method or hook of someone's own."""
    kind: Any = type(part)
    if not isinstance(part, NSP) or kind.held is not NSP.held or kind.forward is not NSP.forward:
        return False
    return not (part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks)


def original(module: nn.Module, name: str) -> nn.Parameter:
    """θ of a parametrised tensor."""
    return module.parametrizations[name].original  # type: ignore[no-any-return,index,union-attr]


def attach(module: nn.Module, maps: dict[str, PruningMap]) -> None:
    """Put maps on tensors of a layer."""
    for name, part in maps.items():
        parametrize.register_parametrization(module, name, part)
    _own_class(module)
    # Functions of this module and no closures, so that copies of the layer have hooks of their own.
    module.register_forward_pre_hook(_begin)
    module.register_forward_hook(_end, always_call=True)


def _own_class(module: nn.Module) -> None:
    """Give every deep copy of a parametrised layer a class of its own.

    torch keeps the tensors' properties in a class made for the layer, which its copies would share: taking the
    parametrisations off one of them would take the properties from all.
    """
    made: Any = type(module)
    if getattr(made.__dict__.get("__deepcopy__"), "_own_class", False):
        return
    inherited = made.__deepcopy__

    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        copied = inherited(self, memo)
        if parametrize.is_parametrized(copied):
            shared = type(copied)
            copied.__class__ = type(shared.__name__, shared.__bases__, dict(shared.__dict__))
        return copied

    deepcopy._own_class = True  # type: ignore[attr-defined]
    made.__deepcopy__ = deepcopy


def detach(module: nn.Module) -> None:
    """Leave the pruned weights as plain parameters and take the maps away."""
    for name in maps_of(module):
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        for key in [k for k, hook in hooks.items() if hook in (_begin, _end)]:
            del hooks[key]
            module._forward_hooks_always_called.pop(key, None)
