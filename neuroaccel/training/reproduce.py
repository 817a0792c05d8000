"""Run a protocol: train every seed, choose its model on the validation split, look at the test split once."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import neuroaccel.datasets.tonic_sets as tonic_sets
from neuroaccel.datasets import EventDataModule
from neuroaccel.errors import FileFormatError, InputError
from neuroaccel.graph import save_graph, write_atomic
from neuroaccel.graph.lower import lower
from neuroaccel.network import Network
from neuroaccel.synapses.pruning import Pruner
from neuroaccel.training.build import build
from neuroaccel.training.carried import Carried
from neuroaccel.training.device import checked_device
from neuroaccel.training.evaluate import data_module
from neuroaccel.training.module import Classifier
from neuroaccel.training.protocol import Protocol
from neuroaccel.training.pruning import Draws, Pruning, pruner_of
from neuroaccel.training.recipe import Recipe, to_toml
from neuroaccel.training.run import _bar, _check, _quiet, _Record, _resume_from, _start
from neuroaccel.training.runs import CHECKPOINT, MODEL, RECIPE, Run

log = logging.getLogger("neuroaccel")
Progress = Callable[[int, int], None]

BEST = "best.ckpt"
CHOSEN = "chosen.json"


@dataclass(frozen=True)
class Results:
    """What has been found so far, and where it is written.

    Arguments:
        table: as in the JSON file.
        json: the file.
        markdown: the same for people.
    """

    table: dict[str, Any]
    json: Path
    markdown: Path


def reproduce(
    protocol: Protocol,
    root: str | Path = "runs/reproduce",
    *,
    folder: str | Path | None = None,
    seeds: int | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    progress: bool = True,
    data_progress: Progress | None = None,
) -> Results:
    """Do what of a protocol has not been done yet.

    Every seed trains into ``root/NAME/seed-N`` and goes on from its last whole epoch where it was interrupted. Only
    when the model of each seed asked for has been chosen, by its validation accuracy, is the test split loaded, and
    each model is run over it once; a seed with a result is never tested again. ``root/NAME.json`` and ``root/NAME.md``
    are written after every step and hold nothing but what these runs have found. Where the recipe prunes, no epoch is
    chosen whose connectivity is above the target.

    Arguments:
        protocol: what to run.
        root: folder of the results.
        folder: where the data set's files are; see ``neuroaccel.datasets.tonic_sets.load``.
        seeds: run the first so many; None: all of the protocol.
        overwrite: train these seeds anew, whatever has been found before.
        device: ``cpu`` or ``cuda``.
        progress: show Lightning's progress bar (on standard error).
        data_progress: called with (done, total) while recordings are decoded.

    Returns:
        The table, complete for the seeds asked for.

    Raises:
        InputError: earlier results are of another version of the protocol, or the device is not there.
        DataUnavailable, MissingExtra, FileFormatError: see ``tonic_sets.load``.
    """
    checked_device(device)
    count = protocol.options.seeds if seeds is None else seeds
    if count < 1:
        raise InputError(f"{count} seeds were asked for; expected at least 1")
    root = Path(root)

    def data_of(recipe: Recipe) -> EventDataModule:
        bin_on: Literal["cpu", "cuda"] = "cuda" if device == "cuda" else "cpu"
        return data_module(recipe, data_progress, folder=folder, bin_on=bin_on)

    runs = {seed: Run(root / protocol.stem / f"seed-{seed}") for seed in range(count)}
    with tonic_sets.repairing(protocol.options.on_error):
        for seed, run in runs.items():
            recipe = protocol.seeded(seed)
            if overwrite or not _same(run, recipe, CHOSEN):
                _train(protocol, recipe, data_of(recipe), run, overwrite, device, progress)
                _write(protocol, root, count)
        for seed, run in runs.items():
            if not run.finished:
                recipe = protocol.seeded(seed)
                _test(recipe, data_of(recipe), run, device)
                _write(protocol, root, count)
    return _write(protocol, root, count)


def _same(run: Run, recipe: Recipe, file: str) -> bool:
    """Has this run the file, and is it one of this very recipe?"""
    if not (run.folder / file).is_file():
        return False
    if run.recipe() != recipe:
        raise InputError(
            f"{run.folder} holds results of another version of this protocol; --overwrite replaces them, or give "
            "another --runs"
        )
    return True


class _Best(ModelCheckpoint):
    """Keeps the best epoch, of those that are pruned as far as the recipe asks."""

    def __init__(self, run: Run, pruner: Pruner | None) -> None:
        super().__init__(
            dirpath=run.folder,
            filename=Path(BEST).stem,
            monitor="validation_accuracy",
            mode="max",
            save_top_k=1,
            enable_version_counter=False,
        )
        self._pruner = pruner

    def _ready(self) -> bool:
        pruner = self._pruner
        return pruner is None or pruner.target is None or pruner.connectivity() <= pruner.target

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._ready():
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._ready():
            super().on_train_epoch_end(trainer, pl_module)


def _train(
    protocol: Protocol, recipe: Recipe, data: EventDataModule, run: Run, overwrite: bool, device: str, progress: bool
) -> None:
    """Train one seed to its last epoch, and write down which epoch is taken."""
    _check(recipe, run.folder, overwrite)
    samples = {split: len(data.dataset(split)) for split in ("train", "validation")}
    lightning.seed_everything(recipe.seed, verbose=False)
    network = build(recipe, data.dataset("train").sample_shape)
    batches = -(-samples["train"] // recipe.data.batch_size)
    pruner = None if recipe.pruning is None else pruner_of(recipe.pruning, network, recipe.seed)
    module = Classifier(network, recipe, recipe.train.epochs * batches)
    _start(recipe, run, overwrite)
    pruning = [] if pruner is None else [Pruning(pruner), Carried(run, recipe, data, network)]
    with _quiet():
        # First the best, then the last: a run that is killed in between repeats this epoch, and loses no best one.
        best = _Best(run, pruner)
        last = ModelCheckpoint(
            dirpath=run.folder, filename=Path(CHECKPOINT).stem, save_top_k=1, enable_version_counter=False
        )
        trainer = lightning.Trainer(
            max_epochs=recipe.train.epochs,
            accelerator="gpu" if device == "cuda" else "cpu",
            devices=1,
            callbacks=[*pruning, Draws(), _Record(run), best, last, *([_bar()] if progress else [])],
            enable_progress_bar=progress,
            enable_model_summary=False,
            logger=False,
            gradient_clip_val=recipe.train.gradient_clip,
            default_root_dir=run.folder,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, data, ckpt_path=_resume_from(run.folder / CHECKPOINT), weights_only=True)
    file = BEST if protocol.options.select == "best_validation" else CHECKPOINT
    epoch = int(_load(run.folder / file)["epoch"])
    accuracy = next(record["validation_accuracy"] for record in run.metrics() if record["epoch"] == epoch)
    chosen = {"checkpoint": file, "epoch": epoch, "validation_accuracy": accuracy, **samples}
    run.write_json(CHOSEN, {**chosen, "select": protocol.options.select, "epochs": recipe.train.epochs})


def _test(recipe: Recipe, data: EventDataModule, run: Run, device: str) -> None:
    """Run the chosen model over the test split, as it was trained and folded and snapped; write the model, last."""
    chosen = _chosen(run)
    sets = data.dataset("validation")
    network = build(recipe, sets.sample_shape)
    pruner = None if recipe.pruning is None else pruner_of(recipe.pruning, network, recipe.seed)
    state = _load(run.folder / chosen["checkpoint"])["state_dict"]
    network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    living: dict[str, Any] = {}
    if pruner is not None:
        living = {"connectivity": pruner.connectivity(), "living": [asdict(row) for row in pruner.living()]}
        pruner.fold()
    network.eval()
    graph = lower(
        network,
        sets.batch([0])[0],
        dt=recipe.data.dt,
        maximum=recipe.data.maximum,
        fold=recipe.lower.fold,
        snap=recipe.lower.snap,
        weight_bits=recipe.lower.weight_bits,
        metadata={"recipe": recipe.name, "seed": recipe.seed, RECIPE: to_toml(recipe)},
    )
    log.info("%s: looking at the test split", run.name)
    models = {"float": network, "snapped": Network.from_graph(graph).eval()}
    right, samples = _right({name: model.to(device) for name, model in models.items()}, data, device)
    run.write_json(
        "summary.json",
        {
            **living,
            **{f"accuracy_{name}": count / samples for name, count in right.items()},
            "validation_accuracy": chosen["validation_accuracy"],
            "epoch": chosen["epoch"],
            "test_samples": samples,
            "device": device,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        },
    )
    save_graph(graph, run.folder / MODEL)


def _right(models: dict[str, Network], data: EventDataModule, device: str) -> tuple[dict[str, int], int]:
    """How many test samples each model gets right, in one pass over them; ties go to the lower class."""
    right, done = dict.fromkeys(models, 0), 0
    with torch.no_grad():
        for packed in data.test_dataloader():
            there = data.transfer_batch_to_device(packed, torch.device(device), 0)
            x, labels = data.on_after_batch_transfer(there)
            for name, model in models.items():
                right[name] += int((model(x)[0][-1].argmax(dim=1) == labels).sum())
            done += len(labels)
    return right, done


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileFormatError(f"{path}: missing, though the run is said to be trained; --overwrite starts anew")
    _resume_from(path)  # says so if it is damaged
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def _chosen(run: Run) -> dict[str, Any]:
    path = run.folder / CHOSEN
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {key: found[key] for key in ("checkpoint", "epoch", "validation_accuracy", "train", "validation")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{path}: damaged ({type(error).__name__}: {error}); --overwrite starts anew") from error


def _write(protocol: Protocol, root: Path, count: int) -> Results:
    """Write the table of everything that the protocol's runs in ``root`` have found, also those of earlier commands."""
    rows: list[dict[str, Any]] = []
    for seed in range(max(count, protocol.options.seeds)):
        run = Run(root / protocol.stem / f"seed-{seed}")
        if not _same(run, protocol.seeded(seed), CHOSEN):
            continue
        chosen = _chosen(run)
        row: dict[str, Any] = {"seed": seed, "run": str(run.folder), "epoch": chosen["epoch"]}
        row |= {"validation_accuracy": chosen["validation_accuracy"]}
        row |= {"train_samples": chosen["train"], "validation_samples": chosen["validation"]}
        if run.finished:
            summary = run.summary()
            row |= {"test_accuracy": summary["accuracy_float"], "test_accuracy_snapped": summary["accuracy_snapped"]}
            row |= {"test_samples": summary["test_samples"], "device": summary["device"], "torch": summary["torch"]}
            row |= {key: summary[key] for key in ("connectivity",) if key in summary}
        rows.append(row)
    done = [row for row in rows if "test_accuracy" in row]
    table = {
        "protocol": protocol.name,
        "title": protocol.recipe.title,
        "data": protocol.recipe.data.name,
        "held_out": protocol.held_out,
        "select": protocol.options.select,
        "changes": list(protocol.changes),
        "seeds": protocol.options.seeds,
        "seeds_done": len(done),
        "complete": len(done) >= protocol.options.seeds and not protocol.changes,
        "runs": rows,
        **{key: _spread([row[key] for row in done]) for key in ("test_accuracy", "test_accuracy_snapped") if done},
    }
    pruning = protocol.recipe.pruning
    if pruning is not None:
        table |= {"pruning": {"method": pruning.method, "target": pruning.target}}
        table |= {"connectivity": _spread([row["connectivity"] for row in done])} if done else {}
    text = json.dumps({**table, "written": int(time.time())}, indent=2, sort_keys=True) + "\n"
    json_file = write_atomic(root / f"{protocol.stem}.json", text.encode())
    markdown = write_atomic(root / f"{protocol.stem}.md", render(table).encode())
    return Results(table, json_file, markdown)


def _spread(values: list[float]) -> dict[str, Any]:
    """Mean, and the standard deviation of a sample where there are at least two."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "standard_deviation": deviation, "seeds": len(values)}


def render(table: dict[str, Any]) -> str:
    """The results as Markdown: a row per seed, and nothing where nothing was run."""
    lines = [
        f"# {table['title']}",
        "",
        f"Protocol `{table['protocol']}` on `{table['data']}`. Validation: {table['held_out']}. Model of each seed: "
        f"{'its best epoch on validation' if table['select'] == 'best_validation' else 'its last epoch'}; the test "
        "split is looked at once, after that.",
        "",
    ]
    if table["changes"]:
        lines += [f"Changed, so not the protocol: {', '.join(f'`{change}`' for change in table['changes'])}.", ""]
    pruning = table.get("pruning")
    if pruning:
        lines += [
            f"Pruned by `{pruning['method']}` to at most {pruning['target']:.4g} of the connections; no epoch is taken "
            "that has more.",
            "",
        ]
    heads = ["seed", "epoch", "validation", "test", "test, folded and snapped", "samples"]
    heads += ["connectivity"] if pruning else []
    lines += [_line(heads), "|---" * len(heads) + "|"]
    found = {row["seed"]: row for row in table["runs"]}
    for seed in range(max(table["seeds"], *(seed + 1 for seed in found), 1)):
        row = found.get(seed)
        if row is None:
            lines.append(f"| {seed} | not run |" + " |" * (len(heads) - 2))
            continue
        test = [f"{row[key]:.2%}" if key in row else "" for key in ("test_accuracy", "test_accuracy_snapped")]
        samples = f"{row['train_samples']} / {row['validation_samples']} / {row.get('test_samples', '')}"
        cells = [str(seed), str(row["epoch"] + 1), f"{row['validation_accuracy']:.2%}", *test, samples]
        if pruning:
            cells.append(f"{row['connectivity']:.2%}" if "connectivity" in row else "")
        lines.append(_line(cells))
    lines.append("")
    if table["seeds_done"]:
        plain, snapped = (_percent(table[key]) for key in ("test_accuracy", "test_accuracy_snapped"))
        lines.append(f"Test: {plain}; folded and snapped: {snapped}; {table['seeds_done']} of {table['seeds']} seeds.")
        if pruning:
            lines.append(f"Connectivity: {_percent(table['connectivity'])}.")
    else:
        lines.append(f"No seed of {table['seeds']} has been tested yet.")
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(spread: dict[str, Any]) -> str:
    deviation = spread["standard_deviation"]
    return f"{spread['mean']:.2%}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")
