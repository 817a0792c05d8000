"""The explicit package list, the folders on disk and the built wheel say the same."""

from __future__ import annotations

import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

from neuroaccel.training.protocol import protocol_names
from neuroaccel.training.recipe import recipe_names

ROOT = Path(__file__).resolve().parents[2]
TOP_LEVEL = {
    *("pyproject.toml", "README.md", "neuroaccel", "envs", "datasets", "hardware", "tests", "scripts", "docs"),
    *("constraints.txt", "LICENSE", "NOTICE", "CHANGELOG.md", "CONTRIBUTING.md"),
}
NOT_KEPT = {"runs", "build", "dist", "neuroaccel.egg-info", "lightning_logs"}


def test_packages_are_the_folders_on_disk(source_files: dict[str, Path]) -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    on_disk = {
        name.removesuffix("/__init__.py").replace("/", ".") for name in source_files if name.endswith("/__init__.py")
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == on_disk


def test_wheel_holds_every_module_and_data_file_and_nothing_else(wheel: Path, source_files: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
        package = {name for name in held if name.startswith("neuroaccel/")}
        assert package == set(source_files)
        assert "neuroaccel/py.typed" in package
        assert all(archive.read(name) == path.read_bytes() for name, path in source_files.items())
    # No top-level `datasets`, `envs` or `hardware` in anybody's site-packages.
    assert {name.split("/")[0].partition("-")[0] for name in held} == {"neuroaccel"}


def test_wheel_holds_the_recipes_and_protocols(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    recipes = {f"neuroaccel/training/recipes/{name}.toml" for name in recipe_names()}
    assert recipes | {f"neuroaccel/training/protocols/{name}.toml" for name in protocol_names()} <= held
    for name in ("cifar10-dvs-nspdi", "dvs128-gesture-nspdi", "shd-nspdi", "saccade-digits"):
        assert f"neuroaccel/training/recipes/{name}.toml" in recipes


def test_wheel_carries_licence_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = {
            name.partition(".dist-info/")[2]: archive.read(name).decode()
            for name in archive.namelist()
            if ".dist-info/" in name
        }
    metadata = Parser().parsestr(text["METADATA"])
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("Apache-2.0", ">=3.11")
    assert text["licenses/LICENSE"] == (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text["licenses/LICENSE"]
    assert "neuroaccel = neuroaccel.cli.main:main" in text["entry_points.txt"]


def test_top_level_layout() -> None:
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - NOT_KEPT
    assert found <= TOP_LEVEL, f"not in the layout: {sorted(found - TOP_LEVEL)}"
