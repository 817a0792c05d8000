"""Build a network from a recipe's list of layers, shapes carried along."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from neuroaccel import neurons, synapses
from neuroaccel.errors import NeuroaccelError, RecipeError
from neuroaccel.network import Network
from neuroaccel.training.recipe import Recipe

Shape = tuple[int, ...]
NEURONS = {"if": "IF", "lif": "LIF", "cubalif": "CubaLIF", "li": "LI", "alif": "ALIF", "graded_lif": "GradedLIF"}


def _neuron(constructor: str) -> Callable[[Shape, dict[str, Any], Recipe], nn.Module]:
    def make(shape: Shape, options: dict[str, Any], recipe: Recipe) -> nn.Module:
        per_neuron = {"shape": shape} if options.get("learnable") else {}
        training = {} if constructor == "LI" else {"surrogate": recipe.surrogate.name, "slope": recipe.surrogate.slope}
        module: nn.Module = getattr(neurons, constructor)(**{**training, **per_neuron, **options})
        return module

    return make


def _conv2d(shape: Shape, o: dict[str, Any], recipe: Recipe) -> nn.Module:
    return synapses.Conv2d(shape[0], o.pop("channels"), o.pop("kernel"), **o)


def _conv1d(shape: Shape, o: dict[str, Any], recipe: Recipe) -> nn.Module:
    return synapses.Conv1d(shape[0], o.pop("channels"), o.pop("kernel"), **o)


def _linear(shape: Shape, o: dict[str, Any], recipe: Recipe) -> nn.Module:
    return synapses.Linear(shape[-1], o.pop("features"), **o)


def _dendritic_conv2d(shape: Shape, o: dict[str, Any], recipe: Recipe) -> nn.Module:
    return synapses.DendriticConv2d(shape[0], o.pop("channels"), o.pop("kernel"), **o)


def _dendritic_conv1d(shape: Shape, o: dict[str, Any], recipe: Recipe) -> nn.Module:
    return synapses.DendriticConv1d(shape[0], o.pop("channels"), o.pop("kernel"), **o)


def _dendritic_linear(shape: Shape, o: dict[str, Any], recipe: Recipe) -> nn.Module:
    return synapses.DendriticLinear(shape[-1], o.pop("features"), **o)


def _recurrent(shape: Shape, o: dict[str, Any], recipe: Recipe) -> nn.Module:
    layer = _neuron(NEURONS[o.pop("neuron", "lif")])(shape, o, recipe)
    assert isinstance(layer, neurons.Neuron)
    return synapses.Recurrent(layer, synapses.Linear(shape[-1], shape[-1], bias=False))


def _delay(shape: Shape, o: dict[str, Any], recipe: Recipe) -> nn.Module:
    ticks = torch.as_tensor(o.pop("ticks"))
    if ticks.dim() == 1:  # one per channel, which all of its pixels share
        ticks = ticks.reshape(-1, *[1] * (len(shape) - 1)).broadcast_to(shape).clone()
    return synapses.Delay(ticks, **o)


def _pool(module: type[nn.Module]) -> Callable[[Shape, dict[str, Any], Recipe], nn.Module]:
    def make(shape: Shape, o: dict[str, Any], recipe: Recipe) -> nn.Module:
        return module(o.pop("kernel"), **o)

    return make


BUILDERS: dict[str, Callable[[Shape, dict[str, Any], Recipe], nn.Module]] = {
    "linear": _linear,
    "conv1d": _conv1d,
    "conv2d": _conv2d,
    "dendritic_linear": _dendritic_linear,
    "dendritic_conv1d": _dendritic_conv1d,
    "dendritic_conv2d": _dendritic_conv2d,
    "recurrent": _recurrent,
    "sumpool2d": _pool(synapses.SumPool2d),
    "avgpool2d": _pool(synapses.AvgPool2d),
    "maxpool2d": _pool(synapses.MaxPool2d),
    "batchnorm1d": lambda shape, o, recipe: synapses.BatchNorm1d(shape[0], **o),
    "batchnorm2d": lambda shape, o, recipe: synapses.BatchNorm2d(shape[0], **o),
    "flatten": lambda shape, o, recipe: synapses.Flatten(**o),
    "dropout": lambda shape, o, recipe: synapses.Dropout(**o),
    "delay": _delay,
    "readout": lambda shape, o, recipe: synapses.Readout(**o),
    **{kind: _neuron(constructor) for kind, constructor in NEURONS.items()},
}


def build(recipe: Recipe, shape: Shape) -> Network:
    """The recipe's network for inputs of ``shape`` (without T and N), weights drawn from torch's generator.

    Layers are named by their kind and a number (``conv2d_1``, ``lif_2``) unless their table gives a ``name``.

    Raises:
        RecipeError: an unknown layer or option, or a layer that does not fit its input; the message counts layers
            from 0 and names them.
    """
    layers: dict[str, nn.Module] = {}
    seen: Counter[str] = Counter()
    x = torch.zeros(1, 1, *shape)
    for at, table in enumerate(recipe.layers):
        options = dict(table)
        kind = options.pop("kind", None)
        seen[str(kind)] += 1
        name = str(options.pop("name", f"{kind}_{seen[str(kind)]}"))
        if name in (*layers, "input", "output"):
            raise RecipeError(f"layers[{at}]: there is a layer '{name}' already")
        if kind not in BUILDERS:
            raise RecipeError(f"layers[{at}]: unknown kind {kind!r}; known: {', '.join(sorted(BUILDERS))}")
        try:
            layer = BUILDERS[kind](tuple(x.shape[2:]), options, recipe)
            layer.eval()
            with torch.no_grad():
                x = layer(x)[0]
        except (TypeError, RuntimeError, KeyError, IndexError, ValueError, NeuroaccelError) as error:
            raise RecipeError(f"layers[{at}] ({kind}) on an input of shape {tuple(x.shape[2:])}: {error}") from error
        layer.train()
        layers[name] = layer
    return Network(layers)
