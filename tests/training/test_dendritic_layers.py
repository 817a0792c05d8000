"""Recipes with dendritic layers: the kinds, their options, and what is said of a wrong one."""

from __future__ import annotations

import pytest
import torch

from neuroaccel.errors import RecipeError
from neuroaccel.synapses import DendriticConv1d, DendriticConv2d, DendriticLinear
from neuroaccel.training.build import build
from neuroaccel.training.recipe import load_recipe


def test_a_recipe_builds_dendritic_layers() -> None:
    recipe = load_recipe("saccade-digits")
    kinds = {"conv2d": "dendritic_conv2d", "linear": "dendritic_linear"}
    layers = [{**layer, "kind": kinds.get(layer["kind"], layer["kind"])} for layer in recipe.layers]
    layers[0]["v_scale"] = 0.0
    net = build(recipe.model_copy(update={"layers": layers}), (2, 34, 34))
    first, last = net["dendritic_conv2d_1"], net["dendritic_linear_1"]
    assert isinstance(first, DendriticConv2d)
    assert isinstance(last, DendriticLinear)
    assert first.bias is None
    assert not first.gate.any()
    assert last.gate.any()
    assert net(torch.zeros(2, 1, 2, 34, 34))[0].shape == (2, 1, 10)


def test_a_line_and_a_wrong_option() -> None:
    recipe = load_recipe("saccade-digits")
    line = {"kind": "dendritic_conv1d", "channels": 4, "kernel": 3}
    net = build(recipe.model_copy(update={"layers": [line]}), (2, 9))
    assert isinstance(net["dendritic_conv1d_1"], DendriticConv1d)
    with pytest.raises(RecipeError, match=r"layers\[0\] \(dendritic_conv1d\).*v_scale must be 0 or more"):
        build(recipe.model_copy(update={"layers": [{**line, "v_scale": -1.0}]}), (2, 9))
