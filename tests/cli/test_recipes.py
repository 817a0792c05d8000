"""neuroaccel recipes list | show | copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroaccel.training.recipe import load_recipe, recipe_names, recipe_text
from tests.cli.calling import assert_refused, call, files_in


def test_list_names_every_recipe_with_its_title() -> None:
    names = [entry["name"] for entry in call("recipes", "list", "--json").json["recipes"]]
    assert names == recipe_names()
    text = call("recipes", "list").out
    assert all(name in text and load_recipe(name).title in text for name in names)


def test_show_prints_the_file() -> None:
    assert call("recipes", "show", "saccade-digits").out.strip() == recipe_text("saccade-digits").strip()
    assert call("recipes", "show", "saccade-digits", "--json").json["toml"] == recipe_text("saccade-digits")


def test_copy_writes_a_recipe_that_trains_the_same(tmp_path: Path) -> None:
    target = tmp_path / "mine.toml"
    assert call("recipes", "copy", "saccade-digits", target).code == 0
    assert load_recipe(target) == load_recipe("saccade-digits")
    assert call("recipes", "copy", "saccade-digits", tmp_path, "--json").json["file"] == str(
        tmp_path / "saccade-digits.toml"
    )


def test_copy_replaces_nothing_unless_told(tmp_path: Path) -> None:
    target = tmp_path / "mine.toml"
    target.write_text("mine")
    assert_refused(call("recipes", "copy", "saccade-digits", target), "mine.toml", "--overwrite")
    assert target.read_text() == "mine"
    assert call("recipes", "copy", "saccade-digits", target, "--overwrite").code == 0
    assert target.read_text() == recipe_text("saccade-digits")


@pytest.mark.parametrize(
    "arguments", [["show", "nope"], ["copy", "nope", "x.toml"], ["show", "../recipe"]], ids=" ".join
)
def test_an_unknown_recipe_is_refused_with_the_known_ones(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(call("recipes", *arguments), "unknown recipe", "saccade-digits")
    assert files_in(tmp_path) == {}


def test_copy_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert_refused(call("recipes", "copy", "saccade-digits", tmp_path / "no" / "x.toml"), "no folder")
    assert files_in(tmp_path) == {}
