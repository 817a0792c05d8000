"""torch's layers on sequences: applied over T·N at once, returning ``(y, None)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from neuroaccel.errors import InputError
from neuroaccel.synapses.layer_backend import choose_layer


def over_time(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``module`` applied to every tick and sample of ``x`` ([T, N, ...]) in one call."""
    y = module(x.flatten(0, 1))
    if not isinstance(y, Tensor):
        raise InputError(f"{type(module).__name__} gives a {type(y).__name__}; a layer of a network gives one tensor")
    return y.reshape(*x.shape[:2], *y.shape[1:])


class OverTime(nn.Module):
    """Mixin in front of a torch layer: ``y, None = layer(x)`` on ``[T, N, ...]``.

    A registered implementation (:mod:`neuroaccel.synapses.layer_backend`) may take it.
    """

    on_sequences: ClassVar[bool] = True

    def forward(self, x: Tensor, state: None = None) -> Any:
        backend, _ = choose_layer(self, x)
        return over_time(super().forward, x) if backend is None else backend.run(self, x), None


class Linear(OverTime, nn.Linear):
    """y = x·Wᵀ + b on ``[T, N, in]``; options of torch.nn.Linear."""


class Conv1d(OverTime, nn.Conv1d):
    """1-d cross-correlation on ``[T, N, C, L]``; options of torch.nn.Conv1d."""


class Conv2d(OverTime, nn.Conv2d):
    """2-d cross-correlation on ``[T, N, C, H, W]``; options of torch.nn.Conv2d."""


class AvgPool2d(OverTime, nn.AvgPool2d):
    """Mean over a window; options of torch.nn.AvgPool2d."""


class MaxPool2d(OverTime, nn.MaxPool2d):
    """Spike-OR over a window of binary input; options of torch.nn.MaxPool2d."""


class SumPool2d(OverTime):
    """Sum over a window: y[c, i, j] = Σ x over the window.

    Arguments:
        kernel_size, stride, padding: as torch.nn.AvgPool2d's; the stride defaults to the window.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        backend, _ = choose_layer(self, x)
        if backend is not None:
            return backend.run(self, x), None

        def pool(flat: Tensor) -> Tensor:
            return nn.functional.avg_pool2d(flat, self.kernel_size, self.stride, self.padding, divisor_override=1)

        return over_time(pool, x), None


class Flatten(OverTime, nn.Flatten):
    """Merge axes ``start_dim`` to ``end_dim``, counted with the batch as axis 0, as torch.nn.Flatten."""


class BatchNorm1d(OverTime, nn.BatchNorm1d):
    """Normalisation of channels with statistics over T and N; must directly follow a synapse to be lowered."""


class BatchNorm2d(OverTime, nn.BatchNorm2d):
    """Normalisation of channels with statistics over T, N and space; must directly follow a synapse to be lowered."""
