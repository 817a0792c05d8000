"""Profiles are read with every source, and refused by file and constant."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from neuroaccel.errors import FileFormatError, InputError
from neuroaccel.ledger import load_profile, profiles
from neuroaccel.ledger.profile import parse_profile

HEAD = 'name = "mine"\ntitle = "My chip"\nmodel = "chip"\nnode = "28 nm"\n'
GOOD = {
    "value": "1.5",
    "unit": '"pJ"',
    "basis": '"measured"',
    "node": '"28 nm"',
    "voltage": "0.8",
    "source": '"my bench"',
}


def text(**changes: str | None) -> str:
    entries = {**GOOD, **changes}
    body = "\n".join(f"{k} = {v}" for k, v in entries.items() if v is not None)
    return f"{HEAD}[constants.synaptic_event]\n{body}\n"


def test_the_packaged_profiles() -> None:
    assert profiles() == ("cmos45", "loihi1-davies2018")
    for name in profiles():
        profile = load_profile(name)
        assert profile.name == name
        assert all(c.source and c.node == profile.node for c in profile.constants.values())


@pytest.mark.parametrize(
    ("profile", "constant", "value"),
    [
        ("cmos45", "fp32_add", (0.9, 0.9)),
        ("cmos45", "fp32_mul", (3.7, 3.7)),
        ("cmos45", "int8_mul", (0.2, 0.2)),
        ("cmos45", "int32_add", (0.1, 0.1)),
        ("cmos45", "dram", (1300.0, 2600.0)),
        ("loihi1-davies2018", "synaptic_event", (23.6, 23.6)),
        ("loihi1-davies2018", "neuron_update_active", (81.0, 81.0)),
        ("loihi1-davies2018", "neuron_update_inactive", (52.0, 52.0)),
        ("loihi1-davies2018", "spike_within_tile", (1.7, 1.7)),
    ],
)
def test_published_figures(profile: str, constant: str, value: tuple[float, float]) -> None:
    found = load_profile(profile).constant(constant)
    assert found is not None
    assert found.value == value


def test_what_nobody_published_is_not_a_constant() -> None:
    profile = load_profile("loihi1-davies2018")
    assert profile.constants["barrier"].to_json()["value"] == "not published"
    assert profile.constant("barrier") is None
    assert profile.constant("no such thing") is None


@pytest.mark.parametrize(
    ("footprint", "level"),
    [
        (1, "sram_8kb"),
        (8192, "sram_8kb"),
        (8193, "sram_32kb"),
        (32769, "sram_1mb"),
        (1048576, "sram_1mb"),
        (1048577, "dram"),
    ],
)
def test_the_smallest_memory_that_holds_a_layer(footprint: int, level: str) -> None:
    found = load_profile("cmos45").level(footprint)
    assert found is not None
    assert (found.name, found.access_bits) == (level, 64)
    assert load_profile("loihi1-davies2018").level(footprint) is None


def test_a_users_own_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text(value="[1.0, 2.0]", note='"two boards"'))
    found = load_profile(file).constant("synaptic_event")
    assert found is not None
    assert (found.value, found.note) == ((1.0, 2.0), "two boards")


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_missing_entry_names_file_and_constant(key: str) -> None:
    with pytest.raises(FileFormatError, match=f"mine.toml: constant 'synaptic_event' has no {key}"):
        parse_profile(text(**{key: None}), "mine.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": '""'}, "has no source"),
        ({"source": "5"}, "source is 5, expected text"),
        ({"basis": '"guessed"'}, "basis is measured, simulated, fitted, not 'guessed'"),
        ({"value": "-1"}, "value is -1"),
        ({"value": "[2.0, 1.0]"}, "value is"),
        ({"value": "[1.0]"}, "value is"),
        ({"value": "nan"}, "value is nan"),
        ({"value": "true"}, "value is True"),
        ({"value": '"unknown"'}, "expected a number"),
        ({"unit": '"J"'}, "unit 'J', expected pJ"),
        ({"voltage": "0"}, "voltage is 0"),
        ({"node": '"14 nm"'}, "process nodes are not mixed"),
        ({"bound": '"maximum"'}, "bound is 'minimum' or left out"),
        ({"capacity_bytes": "64"}, "access_bits"),
        ({"colour": '"red"'}, r"unknown entries \['colour'\]"),
    ],
)
def test_bad_constants(change: dict[str, str], message: str) -> None:
    with pytest.raises(FileFormatError, match=f"mine.toml: constant 'synaptic_event'.*{message}"):
        parse_profile(text(**change), "mine.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name = ", "not valid TOML"),
        ('name = "mine"', "'title' is missing"),
        (HEAD, "it has no constants"),
        (HEAD.replace('"chip"', '"brain"'), "model is processor or chip, not 'brain'"),
        (HEAD + "constants = {x = 3}", "constant 'x' is 3, expected a table"),
    ],
)
def test_bad_files(content: str, message: str) -> None:
    with pytest.raises(FileFormatError, match=f"mine.toml: .*{message}"):
        parse_profile(content, "mine.toml")


def test_unknown_profiles_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no energy profile 'loihi2'; known: cmos45, loihi1-davies2018"):
        load_profile("loihi2")
    file = tmp_path / "picture.toml"
    file.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(FileFormatError, match=r"picture\.toml: not a text file"):
        load_profile(file)


def test_every_packaged_constant_stands_in_a_readable_file() -> None:
    folder = files("neuroaccel.hardware") / "profiles"
    for name in profiles():
        source = (folder / f"{name}.toml").read_text("utf-8")
        assert source.count("[constants.") == len(load_profile(name).constants)
