"""A training step of a dendritic layer beside the plain layer's, and beside torch's composed of its operations.

A step is forward and backward of one layer on a batch of spikes, with the gradient that a neuron layer would give;
behind the first layer of a network x has a gradient too. Sizes are those of the tasks' networks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from engine_bench.table import Contender, Table
from torch import Tensor, nn

from neuroaccel.kernels import which
from neuroaccel.synapses import Conv2d, DendriticConv2d, DendriticLinear, Linear

OURS, PLAIN, COMPOSED = "neuroaccel", "neuroaccel (plain layer)", f"torch {torch.__version__.split('+')[0]} (composed)"
RATE = 0.05
BATCH = 32


@dataclass(frozen=True)
class Case:
    """A layer's place in a network.

    Arguments:
        task: whose.
        inputs, outputs: features, or channels.
        ticks: T.
        size: of the image, and 0 for a dense layer.
        kernel: of the convolution.
        first: whether nothing before it learns.
    """

    task: str
    inputs: int
    outputs: int
    ticks: int
    size: int = 0
    kernel: int = 0
    first: bool = False

    @property
    def work(self) -> str:
        kind = f"conv {self.inputs}→{self.outputs}, {self.kernel}×{self.kernel}" if self.size else "linear "
        form = f" on {self.size}×{self.size}" if self.size else f"{self.inputs}→{self.outputs}"
        return f"NDI {kind}{form}, {self.task}"

    def layer(self, gated: bool) -> nn.Module:
        if self.size:
            kind = DendriticConv2d if gated else Conv2d
            return kind(self.inputs, self.outputs, self.kernel, padding=self.kernel // 2)
        return (DendriticLinear if gated else Linear)(self.inputs, self.outputs)

    def input(self) -> Tensor:
        shape = (self.inputs, self.size, self.size) if self.size else (self.inputs,)
        x = (torch.rand(self.ticks, BATCH, *shape) < RATE).float()
        return x.requires_grad_(not self.first)


CASES = (
    Case("digits", 64, 128, 8, first=True),
    Case("saccade-digits", 1024, 128, 15),
    Case("harmonic-cochlea", 128, 256, 50, first=True),
    Case("speech (700 channels)", 700, 256, 100, first=True),
    Case("saccade-digits", 2, 8, 15, size=34, kernel=5, first=True),
    Case("saccade-digits", 8, 16, 15, size=17, kernel=3),
    Case("moving-gestures", 16, 32, 15, size=16, kernel=3),
    Case("gestures (32×32)", 64, 128, 16, size=16, kernel=3),
)


class Composed(nn.Module):
    """What anybody writes: two layers of torch, a product and two sums, by torch's own gradients."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        layer, flat = self.layer, x.flatten(0, 1)
        if isinstance(layer, DendriticLinear):
            y, z, b = flat @ layer.weight.T, flat @ layer.gate.T, layer.bias
        else:
            y, z = (nn.functional.conv2d(flat, w, padding=layer.padding) for w in (layer.weight, layer.gate))
            b = layer.bias.reshape(-1, 1, 1)
        return torch.unflatten((y * z + y) + b, 0, x.shape[:2]), None


def step(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    """Forward and backward."""
    given = layer(x)[0]
    gradient = torch.empty_like(given).copy_(torch.randn(given.shape))  # as it lies in memory

    def run() -> None:
        x.grad = None
        layer.zero_grad()
        layer(x)[0].backward(gradient)

    return run


def work(table: Table) -> None:
    for case in CASES:
        torch.manual_seed(0)
        x, gated, plain = case.input(), case.layer(True), case.layer(False)
        layers = {OURS: gated, PLAIN: plain, COMPOSED: Composed(gated)}
        seconds = table.contest(case.work, [Contender(who, step(layer, x)) for who, layer in layers.items()], warm=2)
        table.times(case.work, seconds, PLAIN)
        table.keep(case.work, OURS, "times the plain layer's", seconds[OURS] / seconds[PLAIN], "")
        with torch.no_grad():
            print(f"{'':27} both products: {which(gated, x.detach())['']}", flush=True)
