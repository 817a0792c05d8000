"""Nonlinear dendritic integration (NDI): synapses whose current is gated by a second product with the same input.

    y = W·x;  z = V·x;  i = (y·z + y) + b        each operation rounded on its own

Source: Cai et al. 2025 (NSPDI-SNN), arXiv 2508.21566: I = Wx + b + (Wx) ⊙ (Vx), for dense and convolutional layers.
Ours, as its abstract leaves it open: the order of the operations, V's initialisation, and that V has no bias.

W and V are stacked and run as one plain layer of twice the outputs, by whoever runs such a layer: x is unfolded, or its
events are listed, once for both. Kept for the backward are x and the two products, whose room their gradients take
where nobody will ask for them again; so that forward and backward need no more memory than two plain layers do. Only a
dense layer of few values takes torch's own operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neuroaccel.errors import InputError
from neuroaccel.synapses.integrate import Layout, integrate
from neuroaccel.synapses.layer_backend import LayerBackend, choose_layer
from neuroaccel.synapses.over_time import Conv1d, Conv2d, Linear, OverTime
from neuroaccel.synapses.pruning_maps import both, learns

FEW = 1 << 16  # values
Size = int | tuple[int, ...]


@dataclass
class Plain:
    """A plain layer with these weights, as implementations read layers; torch's names."""

    weight: Tensor
    bias: Tensor | None
    training: bool
    in_features: int = 0
    out_features: int = 0
    in_channels: int = 0
    out_channels: int = 0
    kernel_size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    padding_mode: str = "zeros"


class _Instead(torch.autograd.Function):
    """Another's values with one's own gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _Shut(torch.autograd.Function):
    """A plain layer's values whose bias has its gradient here, and V, which is pruned away altogether, one of zeros."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, bias: Tensor | None, gate: Tensor, axis: int) -> Tensor:
        ctx.others = [at for at in range(values.dim()) if at != axis]
        ctx.gate = gate.shape, gate.dtype, gate.device
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), wanted = grads, ctx.needs_input_grad
        shape, dtype, device = ctx.gate
        bias = grad.sum(ctx.others) if wanted[1] else None
        # One zero, seen in every place.
        gate = torch.zeros((), dtype=dtype, device=device).expand(shape) if wanted[2] else None
        return grad, bias, gate, None


class Dendritic(OverTime):
    """Base of the layers whose current is i = (y·z + y) + b with y = W·x and z = V·x.

    Their parameters are ``weight`` (W), ``gate`` (V, of W's shape) and ``bias`` (or None).
    """

    kind: ClassVar[type[OverTime]]
    options: ClassVar[tuple[str, ...]]
    axis: ClassVar[int]
    weight: Tensor
    gate: Tensor
    bias: Any
    v_scale: float
    plain_at_zero: bool

    def _open(self, v_scale: float, plain_at_zero: bool) -> None:
        """Add the gate, once the plain layer has drawn what it draws."""
        if not (math.isfinite(v_scale) and v_scale >= 0):
            raise InputError(f"{type(self).__name__}: v_scale must be 0 or more, not {v_scale}")
        self.v_scale, self.plain_at_zero = v_scale, plain_at_zero
        self.gate = nn.Parameter(torch.empty_like(self.weight))
        self._draw_gate()

    def _draw_gate(self) -> None:
        with torch.no_grad():
            nn.init.kaiming_uniform_(self.gate, a=math.sqrt(5))
            self.gate.mul_(self.v_scale)

    def reset_parameters(self) -> None:
        """Draw W and b as the plain layer does, then V like W times ``v_scale``."""
        super().reset_parameters()  # type: ignore[misc]  # torch's layer's, in front of which this stands
        if hasattr(self, "gate"):
            self._draw_gate()

    @property
    def _groups(self) -> int:
        groups: int = getattr(self, "groups", 1)
        return groups

    def stacked(self) -> Plain:
        """W and V as one plain layer without bias; each group holds W's, then V's."""
        return self._plain(self._over(self.weight, self.gate), None, 2)

    def _over(self, weight: Tensor, gate: Tensor) -> Tensor:
        if self._groups == 1:
            return torch.cat([weight, gate])
        halves = [torch.unflatten(w, 0, (self._groups, -1)) for w in (weight, gate)]
        return torch.cat(halves, 1).flatten(0, 1)

    def _plain(self, weight: Tensor, bias: Tensor | None, times: int = 1) -> Plain:
        """A plain layer with this one's options and ``times`` its outputs."""
        options = {name: getattr(self, name) for name in self.options}
        outputs = "out_features" if "out_features" in options else "out_channels"
        options[outputs] *= times
        return Plain(weight, bias, self.training, **options)

    def _run(self, layer: Plain, x: Tensor) -> Tensor:
        """A plain layer's values, ``[T · N, ...]``."""
        return self._by(choose_layer(layer, x, self.kind)[0], layer, x)

    def _by(self, backend: LayerBackend | None, layer: Plain, x: Tensor) -> Tensor:
        if backend is not None:
            return backend.run(layer, x).flatten(0, 1)
        return self._torch(x.flatten(0, 1), layer.weight, layer.bias)

    def _torch(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        convolved: Tensor = self._conv_forward(x, weight, bias)  # type: ignore[operator]  # torch's layer's
        return convolved

    def _closed(self, gate: Tensor) -> bool:
        """Whether V is all zeros; asked on the CPU alone, elsewhere an answer would stop the device."""
        if torch.compiler.is_compiling() or gate.device.type != "cpu":
            return False
        values = gate.detach().float().numpy()  # whose any() takes a tenth of torch's time on a small layer
        return not (values[:1].any() or values.any())

    def forward(self, x: Tensor, state: None = None) -> Any:
        few = self._few(x)
        apart = few or self._apart(x)
        weight, gate, whole = self._made(apart)
        closed = self.plain_at_zero and self._closed(gate)
        kept: Tensor | None = None
        if closed:
            wanted = torch.is_grad_enabled() and (x.requires_grad or self._learns())
            shut = wanted and not learns(self, "gate") and self._alike(x)
            with torch.set_grad_enabled(shut):
                bias = None if self.bias is None else self.bias.detach()
                kept = self._run(self._plain(weight, bias), x).to(weight.dtype)
                if shut:
                    kept = _Shut.apply(kept, self.bias, gate, self.axis % kept.dim())  # type: ignore[no-untyped-call]
                kept = torch.unflatten(kept, 0, x.shape[:2])
            if shut or not wanted:
                return kept, None
        # Under autocast the products come in low precision; what is done with them stays in that of the parameters.
        if apart:
            layers = [self._plain(w, None) for w in (weight, gate)]
            backend, _ = choose_layer(layers[0], x, self.kind)  # the other's would be the same
            i = self._current([self._by(backend, layer, x).to(weight.dtype) for layer in layers], few)
        else:
            layer = self._plain(self._over(weight, gate) if whole is None else whole, self.bias, 2)
            # Somebody may compute the current without leaving the products to us.
            backend, _ = choose_layer(layer, x, type(self))
            if backend is None:
                i = self._current([self._run(replace(layer, bias=None), x).to(weight.dtype)], few)
            else:
                i = self._by(backend, layer, x)
        i = torch.unflatten(i, 0, x.shape[:2])
        return i if kept is None else _Instead.apply(i, kept), None  # type: ignore[no-untyped-call]

    def _made(self, apart: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """W, V and, where pruning makes them at once, their stack; each parametrisation is asked once."""
        made = both(self, not apart) if apart or self._groups == 1 else None
        if made is None:
            return self.weight, self.gate, None
        return (*made, None) if apart else (*made.chunk(2), made)

    def _current(self, parts: list[Tensor], few: bool) -> Tensor:
        """i from both products, in one tensor or two."""
        if few:
            i = parts[0] * parts[1] + parts[0]
            return i if self.bias is None else i + self.bias
        products: Any = tuple(parts)
        layout = Layout(self.axis % parts[0].dim(), self._groups if len(parts) == 1 else 1)
        return integrate(products, self.bias, layout)

    def _apart(self, x: Tensor) -> bool:
        """Whether each product is run by itself: never, unless x is unfolded for each faster than for both."""
        return False

    def _alike(self, x: Tensor) -> bool:
        """Whether the plain layer's gradients are bit for bit those that W has beside an empty V."""
        if self._few(x) or self._apart(x):
            return True
        return choose_layer(self._plain(self.weight.detach(), None), x, self.kind)[0] is not None

    def _few(self, x: Tensor) -> bool:
        """Whether so little is computed that torch's own operations cost less than ours do by a call."""
        return False

    def _learns(self) -> bool:
        return any(p is not None and p.requires_grad for p in (self.weight, self.gate, self.bias))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, v_scale={self.v_scale}"


class DendriticLinear(Dendritic, nn.Linear):
    """y = x·Wᵀ; z = x·Vᵀ; i = (y·z + y) + b on ``[T, N, .., in]``.

    Arguments:
        in_features, out_features, bias: as torch.nn.Linear's.
        v_scale: V is drawn like W and multiplied by this; 0 begins as the plain layer.  # ours
        plain_at_zero: where V is all zeros, on the CPU, the current is the plain layer's bit for bit, whose sum holds
            the bias at a place of its own choice. False adds it last there too, as a graph's Dendrite does; on weights
            and biases of a grid both are the same.

    Returns:
        ``(i, None)``, i of shape ``[T, N, .., out]``.

    Raises:
        InputError: a negative ``v_scale``.

    Source: arXiv 2508.21566, the current's equation.

    >>> import torch
    >>> from neuroaccel.synapses import DendriticLinear
    >>> layer = DendriticLinear(2, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = layer.weight.fill_(1.0), layer.gate.fill_(-0.5)
    >>> corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> layer(corners.unsqueeze(0))[0].flatten().tolist()
    [0.0, 0.5, 0.5, 0.0]
    """

    kind = Linear
    options = ("in_features", "out_features")
    axis = -1

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        v_scale: float = 0.1,
        *,
        plain_at_zero: bool = True,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self._open(v_scale, plain_at_zero)

    def _torch(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return nn.functional.linear(x, weight, bias)

    def _alike(self, x: Tensor) -> bool:
        # A BLAS may add up the gradient of x in another order where half of the products are zeros.
        return self._few(x) or (not x.requires_grad and super()._alike(x))

    def _few(self, x: Tensor) -> bool:
        return not torch.compiler.is_compiling() and x.shape[:-1].numel() * self.out_features <= FEW


class _DendriticConv(Dendritic):
    """What the convolutions share."""

    WIDE: ClassVar[int] = 512
    in_channels: int
    out_channels: int
    groups: int
    options = (
        *("in_channels", "out_channels", "kernel_size", "stride"),
        *("padding", "dilation", "groups", "padding_mode"),
    )
    axis = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        v_scale: float = 0.1,
        *,
        plain_at_zero: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        self._open(v_scale, plain_at_zero)

    def _apart(self, x: Tensor) -> bool:
        # ours, measured: from so many products of channels on the gradient of x takes longer by both at once.
        # W's shape would tell as well, but pruning would have to make it.
        pairs = self.out_channels * self.in_channels // self.groups
        return x.requires_grad and torch.is_grad_enabled() and 2 * pairs > self.WIDE


class DendriticConv1d(_DendriticConv, nn.Conv1d):
    """y = x ⋆ W; z = x ⋆ V; i = (y·z + y) + b on ``[T, N, C, L]``; the bias is added once, outside the product.

    Arguments:
        in_channels .. padding_mode: as torch.nn.Conv1d's.
        v_scale, plain_at_zero: as :class:`DendriticLinear`'s.

    Returns:
        ``(i, None)``.

    Source: arXiv 2508.21566, the current's equation.
    """

    kind = Conv1d


class DendriticConv2d(_DendriticConv, nn.Conv2d):
    """y = x ⋆ W; z = x ⋆ V; i = (y·z + y) + b on ``[T, N, C, H, W]``; the bias is added once, outside the product.

    Arguments:
        in_channels .. padding_mode: as torch.nn.Conv2d's.
        v_scale, plain_at_zero: as :class:`DendriticLinear`'s.

    Returns:
        ``(i, None)``.

    Source: arXiv 2508.21566, the current's equation.
    """

    kind = Conv2d
