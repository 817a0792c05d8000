"""Protocols: every one end to end on its data set in miniature; fixed choices, one look at the test split, resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from neuroaccel.errors import DataUnavailable, EventsError, FileFormatError, InputError, RecipeError
from neuroaccel.graph import infer
from neuroaccel.training import reproduce as module
from neuroaccel.training.evaluate import evaluate
from neuroaccel.training.protocol import load_protocol, protocol_names, whose_data_is_there
from neuroaccel.training.reproduce import BEST, CHOSEN, reproduce
from neuroaccel.training.runs import Run
from tests.datasets.tonic.miniatures import cifar10_dvs, dvs128_gesture, n_mnist, shd, ssc

MINIATURES: dict[str, Callable[[Path], object]] = {
    "shd": lambda root: shd(root, per_class=4, classes=4),
    "ssc": lambda root: ssc(root, per_class=3, classes=4),
    "dvs128": lambda root: dvs128_gesture(root, users=(1, 20), classes=3),
    "cifar10dvs": lambda root: cifar10_dvs(root, classes=2),
    "nmnist": lambda root: n_mnist(root, per_class=10, test=2, classes=2),
}
SMALL = {
    "shd": ["data.ticks=20", "data.dt=0.05", "layers.2.features=12", "layers.6.features=8"],
    "ssc": ["data.ticks=20", "data.dt=0.05", "layers.2.features=12", "layers.6.features=8"],
    "dvs128": ["data.ticks=4", "data.dt=0.3", "layers.1.channels=2", "layers.5.channels=2", "layers.9.channels=2"],
    "cifar10dvs": [
        "data.ticks=3",
        "data.dt=0.4",
        *(f"layers.{at}.channels=2" for at in (1, 4, 8, 11, 15, 18, 22)),
    ],
    "nmnist": ["data.ticks=4", "data.dt=0.08", "layers.0.channels=2", "layers.4.channels=2"],
}
QUICK = ["train.epochs=1", "data.batch_size=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniatures of every protocol's data set."""
    root = tmp_path_factory.mktemp("data")
    for make in MINIATURES.values():
        make(root)
    return root


def test_every_protocol_has_its_miniature_here() -> None:
    assert protocol_names() == sorted(MINIATURES)


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_a_protocol_runs_end_to_end(name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = load_protocol(name, [*QUICK, *SMALL[name]])
    found = reproduce(protocol, tmp_path, folder=folder, seeds=1, progress=False)
    table = json.loads(found.json.read_text())
    assert {key: table[key] for key in found.table} == found.table
    (row,) = table["runs"]
    assert (row["seed"], row["epoch"], table["seeds_done"], table["complete"]) == (0, 0, 1, False)
    assert 0 <= row["test_accuracy"] <= 1
    assert table["test_accuracy"] == {"mean": row["test_accuracy"], "standard_deviation": None, "seeds": 1}
    text = found.markdown.read_text()
    assert f"| 0 | 1 | {row['validation_accuracy']:.2%} | {row['test_accuracy']:.2%} |" in text
    assert "| 1 | not run |" in text
    assert "train.epochs=1" in text
    run = Run(Path(row["run"]))
    graph = run.graph()
    assert all(signal.exact for signal in infer(graph).values())
    monkeypatch.setenv("NEUROACCEL_DATA", str(folder))  # where other commands find the data of this run
    again = evaluate(graph, run.recipe())
    assert again.accuracy == row["test_accuracy_snapped"]
    assert again.samples == row["test_samples"]


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_a_protocol_names_every_choice(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.options.seeds >= 3
    assert protocol.options.select == "best_validation"
    assert protocol.recipe.data.frames == {"kind": "time"}
    assert protocol.recipe.data.train_samples is None
    assert protocol.stem == name
    assert len({protocol.seeded(seed).seed for seed in range(3)}) == 3
    changed = load_protocol(name, ["train.epochs=1"])
    assert changed.stem.startswith(f"{name}-changed-")
    assert changed.stem != load_protocol(name, ["train.epochs=2"]).stem


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("mnist", [], "unknown protocol 'mnist'; known: cifar10dvs, dvs128, nmnist, shd, ssc"),
        ("shd", ["train.epoch=3"], r"shd: train.epoch"),
        ("shd", ["protocol.seeds=0"], r"shd: protocol.seeds: .* \(found 0\)"),
        ("shd", ["protocol.select=best_test"], "protocol.select"),
        ("shd", ["data.name=saccade-digits"], "data.name: 'saccade-digits'; expected one of n-mnist"),
    ],
)
def test_a_protocol_that_is_none_is_refused(name: str, changes: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_protocol(name, changes)


def test_the_chosen_epoch_is_the_best_on_validation_and_the_test_comes_after_all_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = load_protocol("nmnist", [*QUICK, *SMALL["nmnist"], "train.epochs=4", "train.learning_rate=0.02"])
    order: list[str] = []
    for step in ("_train", "_test"):
        original = getattr(module, step)

        def noted(*arguments, step=step, original=original):  # type: ignore[no-untyped-def]
            recipe, data = arguments[:2] if step == "_test" else arguments[1:3]
            order.append(f"{step} {recipe.seed}")
            original(*arguments)
            if step == "_train":
                assert "test" not in data._recordings  # nothing of it has even been loaded

        monkeypatch.setattr(module, step, noted)
    found = reproduce(protocol, tmp_path, folder=folder, seeds=2, progress=False)
    assert order == ["_train 0", "_train 1", "_test 0", "_test 1"]
    for row in found.table["runs"]:
        run = Run(Path(row["run"]))
        accuracies = [record["validation_accuracy"] for record in run.metrics()]
        assert len(accuracies) == 4
        assert row["epoch"] == accuracies.index(max(accuracies))
        assert row["validation_accuracy"] == max(accuracies)
        state = torch.load(run.folder / BEST, weights_only=True)
        assert state["epoch"] == row["epoch"]
    tested = found.table["test_accuracy"]
    values = [row["test_accuracy"] for row in found.table["runs"]]
    assert tested["mean"] == pytest.approx(sum(values) / 2)
    assert tested["standard_deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    again = reproduce(protocol, tmp_path, folder=folder, seeds=2, progress=False)
    assert len(order) == 4  # nothing was trained or tested a second time
    assert again.table == found.table


def test_the_last_epoch_can_be_the_rule(folder: Path, tmp_path: Path) -> None:
    changes = [*QUICK, *SMALL["nmnist"], "train.epochs=2", "protocol.select=last_epoch", "protocol.seeds=1"]
    found = reproduce(load_protocol("nmnist", changes), tmp_path, folder=folder, progress=False)
    assert found.table["runs"][0]["epoch"] == 1
    assert "its last epoch" in found.markdown.read_text()


@pytest.mark.parametrize(("method", "select"), [("nsp", "best_validation"), ("magnitude", "last_epoch")])
def test_the_recipes_pruning_is_applied_and_no_epoch_above_its_target_is_taken(
    method: str, select: str, folder: Path, tmp_path: Path
) -> None:
    pruning = f'pruning={{ method = "{method}", target = 0.2, every = 1, freeze = 0.5 }}'
    changes = [*QUICK, *SMALL["nmnist"], "train.epochs=4", "data.batch_size=4", pruning, f"protocol.select={select}"]
    protocol = load_protocol("nmnist", changes)
    found = reproduce(protocol, tmp_path, folder=folder, seeds=1, progress=False)
    (row,) = found.table["runs"]
    run = Run(Path(row["run"]))
    shares = [record["living_share"] for record in run.metrics()]
    assert shares[0] > 0.2 >= shares[row["epoch"]]  # a net that is still half dense is none of the recipe's
    assert row["connectivity"] == pytest.approx(shares[row["epoch"]])
    assert 0.1 < row["connectivity"] <= 0.2
    table = json.loads(found.json.read_text())
    assert table["pruning"] == {"method": method, "target": 0.2}
    assert table["connectivity"]["mean"] == row["connectivity"]
    text = found.markdown.read_text()
    assert f"| {row['connectivity']:.2%} |" in text
    assert f"Connectivity: {row['connectivity']:.2%}." in text
    heads, _, *lines = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") == heads.count("|") for line in lines)
    living = run.summary()["living"]
    assert sum(p["living"] for p in living) / sum(p["total"] for p in living) == row["connectivity"]
    assert [record["epoch"] for record in run.transfers()] == [0, 1, 2, 3]


def test_an_interrupted_protocol_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = load_protocol("nmnist", [*QUICK, *SMALL["nmnist"], "train.epochs=3"])
    record = module._Record.on_train_epoch_end

    def stop_after_the_second(self, trainer, network):  # type: ignore[no-untyped-def]
        record(self, trainer, network)
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module._Record, "on_train_epoch_end", stop_after_the_second)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            reproduce(protocol, tmp_path, folder=folder, seeds=1, progress=False)
    run = Run(tmp_path / protocol.stem / "seed-0")
    assert not (run.folder / CHOSEN).exists()
    before = json.dumps(run.metrics()[:2])
    with monkeypatch.context() as patch:  # and once more, on the way through the test split
        patch.setattr(module, "save_graph", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            reproduce(protocol, tmp_path, folder=folder, seeds=1, progress=False)
    assert json.dumps(run.metrics()[:2]) == before
    assert [record["epoch"] for record in run.metrics()] == [0, 1, 2]
    assert "No seed of 3 has been tested yet." in (tmp_path / f"{protocol.stem}.md").read_text()
    found = reproduce(protocol, tmp_path, folder=folder, seeds=1, progress=False)
    assert found.table["seeds_done"] == 1


def test_results_of_another_version_of_the_protocol_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    changes = [*QUICK, *SMALL["nmnist"]]
    protocol = load_protocol("nmnist", changes)
    reproduce(protocol, tmp_path, folder=folder, seeds=1, progress=False)
    recipe = protocol.recipe.model_copy(update={"title": "another"})
    other = type(protocol)(protocol.name, recipe, protocol.options, protocol.changes)
    with pytest.raises(InputError, match=r"seed-0 holds results of another version.*--overwrite"):
        reproduce(other, tmp_path, folder=folder, seeds=1, progress=False)
    found = reproduce(other, tmp_path, folder=folder, seeds=1, overwrite=True, progress=False)
    assert found.table["title"] == "another"


def test_damaged_results_are_named(folder: Path, tmp_path: Path) -> None:
    protocol = load_protocol("nmnist", [*QUICK, *SMALL["nmnist"]])
    reproduce(protocol, tmp_path, folder=folder, seeds=1, progress=False)
    run = Run(tmp_path / protocol.stem / "seed-0")
    run.model_file.unlink()
    (run.folder / BEST).write_bytes(b"no checkpoint")
    with pytest.raises(FileFormatError, match=r"best.ckpt: damaged checkpoint"):
        reproduce(protocol, tmp_path, folder=folder, seeds=1, progress=False)
    (run.folder / BEST).unlink()
    with pytest.raises(FileFormatError, match=r"best.ckpt: missing"):
        reproduce(protocol, tmp_path, folder=folder, seeds=1, progress=False)
    (run.folder / CHOSEN).write_text("{}")
    with pytest.raises(FileFormatError, match=r"chosen.json: damaged"):
        reproduce(protocol, tmp_path, folder=folder, seeds=1, progress=False)


def test_wrong_events_stop_a_protocol_unless_it_is_told_to_leave_them_out(tmp_path: Path) -> None:
    n_mnist(tmp_path, per_class=10, test=2, classes=2)
    wrong = tmp_path / "NMNIST" / "Train" / "1" / "00003.bin"
    wrong.write_bytes(bytes((99, 99, 0, 0, 7)) + wrong.read_bytes())
    changes = [*QUICK, *SMALL["nmnist"]]
    with pytest.raises(EventsError, match=r"1/00003.bin: event 0 \(x=99"):
        reproduce(load_protocol("nmnist", changes), tmp_path / "runs", folder=tmp_path, seeds=1, progress=False)
    told = load_protocol("nmnist", [*changes, "protocol.on_error=drop"])
    found = reproduce(told, tmp_path / "runs", folder=tmp_path, seeds=1, progress=False)
    assert found.table["changes"][-1] == "protocol.on_error=drop"
    assert found.table["seeds_done"] == 1


def test_binning_on_the_device_finds_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = load_protocol("nmnist", [*QUICK, *SMALL["nmnist"]])
    plain = reproduce(protocol, tmp_path / "cpu", folder=folder, seeds=1, progress=False)
    of_recipe = module.data_module

    def shipping(recipe, progress, **options):  # type: ignore[no-untyped-def]
        return of_recipe(recipe, progress, **{**options, "bin_on": "cuda"})  # the device being the CPU here

    monkeypatch.setattr(module, "data_module", shipping)
    shipped = reproduce(protocol, tmp_path / "shipped", folder=folder, seeds=1, progress=False)
    (one,), (other,) = plain.table["runs"], shipped.table["runs"]
    assert {**one, "run": ""} == {**other, "run": ""}


def test_without_the_data_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tonic.datasets import SHD

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(SHD, "base_url", "http://127.0.0.1:1/")
    with pytest.raises(DataUnavailable, match=r"shd_train.h5.zip .*127.0.0.1"):
        reproduce(load_protocol("shd"), tmp_path / "results", folder=tmp_path, progress=False)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(("options", "words"), [({"seeds": 0}, "0 seeds"), ({"device": "tpu"}, "tpu")])
def test_wrong_options_are_refused(options: dict[str, object], words: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        reproduce(load_protocol("nmnist"), tmp_path, folder=folder, progress=False, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_whose_data_is_there(folder: Path, tmp_path: Path) -> None:
    assert all(entry["ready"] for entry in whose_data_is_there(folder))
    (tmp_path / "SHD").mkdir()
    (tmp_path / "SHD" / "shd_test.h5").touch()
    found = {entry["name"]: entry for entry in whose_data_is_there(tmp_path)}
    assert found["shd"]["splits"] == {"train": False, "validation": False, "test": True}
    assert not any(entry["ready"] for entry in found.values())
    assert found["shd"]["folder"] == str(tmp_path / "SHD")
