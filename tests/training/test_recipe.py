"""Recipes: the schema, overrides, readable errors, TOML both ways; the network that a recipe builds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from neuroaccel.datasets import describe
from neuroaccel.datasets.frames import KINDS, CountBins
from neuroaccel.errors import RecipeError
from neuroaccel.neurons import Neuron
from neuroaccel.synapses import Recurrent
from neuroaccel.training.build import build
from neuroaccel.training.evaluate import data_module
from neuroaccel.training.recipe import (
    FIELDS_OF_FRAMES,
    SHARED,
    load_recipe,
    parse_recipe,
    recipe_names,
    recipe_text,
    to_toml,
)

SMALL = """
name = "small"
[[layers]]
kind = "linear"
features = 6
[[layers]]
kind = "recurrent"
beta = 0.8
[[layers]]
kind = "linear"
features = 2
[[layers]]
kind = "li"
[[layers]]
kind = "readout"
how = "mean_membrane"
"""


@pytest.mark.parametrize("name", recipe_names())
def test_built_in_recipes_load_build_and_write_back(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(to_toml(recipe), "copy") == recipe
    about = describe(recipe.data.name)
    width, height, polarities = about.sensor_size
    y, _ = build(recipe, (polarities, height, width)).eval()(torch.zeros(2, 1, polarities, height, width))
    classes = len(about.classes) or {"shd": 20}[recipe.data.name]  # whose names are in its files
    assert y.shape == (2, 1, classes)
    assert recipe_text(name).startswith("#")


def test_the_main_recipe_holds_neurons_every_executor_has_and_the_second_does_not() -> None:
    main = [m for m in build(load_recipe("saccade-digits"), (2, 34, 34)).modules() if isinstance(m, Neuron)]
    assert all(m.spec.program.fire.op == "gt" and not list(m.parameters()) for m in main)
    assert all(str(m.spec.program.on_fire[0]) == "v = copy(0.0)" for m in main)
    other = [m for m in build(load_recipe("saccade-digits-subtract"), (2, 34, 34)).modules() if isinstance(m, Neuron)]
    assert all(m.spec.program.fire.op == "ge" for m in other)
    assert all({n for n, _ in m.named_parameters()} == {"beta", "threshold"} for m in other)
    assert other[0].beta.shape == (8, 34, 34)
    assert all(str(m.spec.program.on_fire[0]) == "v = sub(v, threshold)" for m in other)


def test_overrides_reach_tables_and_layers() -> None:
    recipe = load_recipe(
        "saccade-digits", ["train.epochs=3", "layers.2.beta=0.5", "title=short", "lower.weight_bits=8"]
    )
    assert recipe.train.epochs == 3
    assert recipe.layers[2]["beta"] == 0.5
    assert recipe.title == "short"
    assert recipe.lower.weight_bits == 8


def test_recurrent_layers_and_membrane_readouts_build() -> None:
    net = build(parse_recipe(SMALL, "small"), (5,)).eval()
    assert any(isinstance(m, Recurrent) for m in net.modules())
    assert net(torch.ones(3, 2, 5))[0].shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("text", "override", "message"),
    [
        (SMALL, "train.epochs=0", r"train\.epochs.*found 0"),
        (SMALL, "train.epoch=3", r"train\.epoch.*[Ee]xtra"),
        (SMALL, "noequals", "key=value"),
        (SMALL, "layers.99.beta=1", "no such place"),
        (SMALL, "data.binning=often", r"data\.binning"),
        ("name = ", "", "not TOML"),
        ("title = 'x'", "", "name"),
    ],
)
def test_wrong_recipes_say_where(text: str, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(text, "here", [override] if override else [])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"kind": "liff"}, r"layers\[0\].*'liff'.*linear"),
        ({"kind": "li", "name": "output"}, r"layers\[0\].*'output' already"),
        ({"kind": "linear"}, r"layers\[0\] \(linear\).*features"),
        ({"kind": "conv2d", "channels": 3, "kernel": 9}, r"layers\[0\] \(conv2d\).*\(5,\)"),
        ({"kind": "lif", "gamma": 1}, r"layers\[0\] \(lif\).*gamma"),
    ],
)
def test_wrong_layers_are_counted_and_named(layer: dict[str, object], message: str) -> None:
    recipe = parse_recipe(SMALL, "small").model_copy(update={"layers": [layer]})
    with pytest.raises(RecipeError, match=message):
        build(recipe, (5,))


def test_unknown_names_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="saccade-digits"):
        load_recipe("saccade-digit")
    with pytest.raises(RecipeError, match="cannot read"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot read"):
        load_recipe(tmp_path / "bytes.toml")


@pytest.mark.parametrize("change", ["seed=-1", "data.seed=4294967296", "train.learning_rate=inf", "data.dt=nan"])
def test_numbers_that_a_training_would_stumble_over(change: str) -> None:
    with pytest.raises(RecipeError, match=change.partition("=")[0]):
        load_recipe("saccade-digits", [change])


def test_neurons_out_of_their_bounds_are_refused_when_the_network_is_built() -> None:
    with pytest.raises(RecipeError, match=r"layers\[2\].*beta spans \[2, 2\]"):
        build(load_recipe("saccade-digits", ["layers.2.beta=2"]), (2, 34, 34))


def test_any_title_survives_toml() -> None:
    title = 'a\tb\r\n"c" \\d \x01\x7f ünï 🧠'
    recipe = load_recipe("saccade-digits").model_copy(update={"title": title})
    assert parse_recipe(to_toml(recipe), "again").title == title


FRAMED = (
    SMALL
    + """
[data]
batch_size = 4
frames = { kind = "time", ticks = 12, dt = 0.03 }
augment = [{ kind = "flip_x", p = 0.5 }, { kind = "crop", size = [30, 30] }]
"""
)


def test_frames_and_augmentation_of_a_recipe() -> None:
    recipe = parse_recipe(FRAMED, "framed")
    assert (recipe.data.ticks, recipe.data.dt) == (12, 0.03)  # said once, in the table
    assert recipe.data.frames_table() == {"kind": "time", "ticks": 12, "dt": 0.03, "binning": "binary"}
    assert [table["kind"] for table in recipe.data.augment] == ["flip_x", "crop"]
    assert parse_recipe(to_toml(recipe), "copy") == recipe
    data = data_module(recipe)
    assert data.ticks == 12
    assert data.dataset("test").sample_shape == (2, 30, 30)
    assert next(iter(data.train_dataloader()))[0].shape == (12, 4, 2, 30, 30)
    changed = parse_recipe(FRAMED, "framed", ["data.frames.ticks=9"])
    assert changed.data.ticks == 9


def test_ticks_may_stand_beside_the_frames() -> None:
    recipe = parse_recipe(SMALL + '[data]\nticks = 7\ndt = 0.05\nframes = { kind = "count", events = 100 }\n', "x")
    assert recipe.data.frames_table() == {"kind": "count", "ticks": 7, "binning": "binary", "events": 100}
    assert data_module(recipe).frames == CountBins(7, 100)
    plain = parse_recipe(SMALL, "small").data
    assert plain.frames_table() is None
    assert "augment" not in to_toml(parse_recipe(SMALL, "small"))


@pytest.mark.parametrize("key", SHARED)
def test_what_is_said_twice_must_agree(key: str) -> None:
    values = {"ticks": ("4", "5"), "dt": ("0.01", "0.02"), "binning": ('"binary"', '"first"')}[key]
    text = f'{SMALL}[data]\n{key} = {values[0]}\nframes = {{ kind = "time", {key} = {values[1]} }}\n'
    with pytest.raises(RecipeError, match=f"{key} is .*, in frames"):
        parse_recipe(text, "x")


def test_the_fields_that_frames_share_with_data_are_theirs() -> None:
    for kind, frames in KINDS.items():
        fields = {field.name for field in dataclasses.fields(frames)}
        assert set(FIELDS_OF_FRAMES[kind]) == fields & set(SHARED)
    assert set(FIELDS_OF_FRAMES) == set(KINDS)


@pytest.mark.parametrize("data", ['frames = { kind = "cube" }', 'augment = [{ kind = "melt" }]', "frames = 3"])
def test_unknown_frames_and_augmentations_are_refused(data: str) -> None:
    with pytest.raises(RecipeError):
        data_module(parse_recipe(f"{SMALL}[data]\n{data}\n", "x"))


def test_a_list_of_delays_holds_one_per_channel() -> None:
    table = {"kind": "delay", "ticks": [1, 3]}
    recipe = parse_recipe(SMALL, "small").model_copy(update={"layers": [table]})
    x = torch.zeros(5, 1, 2, 4, 4)
    x[0] = 1
    y, _ = build(recipe, (2, 4, 4))(x)
    assert torch.equal(y[1, 0, 0], torch.ones(4, 4))
    assert torch.equal(y[3, 0, 1], torch.ones(4, 4))
    assert y.sum() == 32
