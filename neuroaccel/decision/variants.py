"""The dense twin in other forms: compiled, and with 8-bit weights."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from neuroaccel.decision.dense import DenseDT
from neuroaccel.errors import ExecutorUnavailable


def compiled(model: DenseDT, batch: int = 1, backend: str = "inductor") -> DenseDT:
    """A copy whose cached decisions run compiled; compiling takes seconds to a minute.

    Arguments:
        model: the trained model.
        batch: episodes that it will decide in at once.
        backend: of torch.compile.

    Raises:
        ExecutorUnavailable: torch.compile does not work here; the message holds its reason.
    """
    out: Any = copy.deepcopy(model).eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own use of what it deprecates
            out.extend = torch.compile(out.extend, dynamic=False, backend=backend)
            with torch.no_grad():
                for tokens in (2, 3):  # an episode's first decision, and all others
                    x = torch.zeros(batch, tokens, model.config.token_size)
                    out.extend(x, torch.zeros(batch, tokens, dtype=torch.long), out.cache(batch))
    except (RuntimeError, OSError, ImportError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise ExecutorUnavailable(f"torch.compile does not work here ({first}); the eager model does") from error
    return out  # type: ignore[no-any-return]


class Int8Linear(nn.Module):
    """y = (W_q·x_q)·s_w·s_x + b: weights and inputs as whole numbers of 8 bits, one scale per row.

    The sums of products are exact: float32 holds them for up to 1040 inputs.

    Arguments:
        dense: the layer to round.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, dense: nn.Linear) -> None:
        super().__init__()
        weight, scale = _rounded(dense.weight.detach())
        self.register_buffer("weight", weight.to(torch.int8))
        self.register_buffer("scale", scale[:, 0])
        bias = dense.bias.detach().clone() if dense.bias is not None else torch.zeros(len(weight))
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` → ``[..., out]``."""
        rounded, scale = _rounded(x)
        return (rounded @ self.weight.to(x.dtype).T) * self.scale * scale + self.bias


def _rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from −127 to 127 and each row's scale."""
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
    return torch.round(x / scale), scale


def int8(model: nn.Module, own: bool = False) -> nn.Module:
    """A copy whose dense layers multiply 8-bit numbers, weights and inputs alike.

    Arguments:
        model: the trained model.
        own: take :class:`Int8Linear` rather than torch's dynamic quantisation, which is faster and deprecated; it is
            taken anyway where torch has none.
    """
    found = copy.deepcopy(model).eval()
    if not own and torch.backends.quantized.supported_engines:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecated in favour of a package of its own
                from torch.ao import quantization

                quantise: Any = quantization.quantize_dynamic
                quantised: nn.Module = quantise(found, {nn.Linear}, dtype=torch.qint8)
            return quantised
        except ImportError:
            pass
    _replace(found)
    return found


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, Int8Linear(child))
        else:
            _replace(child)
