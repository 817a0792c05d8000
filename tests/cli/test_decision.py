"""`neuroaccel decision`: a model trained on trajectories, and episodes played with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroaccel.envs.offline import save_trajectories
from tests.cli.calling import Done, assert_refused, call, files_in
from tests.decision.sets import cartpole

TRAIN = ("decision", "train", "--env", "CartPole-v1", "--data", "cartpole-tiny", "--steps", "8")
SETTINGS = ("width=8", "heads=1", "context=2", "layers=1", "validate_every=4", "validation_episodes=2")
SMALL = tuple(word for setting in SETTINGS for word in ("--set", setting))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A folder with data, and runs with the finished run `tiny`; and what training it said."""
    folder = tmp_path_factory.mktemp("decisions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder / "data"))
        save_trajectories(cartpole(episodes=4, longest=40), "cartpole-tiny")
        runs = ("--name", "tiny", "--runs", str(folder / "runs"))
        done = call(*TRAIN, "--model", "dt", "--set", "target=30", *runs, *SMALL, "--json")
    assert done.code == 0, done.err
    return folder, done


@pytest.fixture
def runs(trained: tuple[Path, Done], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(trained[0] / "data"))
    return trained[0] / "runs"


def test_training_says_what_it_did(trained: tuple[Path, Done]) -> None:
    found = trained[1].json
    assert (found["run"], found["env_id"], found["data"]) == ("tiny", "CartPole-v1", "cartpole-tiny")
    assert (found["steps"], found["target"], found["expert_return"]) == (8, 30, 500)
    assert found["validation_return"] > 0
    files = {path.name for path in (trained[0] / "runs" / "tiny").iterdir()}
    assert files == {
        *("decision.json", "decision.safetensors", "metrics.jsonl", "state.safetensors", "summary.json"),
    }


def test_evaluating_asks_for_each_target_in_the_same_episodes(runs: Path) -> None:
    options = ("--targets", "20,40", "--episodes", "3", "--seeds", "0,1", "--runs", runs)
    done = call("decision", "evaluate", "tiny", *options, "--json")
    found = done.json
    assert (found["run"], found["env"], found["model"], found["executor"]) == ("tiny", "CartPole-v1", "dt", "module")
    assert [row["target"] for row in found["rows"]] == [20, 40]
    for row in found["rows"]:
        assert len(row["returns"]) == 6
        assert row["return"] == pytest.approx(sum(row["returns"]) / 6)
        assert row["normalised_return"] == pytest.approx((row["return"] - 20) / 480)
    assert 0 < found["macs_per_decision"] < found["macs_per_decision_recomputed"]
    again = call("decision", "evaluate", *options, "--json").json  # the newest run is it
    assert again == found


def test_evaluating_as_text_with_a_picture(runs: Path) -> None:
    options = ("--targets", "20,40", "--episodes", "2", "--runs", runs, "--executor", "int8", "--plot")
    done = call("decision", "evaluate", "tiny", *options)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].split() == ["asked", "return", "sd", "normalised", "steps"]
    picture = runs / "tiny" / "plots" / "targets.png"
    assert str(picture) in done.out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--env", "CartPole-v1", "--data", "none-such"), ["none-such", "trajectories make"]),
        ((*TRAIN[1:], "--set", "depth=3"), ["depth", "no such setting"]),
        ((*TRAIN[1:], "--set", "heads=7"), ["width 64", "7 heads"]),
        ((*TRAIN[1:], "--set", "learning_rate=-1"), ["learning_rate"]),
        (("train", "--env", "Acrobot-v1", "--data", "cartpole-tiny"), ["CartPole-v1", "Acrobot-v1"]),
        (("evaluate", "nobody"), ["nobody", "tiny"]),
        (("evaluate", "tiny", "--targets", "many"), ["--targets", "many"]),
        (("evaluate", "tiny", "--executor", "engine"), ["engine", "dt"]),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    runs: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    before = files_in(runs)
    assert_refused(call("decision", *arguments, "--runs", runs), *words)
    assert files_in(runs) == before


def test_a_finished_run_is_not_trained_again_unasked(runs: Path) -> None:
    done = call(*TRAIN, "--model", "dt", "--set", "target=30", "--name", "tiny", "--runs", runs, *SMALL)
    assert_refused(done, "finished", "--overwrite")


@pytest.mark.parametrize(
    "command", ["decision", "decision train", "decision evaluate", "decision render", "decision energy"]
)
def test_every_command_explains_itself_with_examples(command: str) -> None:
    done = call(*command.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: neuroaccel {command}" in done.out
    assert "$ neuroaccel decision" in done.out
