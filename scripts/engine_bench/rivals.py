"""What others offer for layers of Linear and LIF: torch in its ways, scipy, snnTorch, SpikingJelly.

Everyone gets spikes [T, in] of one sample in the form it likes, made before, and returns the last layer's [T, out].
"""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine_bench.data import BETA, Layer, neurons
from engine_bench.table import Contender

TORCH = f"torch {version('torch').split('+')[0]}"
SCIPY, SNNTORCH, SPIKINGJELLY = (f"{name} {version(name)}" for name in ("scipy", "snntorch", "spikingjelly"))
Product = Callable[[Tensor], Tensor]  # spikes of the product's own type → float currents, bf16 where that is the mode
torch.set_num_threads(1)


def torch_neurons(drive: Tensor, threshold: float) -> Tensor:
    """LIF tick by tick over [T, ...]."""
    v, spikes = torch.zeros_like(drive[0]), torch.empty(drive.shape, dtype=torch.bool)
    for t, i in enumerate(drive):
        v.mul_(BETA).add_(i)
        torch.gt(v, threshold, out=spikes[t])
        v.masked_fill_(spikes[t], 0.0)
    return spikes


def compiled_neurons(drive: Tensor, threshold: float) -> Tensor:
    return torch.from_numpy(neurons(drive.numpy(), threshold))


def per_step(x: NDArray[Any], layers: Sequence[Layer]) -> Callable[[], Tensor]:
    """One product per tick and layer."""
    spikes = torch.from_numpy(x).float()
    weights = [torch.from_numpy(layer.weight) for layer in layers]

    @torch.inference_mode()
    def run() -> Tensor:
        states = [torch.zeros(len(w)) for w in weights]
        given = []
        for s in spikes:
            for w, v, layer in zip(weights, states, layers, strict=True):
                v.mul_(BETA).add_(functional.linear(s, w))
                fired = v > layer.threshold
                v.masked_fill_(fired, 0.0)
                s = fired.float()
            given.append(fired)
        return torch.stack(given)

    return run


def fp32(layer: Layer) -> Product:
    weight = torch.from_numpy(layer.weight)
    return lambda x: functional.linear(x, weight)


def bf16(layer: Layer) -> Product:
    weight = torch.from_numpy(layer.weight).bfloat16()
    return lambda x: functional.linear(x, weight).float()


def int8(layer: Layer) -> Product:
    weight = torch.from_numpy(layer.whole.T.astype(np.int8))
    unit = 2.0**-layer.q
    return lambda x: torch._int_mm(x, weight).float().mul_(unit)


def quantised(layer: Layer) -> Product:
    """The product inside torch's quantised Linear, with the input's scale known to be 1."""
    weight = torch.quantize_per_tensor(torch.from_numpy(layer.weight), 2.0**-layer.q, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(weight, None)
    return lambda x: torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(x, 1.0, 0, packed)


TYPES: dict[Callable[[Layer], Product], torch.dtype] = {
    fp32: torch.float32,
    bf16: torch.bfloat16,
    int8: torch.int8,
    quantised: torch.float32,
}


def layer_wise(
    x: NDArray[Any],
    layers: Sequence[Layer],
    how: Callable[[Layer], Product] = fp32,
    fire: Callable[[Tensor, float], Tensor] = torch_neurons,
) -> Callable[[], Tensor]:
    """One product per layer over all ticks, then its neurons."""
    spikes = torch.from_numpy(x).to(TYPES[how])
    products = [how(layer) for layer in layers]

    @torch.inference_mode()
    def run() -> Tensor:
        s = spikes
        for product, layer in zip(products, layers, strict=True):
            s = fire(product(s.to(TYPES[how])), layer.threshold)
        return s

    return run


def product_alone(x: NDArray[Any], layer: Layer, how: Callable[[Layer], Product]) -> Callable[[], Tensor]:
    """The currents of one layer over all ticks, and no neurons."""
    spikes, product = torch.from_numpy(x).to(TYPES[how]), how(layer)
    return torch.inference_mode()(lambda: product(spikes))


def sparse_product(x: NDArray[Any], layer: Layer) -> Callable[[], Tensor]:
    """torch.sparse: the spikes as CSR times the transposed weights."""
    spikes = torch.from_numpy(x).float().to_sparse_csr()
    weight = torch.from_numpy(np.ascontiguousarray(layer.weight.T))
    return torch.inference_mode()(lambda: spikes @ weight)


def scipy_product(x: NDArray[Any], layer: Layer) -> Callable[[], NDArray[Any]]:
    """scipy: the spikes as CSR times the transposed weights."""
    spikes = scipy.sparse.csr_matrix(x.astype(np.float32))
    weight = np.ascontiguousarray(layer.weight.T)
    return lambda: spikes @ weight


def snntorch_net(x: NDArray[Any], layers: Sequence[Layer]) -> Callable[[], Tensor]:
    """snnTorch, tick by tick, as its tutorials do."""
    import snntorch

    spikes = torch.from_numpy(x).float()
    weights = [torch.from_numpy(layer.weight) for layer in layers]
    leaky = [
        snntorch.Leaky(beta=BETA, threshold=layer.threshold, reset_mechanism="zero", reset_delay=False)
        for layer in layers
    ]

    @torch.inference_mode()
    def run() -> Tensor:
        states = [node.reset_mem() for node in leaky]
        given = []
        for s in spikes:
            for k, (w, node) in enumerate(zip(weights, leaky, strict=True)):
                s, states[k] = node(functional.linear(s, w), states[k])
            given.append(s)
        return torch.stack(given)

    return run


def spikingjelly_net(x: NDArray[Any], layers: Sequence[Layer]) -> Callable[[], Tensor]:
    """SpikingJelly, layer-wise (its multi-step mode)."""
    from spikingjelly.activation_based import neuron

    spikes = torch.from_numpy(x).float()
    weights = [torch.from_numpy(layer.weight) for layer in layers]
    options = {"tau": 1 / (1 - BETA), "decay_input": False, "step_mode": "m"}
    nodes = [neuron.LIFNode(v_threshold=layer.threshold, **options).eval() for layer in layers]

    @torch.inference_mode()
    def run() -> Tensor:
        s = spikes
        for w, node in zip(weights, nodes, strict=True):
            node.reset()
            s = node(functional.linear(s, w))
        return s

    return run


def has_quantised() -> bool:
    """Whether this build of torch has the quantised Linear of an x86."""
    return torch.backends.quantized.engine in ("x86", "fbgemm")


def nets(x: NDArray[Any], layers: Sequence[Layer], expected: NDArray[Any]) -> list[Contender]:
    """Everyone who runs the whole net on these weights, in the types that they are for."""
    storage = layers[0].storage
    if storage == "bf16":
        run = layer_wise(x, layers, bf16)
        return [Contender(f"{TORCH} (layer-wise bf16)", run, exact=False, expected=expected)]
    if storage == "int8":
        return [
            Contender(f"{TORCH} (layer-wise int8)", layer_wise(x, layers, int8), expected=expected),
            Contender(
                f"{TORCH} (layer-wise int8, compiled neurons)",
                layer_wise(x, layers, int8, compiled_neurons),
                expected=expected,
            ),
        ]
    return [
        Contender(f"{TORCH} (per step)", per_step(x, layers), expected=expected),
        Contender(f"{TORCH} (layer-wise)", layer_wise(x, layers), expected=expected),
        Contender(
            f"{TORCH} (layer-wise, compiled neurons)",
            layer_wise(x, layers, fp32, compiled_neurons),
            expected=expected,
        ),
        Contender(SNNTORCH, snntorch_net(x, layers), expected=expected),
        # Its decay is v − v/τ, rounded twice.
        Contender(SPIKINGJELLY, spikingjelly_net(x, layers), exact=False, expected=expected),
    ]


def products(x: NDArray[Any], layer: Layer, drive: NDArray[Any]) -> list[Contender]:
    """Everyone's product of one layer over all ticks, without neurons; the currents must be the exact ones."""
    if layer.storage == "bf16":
        run = product_alone(x, layer, bf16)
        return [Contender(f"{TORCH} (bf16 product)", run, exact=False)]
    if layer.storage == "int8":
        found = [Contender(f"{TORCH} (int8 product)", product_alone(x, layer, int8), expected=drive)]
        if has_quantised():
            run = product_alone(x, layer, quantised)
            found.append(Contender(f"{TORCH} (quantised Linear product)", run, expected=drive))
        return found
    return [
        Contender(f"{TORCH} (fp32 product)", product_alone(x, layer, fp32), expected=drive),
        Contender(f"{TORCH} (sparse CSR product)", sparse_product(x, layer), expected=drive),
        Contender(f"{SCIPY} (CSR product)", scipy_product(x, layer), expected=drive),
    ]
