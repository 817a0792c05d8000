"""Names of data sets: what each is, and that loading goes to the right place."""

import inspect

import numpy as np
import pytest

from neuroaccel.datasets import load, names, registry, tonic_sets
from neuroaccel.datasets.registry import About, describe
from neuroaccel.errors import RecipeError

BUILT_IN = [name for name in names() if name not in tonic_sets.NAMES]


def test_names_are_of_both_kinds_and_each_once():
    sets = "delayed-match harmonic-cochlea moving-gestures moving-gestures-32 saccade-digits saccade-mnist"
    assert sets.split() == BUILT_IN
    assert set(names()) > set(tonic_sets.NAMES)
    assert len(set(names())) == len(names())


@pytest.mark.parametrize("name", names())
def test_every_set_says_what_it_is(name):
    about = describe(name)
    assert isinstance(about, About)
    assert about.title
    assert about.source
    assert about.licence
    assert set(about.splits) <= {"train", "validation", "test"}
    assert {"train", "test"} <= set(about.splits)
    assert about.generated == (name in BUILT_IN)
    width, height, polarities = about.sensor_size
    assert polarities in (1, 2)
    assert min(width, height) >= 1
    assert len(set(about.classes)) == len(about.classes)
    assert len(about.classes) > 1 or not about.generated


def test_what_a_set_says_is_what_it_holds(shared_cache):
    about, recordings = describe("saccade-digits"), load("saccade-digits", "validation")
    assert recordings.sensor_size == about.sensor_size
    assert recordings.classes == about.classes
    assert np.unique(recordings.labels).tolist() == list(range(len(about.classes)))
    sizes = [len(load("saccade-digits", split)) for split in about.splits]
    assert sum(sizes) == len(load("saccade-digits", None)) == 1797


def test_unknown_names_list_the_known_ones():
    for call in (load, describe):
        with pytest.raises(RecipeError, match=r"unknown data set 'mnist'; there are: .*saccade-digits, .*shd"):
            call("mnist")
    with pytest.raises(RecipeError, match="unknown split 'dev'"):
        load("saccade-digits", split="dev")


def test_a_generated_set_takes_no_folder(tmp_path):
    with pytest.raises(RecipeError, match="saccade-digits is generated here"):
        load("saccade-digits", folder=tmp_path)


def test_a_downloaded_set_gets_the_folder(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(tonic_sets, "load", lambda *given, **named: asked.append((given, named)))
    load("shd", "test", seed=3, folder=str(tmp_path))
    load("shd", "validation")
    assert asked == [
        (("shd", "test"), {"folder": tmp_path, "progress": None}),
        (("shd", "validation"), {"folder": None, "progress": None}),
    ]


def test_generation_is_seeded_and_told(monkeypatch):
    from neuroaccel.datasets import saccade

    asked = []
    monkeypatch.setattr(saccade, "load", lambda *given, **named: asked.append((given, named)))
    load("saccade-digits", "test", 5, print)
    assert asked == [(("test",), {"seed": 5, "progress": print})]


def test_every_built_in_module_is_there():
    assert set(registry._BUILT_IN) == set(BUILT_IN)
    for module, _, more in registry._BUILT_IN.values():
        taken = inspect.signature(registry._module(module).load).parameters
        assert {"split", "seed", "progress", *more} <= set(taken)


def test_a_generated_set_is_what_it_says_in_every_split(shared_cache):
    about = describe("delayed-match")
    for split in about.splits:
        recordings = load("delayed-match", split)
        assert recordings.sensor_size == about.sensor_size
        assert recordings.classes == about.classes
        assert 0 <= recordings.labels.min() <= recordings.labels.max() < len(about.classes)
