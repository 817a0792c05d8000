"""The phase code: a position in the episode as spikes, one train per attention head."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from neuroaccel.errors import InputError

STEEPNESS = 10.0


class _Positive(torch.autograd.Function):
    """1[x > 0] forwards, the derivative of sigmoid(10 x) backwards."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(STEEPNESS * x)
        gradient: Tensor = grads[0] * STEEPNESS * s * (1 - s)
        return gradient


class PhaseCode(nn.Module):
    """s_h(n, τ) = 1[sin(ω_h (n + τ/T) + φ_h) > 0], hard in training too; n is the environment's timestep.

    Backwards the comparison is sigmoid(10 sin). What is learned is φ and ω·max_steps/2π, the turns in an episode
    (``turns``): # ours: the gradient of ω itself grows with n and explodes. # ours: ω starts log-spaced from one turn
    in ``max_steps`` up to π, φ evenly spread, for an integer n cannot tell ω from 2π − ω.

    Arguments:
        heads: H.
        micro_steps: T.
        max_steps: entries of the table, n < max_steps.

    Source: arXiv 2508.21505, phase-shifted positional spikes; the paper's documentation gives sin(ω_k t + φ_k) > 0.

    >>> code = PhaseCode(heads=1, micro_steps=1, max_steps=8)
    >>> code.set_(torch.tensor([math.pi / 2]), torch.tensor([math.pi / 4]))
    >>> code(torch.arange(4)).flatten().tolist()
    [1.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, heads: int, micro_steps: int, max_steps: int) -> None:
        super().__init__()
        self.micro_steps, self.max_steps = micro_steps, max_steps
        low = 2 * math.pi / max(max_steps, 3)
        omega = low * (math.pi / low) ** (torch.arange(1, heads + 1) / (heads + 1))
        self.turns = nn.Parameter(omega * max_steps / (2 * math.pi))
        self.phi = nn.Parameter(2 * math.pi * (torch.arange(heads) + 0.25) / heads)

    @property
    def omega(self) -> Tensor:
        """ω ``[H]``, radians per timestep."""
        return self.turns * (2 * math.pi / self.max_steps)

    def set_(self, omega: Tensor, phi: Tensor) -> None:
        """Set ω and φ, ``[H]`` each."""
        with torch.no_grad():
            self.turns.copy_(omega * self.max_steps / (2 * math.pi))
            self.phi.copy_(phi)

    def table(self) -> Tensor:
        """All codes, ``[max_steps, T, H]`` in {0, 1}; the sine is taken in float64, as the graph's table is."""
        place = torch.arange(self.max_steps * self.micro_steps, dtype=torch.float64, device=self.phi.device)
        turns = place / (self.micro_steps * self.max_steps)
        angle = 2 * math.pi * turns[:, None] * self.turns.double() + self.phi.double()
        code: Tensor = _Positive.apply(torch.sin(angle))  # type: ignore[no-untyped-call]
        return code.to(self.phi.dtype).reshape(self.max_steps, self.micro_steps, -1)

    def forward(self, steps: Tensor) -> Tensor:
        """int64 ``[...]`` timesteps → ``[..., T, H]`` in {0, 1}.

        Raises:
            InputError: a timestep outside the table.
        """
        if steps.numel() and (int(steps.min()) < 0 or int(steps.max()) >= self.max_steps):
            raise InputError(
                f"timesteps span [{int(steps.min())}, {int(steps.max())}], the model knows 0 to {self.max_steps - 1}"
            )
        # Rows are picked and not indexed: the backward of an index adds row by row.
        rows: Tensor = torch.nn.functional.embedding(steps, self.table().flatten(1))
        return rows.reshape(*steps.shape, self.micro_steps, -1)
