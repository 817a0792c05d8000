"""`neuroaccel decision` and `neuroaccel trajectories` on data and models that do not fit: one line, exit code 2."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import spaces

from neuroaccel.decision import variants
from neuroaccel.envs.offline import save_trajectories
from tests.cli.calling import assert_refused, call, files_in
from tests.conftest import LONG
from tests.decision.runs import run_of, untrained
from tests.decision.sets import cartpole
from tests.envs.offline.test_storage import foreign

FOUR, TWO = spaces.Box(-1.0, 1.0, (4,), np.float32), spaces.Discrete(2)
SETTINGS = ("width=8", "heads=1", "context=2", "layers=1", "validate_every=1", "validation_episodes=1")
SMALL = ("--steps", "1", *(word for setting in SETTINGS for word in ("--set", setting)))
SPACES: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "dicts": (spaces.Dict({"goal": FOUR, "seen": FOUR}), TWO),
    "pictures": (spaces.Box(0, 255, (4, 4, 3), np.uint8), TWO),
    "several": (FOUR, spaces.MultiDiscrete([2, 2])),
    "endless": (FOUR, spaces.Box(-np.inf, np.inf, (1,), np.float32)),
    "narrow": (spaces.Box(-1.0, 1.0, (3,), np.float32), TWO),
    "real": (FOUR, spaces.Box(-1.0, 1.0, (1,), np.float32)),
    "three": (FOUR, spaces.Discrete(3)),
}
BROKEN = ("nan", "rewards", "empty", "mixed")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Minari's folder with data sets that do not fit CartPole, that are broken, and one that is good."""
    folder = tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        for name, pair in SPACES.items():
            foreign(f"{name}-v0", *pair)
        for name in BROKEN:
            foreign(f"{name}-v0", FOUR, TWO)
        save_trajectories(cartpole(episodes=2, longest=40), "good")
    files = {name: folder / f"{name}-v0" / "data" for name in BROKEN}
    with h5py.File(files["nan"] / "main_data.hdf5", "r+") as file:
        file["episode_1/observations"][3, 1] = np.nan
    with h5py.File(files["rewards"] / "main_data.hdf5", "r+") as file:
        del file["episode_1/rewards"]
    with h5py.File(files["mixed"] / "main_data.hdf5", "r+") as file:
        del file["episode_1/observations"]
        file["episode_1/observations"] = np.zeros((6, 2), np.float32)
    about = files["empty"] / "metadata.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "total_episodes": 0}))
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dicts", ("'dicts-v0'", "Dict of 'goal', 'seen'", "Box of one axis")),
        ("pictures", ("'pictures-v0'", "(4, 4, 3)")),
        ("several", ("'several-v0'", "MultiDiscrete")),
        ("endless", ("bounded Box",)),
        ("narrow", ("the model reads 3 numbers", "another environment")),
        ("real", ("Discrete(2)", "real ones of 1 numbers")),
        ("three", ("Discrete(2)", "0 to 2")),
        ("nan", ("'nan-v0', episode 1", "observations hold nan at 3")),
        ("rewards", ("'rewards-v0', episode 1", "rewards")),
        ("empty", ("'empty-v0' is empty",)),
        ("mixed", ("'mixed-v0'", "episode 1", "one environment")),
    ],
)
def test_data_that_no_model_can_learn_from_leave_no_run(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(sets))
    runs = tmp_path / "runs"
    assert_refused(call("decision", "train", "--env", "CartPole-v1", "--data", name, *SMALL, "--runs", runs), *words)
    assert not runs.exists()


@pytest.mark.parametrize("name", ["dicts", "rewards", "nan", "empty", "mixed"])
def test_a_set_that_cannot_be_read_cannot_be_shown(sets: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(sets))
    assert_refused(call("trajectories", "show", name), f"'{name}-v0'")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("max_steps=10", ("episode 0: 40 steps", "has 10 (max_steps)")),
        ("target=nan", ("target", "finite")),
        ("actions=5", ("takes actions in Discrete(2)", "0 to 4")),
        ("state_size=7", ("observations of 4 numbers", "7")),
        ("micro_steps=128", ("2^24", "fewer micro-steps")),
    ],
)
def test_settings_that_do_not_fit_the_data_leave_no_run(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(sets))
    arguments = ("--env", "CartPole-v1", "--data", "good", *SMALL, "--set", setting, "--runs", tmp_path / "runs")
    assert_refused(call("decision", "train", *arguments), *words)
    assert not (tmp_path / "runs").exists()


def test_a_target_out_of_the_data_is_a_warning_with_the_range(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(sets))
    runs = ("--runs", tmp_path / "runs")
    arguments = ("--env", "CartPole-v1", "--data", "good", *SMALL, "--set", "target=900", "--name", "far", *runs)
    trained = call("decision", "train", *arguments, "--json")
    asked = call("decision", "evaluate", "far", "--targets", "20,901", "--episodes", "2", *runs)
    drawn = call("decision", "render", "far", "--target", "902", "--steps", "2", *runs)
    counted = call("decision", "energy", "far", "--target", "903", "--decisions", "2", *runs)
    for done, target in ((trained, 900), (asked, 901), (drawn, 902), (counted, 903)):
        assert done.code == 0, done.err
        assert f"warning: target return {target} is out of the data's range, 18 to 40" in done.err
        assert done.err.count("out of the data's range") == 1
    assert trained.json["target"] == 900


class Nan(gymnasium.ObservationWrapper):  # type: ignore[type-arg]
    """CartPole whose sensor fails at times."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        self.seen = 0

    def observation(self, observation: Any) -> Any:
        self.seen += 1
        return np.where(self.seen % 4 == 0, np.float32(np.nan), observation)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of random weights, of which some do not fit their environment."""
    folder = tmp_path_factory.mktemp("runs")
    real = {"continuous": True, "low": (-1.0,), "high": (1.0,), "actions": 1}
    made: dict[str, Any] = {
        "dt": untrained("dt"),
        "snn-dt": untrained(),
        "brief": untrained("dt", max_steps=5),
        "blind": untrained("dt", "neuroaccel/CartPoleNoVelocity-v0"),
        "steered": untrained("dt", "Pendulum-v1", state_size=3),
        "counted": untrained("snn-dt", "Pendulum-v1", state_size=3),
        "smooth": untrained("dt", **real),
        "failing": untrained("dt", "Nan-v0"),
    }
    for name, trained in made.items():
        run_of(trained, folder / name)
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "blind"), ("Box", "reads 4 numbers")),
        (("evaluate", "steered"), ("actions in Box", "0 to 1")),
        (("evaluate", "smooth"), ("actions in Discrete(2)", "real ones of 1 numbers")),
        (("render", "steered"), ("actions in Box", "0 to 1")),
        (("energy", "counted"), ("actions in Box", "0 to 1")),
        (("evaluate", "brief"), ("lasted 5 decisions", "max_steps")),
        (("evaluate", "failing"), ("observation nan in episode 0, feature 0",)),
        (("evaluate", "dt", "--targets", "nan"), ("target return nan",)),
        (("evaluate", "dt", "--targets", ""), ("--targets", "100,500")),
        (("evaluate", "dt", "--seeds", "0.7"), ("--seeds", "whole numbers", "0.7")),
        (("evaluate", "dt", "--seeds", "nan"), ("--seeds", "whole numbers")),
        (("evaluate", "dt", "--seeds", "-1"), ("[-1]", "0 to 999")),
        (("evaluate", "dt", "--seeds", "0,0"), ("given twice",)),
        (("render", "dt", "--seed", "1000"), ("[1000]", "0 to 999")),
        (("evaluate", "snn-dt", "--executor", "compiled"), ("compiled", "snn-dt")),
        (("evaluate", "snn-dt", "--executor", "int8"), ("int8", "snn-dt")),
        (("evaluate", "dt", "--executor", "torch"), ("torch", "model is dt")),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_a_run_that_does_not_fit_its_environment_is_one_line(
    runs: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    spec = gymnasium.envs.registration.EnvSpec("Nan-v0", entry_point=Nan, disable_env_checker=True)
    monkeypatch.setitem(gymnasium.registry, "Nan-v0", spec)
    before = files_in(runs)
    assert_refused(call("decision", *arguments, "--runs", runs), *words)
    assert files_in(runs) == before


@pytest.mark.filterwarnings("ignore")  # torch's own use of what it deprecates
@pytest.mark.parametrize("backend", ["aot_eager", *(["inductor"] if LONG else [])])  # the latter: half a minute
def test_a_compiled_model_plays_the_same_episodes(runs: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setattr(variants, "compiled", functools.partial(variants.compiled, backend=backend))
    options = ("--targets", "30,60", "--episodes", "3", "--runs", runs, "--json")
    module, compiled = (
        call("decision", "evaluate", "dt", *options, "--executor", which) for which in ("module", "compiled")
    )
    assert (compiled.code, compiled.err) == (0, "")
    assert compiled.json["executor"] == "compiled"
    assert compiled.json["rows"] == module.json["rows"]


def test_a_spiking_model_plays_the_same_episodes_on_every_executor(runs: Path) -> None:
    options = ("--targets", "30", "--episodes", "3", "--runs", runs, "--json")
    found = [
        call("decision", "evaluate", "snn-dt", *options, "--executor", which).json["rows"]
        for which in ("torch", "engine")
    ]
    assert found[0] == found[1]
