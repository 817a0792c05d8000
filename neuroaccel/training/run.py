"""Train a recipe into a run folder: resumable, progress shown, the model written last."""

from __future__ import annotations

import logging
import pickle
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from neuroaccel.datasets import EventDataModule, linear_baseline
from neuroaccel.errors import FileFormatError, InputError
from neuroaccel.graph import save_graph, write_atomic
from neuroaccel.graph.lower import lower
from neuroaccel.training.build import build
from neuroaccel.training.carried import Carried
from neuroaccel.training.device import checked_device
from neuroaccel.training.evaluate import data_module, evaluate
from neuroaccel.training.module import Classifier
from neuroaccel.training.pruning import Draws, Pruning, pruner_of
from neuroaccel.training.recipe import Recipe, to_toml
from neuroaccel.training.runs import CHECKPOINT, MODEL, RECIPE, Run

log = logging.getLogger("neuroaccel")
Progress = Callable[[int, int], None]


class _Record(Callback):
    """Appends every epoch's metrics to the run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if "_" in k}
        self.run.append_metrics({"epoch": trainer.current_epoch, **values})


def _check(recipe: Recipe, folder: Path, overwrite: bool) -> Run:
    """The run, refused before anything is written or removed."""
    run = Run(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, a run needs a folder")
    if run.finished and not overwrite:
        raise InputError(f"run '{run.name}' is finished; give another --name, or --overwrite to train it anew")
    started = (folder / RECIPE).is_file()
    if overwrite and folder.exists() and any(folder.iterdir()) and not started:
        raise InputError(f"{folder} is not a run (it has no {RECIPE}) and is left as it is")
    if started and not overwrite and run.recipe() != recipe:
        raise InputError(
            f"run '{run.name}' was started with another recipe; resume it with the same one, give another --name, "
            "or --overwrite it"
        )
    return run


def _start(recipe: Recipe, run: Run, overwrite: bool) -> None:
    """The run's folder, new or as an earlier training left it."""
    if overwrite and run.folder.exists():
        shutil.rmtree(run.folder)
    if (run.folder / RECIPE).is_file():
        log.info("resuming run %s", run.name)
        return
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{run.folder}: cannot be made ({error.strerror})") from error
    write_atomic(run.folder / RECIPE, to_toml(recipe).encode())


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice about loggers and workers, which these small runs do not need."""
    talkers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [t.level for t in talkers]
    for talker in talkers:
        talker.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*The number of training batches.*")
            warnings.filterwarnings("ignore", ".*LeafSpec.*")
            warnings.filterwarnings("ignore", ".*Checkpoint directory.*exists and is not empty.*")
            warnings.filterwarnings("ignore", ".*GPU available but not used.*")
            yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)


def train(
    recipe: Recipe,
    folder: str | Path,
    *,
    overwrite: bool = False,
    device: str = "cpu",
    progress: bool = True,
    data_progress: Progress | None = None,
) -> Run:
    """Train, lower, and write the model.

    Arguments:
        recipe: what to train.
        folder: the run's folder; an unfinished run of the same recipe in it is resumed from its last whole epoch.
        overwrite: start anew even over a finished run.
        device: ``cpu`` or ``cuda``.
        progress: show Lightning's progress bar (on standard error).
        data_progress: called with (done, total) while the data is generated.

    Returns:
        The finished run. ``summary.json`` holds the test accuracy of the trained float network and of the snapped
        graph, and that of a linear model on the time-summed frame.

    Raises:
        InputError: a finished run without ``overwrite``, another recipe's run, or a device that is not there.
    """
    checked_device(device)
    run = _check(recipe, Path(folder), overwrite)
    lightning.seed_everything(recipe.seed, verbose=False)
    data = data_module(recipe, data_progress)
    train_set = data.dataset("train")
    _check_counts(recipe, data)
    network = build(recipe, train_set.sample_shape)
    batches = -(-len(train_set) // recipe.data.batch_size)
    pruner = None if recipe.pruning is None else pruner_of(recipe.pruning, network, recipe.seed)
    module = Classifier(network, recipe, recipe.train.epochs * batches)
    _start(recipe, run, overwrite)  # only now: a recipe that cannot be built leaves an older run as it is
    checkpoint = run.folder / CHECKPOINT
    started = time.perf_counter()
    pruning = [] if pruner is None else [Pruning(pruner), Carried(run, recipe, data, network)]
    with _quiet():
        keep = ModelCheckpoint(
            dirpath=run.folder, filename=Path(CHECKPOINT).stem, save_top_k=1, enable_version_counter=False
        )
        trainer = lightning.Trainer(
            max_epochs=recipe.train.epochs,
            accelerator="gpu" if device == "cuda" else "cpu",
            devices=1,
            callbacks=[*pruning, Draws(), _Record(run), keep, *([_bar()] if progress else [])],
            enable_progress_bar=progress,
            enable_model_summary=False,
            logger=False,
            gradient_clip_val=recipe.train.gradient_clip,
            default_root_dir=run.folder,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, data, ckpt_path=_resume_from(checkpoint), weights_only=True)
    seconds = time.perf_counter() - started
    living: dict[str, Any] = {}
    if pruner is not None:
        living = {"connectivity": pruner.connectivity(), "living": [asdict(row) for row in pruner.living()]}
        pruner.fold()
    _finish(run, recipe, network.cpu().eval(), data, seconds, living)
    return run


def _bar() -> Callback:
    from lightning.pytorch.callbacks import TQDMProgressBar

    return TQDMProgressBar(leave=False)


def _resume_from(checkpoint: Path) -> Path | None:
    """The checkpoint to go on from, if there is one that can be read."""
    if not checkpoint.is_file():
        return None
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise FileFormatError(f"{checkpoint}: damaged checkpoint ({error}); --overwrite starts anew") from error
    return checkpoint


def _check_counts(recipe: Recipe, data: EventDataModule) -> None:
    """Counts beyond the stated maximum would be refused by every exact executor: say so before training."""
    if recipe.data.maximum is None:
        return
    for split in ("train", "validation", "test"):
        largest = data.dataset(split).largest()
        if largest > recipe.data.maximum:
            raise InputError(
                f"the {split} split holds counts up to {largest:g}, data.maximum is {recipe.data.maximum}; raise it"
            )


def _finish(
    run: Run, recipe: Recipe, network: Any, data: EventDataModule, seconds: float, living: Mapping[str, Any]
) -> None:
    x, _ = data.dataset("test").batch([0])
    trained = evaluate(network, recipe)
    graph = lower(
        network,
        x,
        dt=recipe.data.dt,
        maximum=recipe.data.maximum,
        fold=recipe.lower.fold,
        snap=recipe.lower.snap,
        weight_bits=recipe.lower.weight_bits,
        metadata={"recipe": recipe.name, "seed": recipe.seed, RECIPE: to_toml(recipe)},
    )
    snapped = evaluate(graph, recipe)
    train_set, validation, test = (data.dataset(split) for split in ("train", "validation", "test"))
    linear = linear_baseline(train_set, validation, test)
    last = run.metrics()[-1] if run.metrics() else {}
    run.write_json(
        "summary.json",
        {
            **living,
            "accuracy_float": trained.accuracy,
            "accuracy_snapped": snapped.accuracy,
            "accuracy_linear_on_summed_frame": linear.test_accuracy,
            "validation_accuracy": last.get("validation_accuracy"),
            "test_samples": snapped.samples,
            "training_seconds": seconds,
            "threads": torch.get_num_threads(),
        },
    )
    save_graph(graph, run.folder / MODEL)
