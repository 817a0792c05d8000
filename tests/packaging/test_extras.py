"""Extras: the table in pyproject.toml, the message where one is missing, and nothing GPL loaded unasked."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from neuroaccel.errors import MissingExtra
from neuroaccel.extras import require

ROOT = Path(__file__).resolve().parents[2]
EXTRAS: dict[str, list[str]] = {
    "datasets": ["aedat", "mlxtend", "tonic"],
    "recordings": ["dv-processing"],
    "gym": ["gymnasium[classic-control]", "minari[hdf5]", "stable-baselines3"],
    "box2d": ["gymnasium[box2d]", "neuroaccel[gym]"],
    "mujoco": ["gymnasium[mujoco]", "neuroaccel[gym]"],
    "snntorch": ["nirtorch", "snntorch"],
    "spikingjelly": ["spikingjelly"],
    "sanafe": ["sanafe"],
    "report": ["plotly"],
    "all": ["neuroaccel[datasets,gym,recordings,report,sanafe,snntorch]"],  # not spikingjelly
    "dev": ["build", "expelliarmus", "hypothesis", "mypy", "pytest", "pytest-xdist", "ruff", "setuptools", "wheel"],
}
ROOMS = [
    "program",
    "neurons",
    "synapses",
    "network",
    "graph",
    "engine",
    "ledger",
    "training",
    "verify",
    "cli.main",
    "datasets",
    "hardware",
]


def name_with_extras(line: str) -> str:
    """'minari[hdf5]>=0.5' as 'minari[hdf5]', extras sorted."""
    requirement = Requirement(line)
    return requirement.name + (f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else "")


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"])


def test_extras_are_the_documented_ones(project: dict[str, dict[str, list[str]]]) -> None:
    found = {extra: sorted(map(name_with_extras, lines)) for extra, lines in project["optional-dependencies"].items()}
    assert found == EXTRAS


def test_the_pins_satisfy_every_requirement_that_they_name(project: dict[str, object]) -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {pin.name.lower(): pin for pin in map(Requirement, (line for line in lines if not line.startswith("#")))}
    for line in (*project["dependencies"], *project["optional-dependencies"]["dev"]):  # type: ignore[index,misc]
        wanted = Requirement(line)
        pin = pins[wanted.name.lower()]
        version = next(iter(pin.specifier))
        assert version.operator == "=="
        assert wanted.specifier.contains(version.version), f"{pin} against {wanted}"


def test_a_missing_module_names_the_pip_command() -> None:
    with pytest.raises(
        MissingExtra, match=r"'not_installed_anywhere' is.*pip install \"neuroaccel\[recordings\]\""
    ) as caught:
        require("not_installed_anywhere.readers", "recordings")
    assert isinstance(caught.value, ImportError)


def test_a_missing_dependency_of_the_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed_module.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingExtra, match=r"'not_installed_anywhere', which 'half_installed_module' needs.*neuroaccel\[gym\]"
    ):
        require("half_installed_module", "gym")


def test_an_installed_module_is_returned_and_its_own_faults_are_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text("from json import no_such_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert require("json.decoder", "gym") is sys.modules["json.decoder"]
    with pytest.raises(ModuleNotFoundError, match=r"json\.no_such_module") as caught:
        require("json.no_such_module", "gym")
    assert not isinstance(caught.value, MissingExtra)
    with pytest.raises(ImportError, match="no_such_name") as fault:
        require("broken_module", "gym")
    assert not isinstance(fault.value, MissingExtra)


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_imports_an_extra_by_itself(room: str) -> None:
    """tonic and sanafe are GPL-3: they run only where the user asked for them; the peers are for tests."""
    optional = ("tonic", "sanafe", "mlxtend", "snntorch", "spikingjelly", "gymnasium", "plotly")
    code = f"import sys, neuroaccel, neuroaccel.{room}; print([name for name in {optional} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
