"""``neuroaccel decision``: decision transformers, dense and spiking, on offline trajectories."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroaccel.cli import decision_energy, decision_render
from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.options import RUNS, Device, Json, Runs
from neuroaccel.cli.output import emit, progress, results_only, table
from neuroaccel.cli.train import _folder_name
from neuroaccel.errors import InputError, RecipeError

if TYPE_CHECKING:
    from neuroaccel.training.decision_evaluate import Asked

app = typer.Typer()


class Model(StrEnum):
    """Kinds of decision models."""

    dt = "dt"
    snn_dt = "snn-dt"


class Executor(StrEnum):
    """What runs a model."""

    module = "module"
    compiled = "compiled"
    int8 = "int8"
    torch = "torch"
    engine = "engine"


def group(context: typer.Context) -> None:
    """Train decision transformers on offline trajectories, and play episodes with them.

    A decision transformer is asked for a return and acts to reach it. There are a dense one (dt) and a spiking one
    (snn-dt).

    Examples:
        neuroaccel decision train --env CartPole-v1
        neuroaccel decision evaluate CartPole-v1-snn-dt --targets 100,500
        neuroaccel decision render CartPole-v1-snn-dt --out episode.gif
        neuroaccel decision energy CartPole-v1-snn-dt
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def train(
    env: Annotated[str, typer.Option("--env", metavar="ENV", help="A gymnasium environment, such as CartPole-v1.")],
    model: Annotated[Model, typer.Option("--model", help="Which kind of model.")] = Model.snn_dt,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="A data set of trajectories; see `neuroaccel trajectories list`. Default: ENV-seed0.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of the optimiser.")] = 1500,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of weights, windows and validation.")] = 0,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting; may be repeated.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the run. Default: ENV-MODEL.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of that name.")] = False,
    device: Device = "cpu",
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Train a decision model into runs/NAME; an unfinished run of that name is resumed.

    The checkpoint with the best return in validation episodes is kept. Settings are those of the model (width, layers,
    heads, context, attention, stream, return_token, ...) and of the training (learning_rate, batch_size, penalty,
    validation_episodes, prune_to, ...).

    Examples:
        neuroaccel decision train --env CartPole-v1 --model dt
        neuroaccel decision train --env CartPole-v1 --set width=32 --set attention=softmax --seed 1 --name small
        neuroaccel decision train --env Pendulum-v1 --set return_token=total
    """
    from pydantic import ValidationError

    from neuroaccel.decision.windows import config_for
    from neuroaccel.envs.offline import load_trajectories
    from neuroaccel.training.decision_options import first_fault, settings_of, training_of
    from neuroaccel.training.decision_train import train_decision

    settings, options = settings_of(changes or ())
    training = training_of({"steps": steps, "seed": seed, **options})
    folder = runs / _folder_name(name if name is not None else f"{env}-{model.value}".replace("/", "-"))
    chosen = data or f"{env.rpartition('/')[2].lower()}-seed0"  # as `trajectories make ENV` names it
    found = load_trajectories(chosen)
    if found.env_id and found.env_id != env:
        raise InputError(f"data set '{chosen}' is of environment {found.env_id}, not of {env}")
    found = found if found.env_id else replace(found, env_id=env)
    try:
        config = config_for(found, **{"model": model.value, **settings})
    except ValidationError as error:
        raise RecipeError(first_fault(error)) from error
    with results_only(), progress("training") as report:
        shown = report if sys.stderr.isatty() else None
        run = train_decision(
            found, config, training, folder, data_name=chosen, overwrite=overwrite, device=device, progress=shown
        )
    summary = run.summary()
    text = [
        f"{run.folder}: {model.value} on {env}, {summary['parameters']} parameters",
        f"trained in {summary['training_seconds']:.0f} s on {summary['threads']} threads",
    ]
    if summary["validation_return"] is not None:
        text += [
            f"validation return {summary['validation_return']:.1f} at step {summary['best_step']} "
            f"(asked for {summary['target']:g})"
        ]
    emit({"run": run.name, "folder": str(run.folder), **summary}, "\n".join(text), json)


def evaluate(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="A run's name or folder. Default: the newest finished run.", show_default=False
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            "--targets",
            metavar="R,R,...",
            help="Returns to ask for. Default: the one that the training's validation asked for.",
            show_default=False,
        ),
    ] = None,
    episodes: Annotated[int, typer.Option("--episodes", min=1, max=1000, help="Episodes per seed.")] = 50,
    seeds: Annotated[str, typer.Option("--seeds", metavar="N,N,...", help="Seeds of groups of episodes.")] = "0",
    executor: Annotated[Executor, typer.Option("--executor", help="What runs the model.")] = Executor.module,
    plot: Annotated[bool, typer.Option("--plot", help="Draw return against asked return, into the run.")] = False,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Play episodes with a trained decision model, once for every return asked for.

    The same seeds are the same episodes for every model, target and executor. Executors: module; compiled (which takes
    up to a minute to begin) and int8 of a dense model; torch and engine run a spiking model's graph.

    Examples:
        neuroaccel decision evaluate
        neuroaccel decision evaluate CartPole-v1-dt --targets 100,300,500 --plot
        neuroaccel decision evaluate CartPole-v1-snn-dt --executor engine --episodes 10 --json
    """
    from neuroaccel.training.decision_evaluate import sweep
    from neuroaccel.training.decision_runs import open_decision_run

    run = open_decision_run(what, runs)
    trained = run.trained()
    asked = [trained.about["target"]] if targets is None else _numbers("--targets", targets)
    groups = _seeds(seeds)
    with results_only(), progress("playing") as report:
        found = sweep(
            trained,
            trained.about["env_id"],
            asked,
            episodes=episodes,
            seeds=groups,
            which=executor.value,
            progress=report,
        )
    rows = [_row(each) for each in found]
    data: dict[str, Any] = {
        "run": run.name,
        "env": trained.about["env_id"],
        "model": trained.config.model,
        "executor": executor.value,
        "episodes": episodes,
        "seeds": groups,
        "expert_return": trained.about["expert_return"],
        "random_return": trained.about["random_return"],
        "rows": rows,
    }
    if trained.config.model == "dt":
        from neuroaccel.decision.costs import macs_per_decision
        from neuroaccel.decision.dense import DenseDT

        assert isinstance(trained.model, DenseDT)
        data |= {
            "macs_per_decision": macs_per_decision(trained.model).total,
            "macs_per_decision_recomputed": macs_per_decision(trained.model, cached=False).total,
        }
    text = [table(("asked", "return", "sd", "normalised", "steps"), [_cells(row) for row in rows])]
    if plot:
        data["file"] = _drawn(run.folder, data)
        text.append(data["file"])
    emit(data, "\n".join(text), json)


def _row(asked: Asked) -> dict[str, Any]:
    found = asked.episodes
    return {
        "target": asked.target,
        "return": asked.mean,
        "sd": asked.sd,
        "normalised_return": asked.normalised,
        "steps": float(found.lengths.mean()),
        "returns": found.returns.tolist(),
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    normalised = row["normalised_return"]
    return (
        f"{row['target']:g}",
        f"{row['return']:.1f}",
        f"{row['sd']:.1f}",
        "-" if normalised is None else f"{normalised:.3f}",
        f"{row['steps']:.1f}",
    )


def _drawn(folder: Path, data: dict[str, Any]) -> str:
    from neuroaccel.cli.figures_decision import asked
    from neuroaccel.graph.file import write_atomic

    (folder / "plots").mkdir(exist_ok=True)
    title = f"{data['run']}: {data['env']}, {data['episodes'] * len(data['seeds'])} episodes per target"
    picture = asked(data["rows"], title, data["expert_return"], data["random_return"])
    return str(write_atomic(folder / "plots" / "targets.png", picture))


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} takes numbers with commas between, such as 100,500; found '{text}'") from error


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--seeds takes whole numbers with commas between, such as 0,1,2; found '{text}'") from error


app.callback(invoke_without_command=True, help=help_of(group))(group)
app.command("train", help=help_of(train))(train)
app.command("evaluate", help=help_of(evaluate))(evaluate)
decision_render.register(app)
decision_energy.register(app)
