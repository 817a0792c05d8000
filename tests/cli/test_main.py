"""Help, usage errors, exit codes and the last line of defence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from neuroaccel import __version__
from neuroaccel.errors import ExecutorFailure
from tests.cli.calling import assert_refused, call

COMMANDS = [
    *("train", "evaluate", "energy", "verify", "export", "inspect", "run", "plot", "doctor", "version"),
    *("recipes", "recipes list", "recipes show", "recipes copy", "lava", "lava setup", "lava run"),
    *("decision", "decision train", "decision evaluate", "decision render", "decision energy"),
    *("trajectories", "trajectories make", "trajectories list", "trajectories show", "trajectories experts"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str) -> None:
    done = call(*command.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: neuroaccel {command}" in done.out
    assert f"$ neuroaccel {command.split()[0]}" in done.out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]], ids=["nothing", "--help", "-h"])
def test_without_arguments_it_shows_help_and_every_command(arguments: list[str]) -> None:
    done = call(*arguments)
    assert (done.code, done.err) == (0, "")
    assert "Usage: neuroaccel" in done.out
    assert all(f" {command.split()[0]} " in done.out for command in COMMANDS)
    assert "--install-completion" in done.out


@pytest.mark.parametrize("group", ["recipes", "lava"])
def test_a_group_without_arguments_shows_its_help(group: str) -> None:
    done = call(group)
    assert done.code == 0
    assert f"Usage: neuroaccel {group}" in done.out


def test_version() -> None:
    assert call("version").out.strip() == __version__
    assert call("version", "--json").json == {"version": __version__}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian", "saccade-digits"], ["trian", "train", "neuroaccel --help"]),
        (["version", "--nonsense"], ["--nonsense", "neuroaccel version --help"]),
        (["energy", "--samples", "0"], ["--samples"]),
        (["energy", "--samples", "many"], ["--samples"]),
        (["evaluate", "--split", "secret"], ["--split", "secret"]),
        (["export"], ["--to"]),
        (["inspect"], ["FILE|RUN"]),
        (["run", "model.safetensors"], ["RECORDING"]),
        (["recipes", "burn"], ["burn", "neuroaccel recipes --help"]),
        (["verify", "a", "b"], ["b"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_usage_error_is_one_line_and_exits_2(arguments: list[str], words: list[str]) -> None:
    assert_refused(call(*arguments), *words)


def test_a_bug_is_one_line_and_debug_shows_its_traceback(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: object) -> str:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("neuroaccel.graph.show.show", broken)
    assert_refused(call("inspect", model), "RuntimeError: first line second line", "--debug", code=1)
    for arguments in (["--debug", "inspect", str(model)], ["inspect", str(model), "--debug"]):
        done = call(*arguments)
        assert done.code == 1
        assert "Traceback (most recent call last)" in done.err
        assert "in broken" in done.err


def test_an_error_of_our_own_exits_with_its_code(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(graph: object) -> str:
        raise ExecutorFailure("it hangs")

    monkeypatch.setattr("neuroaccel.graph.show.show", failing)
    done = call("inspect", model)
    assert (done.code, done.err) == (1, "neuroaccel: it hangs\n")


def test_an_interrupt_exits_130(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(graph: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("neuroaccel.graph.show.show", interrupted)
    assert_refused(call("inspect", model), "interrupted", code=130)


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["doctor", "--help"]], ids=" ".join)
def test_what_needs_no_torch_does_not_load_it(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom neuroaccel.cli.main import run\n"
        f"code = run({arguments})\n"
        "heavy = [m for m in ('torch', 'lightning', 'numba', 'matplotlib', 'sklearn') if m in sys.modules]\n"
        "print(code, heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "0 []"
    assert list(tmp_path.iterdir()) == []


def test_the_installed_program_passes_its_exit_code_on(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from neuroaccel.cli.main import main; main()"]
    good = subprocess.run([*program, "version"], cwd=tmp_path, capture_output=True, text=True, check=False)
    bad = subprocess.run(
        [*program, "inspect", "no.safetensors"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (good.returncode, good.stdout) == (0, f"{__version__}\n")
    assert (bad.returncode, bad.stdout, len(bad.stderr.splitlines())) == (2, "", 1)
