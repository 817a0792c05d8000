"""``neuroaccel decision render``: an episode as a moving picture, its spikes beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.options import RUNS, Json, Runs
from neuroaccel.cli.output import emit, progress, results_only
from neuroaccel.errors import InputError

DENSE = "no spikes: a dense model, frames only"


def register(app: typer.Typer) -> None:
    app.command("render", help=help_of(render))(render)


def render(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="A run's name or folder. Default: the newest finished run.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE.gif", help="Where to write it. Default: RUN/plots/episode.gif.", show_default=False
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            "--target",
            metavar="R",
            help="The return to ask for. Default: the one that the training's validation asked for.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="The episode: the first one that evaluate plays for this seed.")
    ] = 0,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Most decisions. Default: the whole episode.", show_default=False),
    ] = None,
    fps: Annotated[float, typer.Option("--fps", min=1, max=50, help="Decisions a second.")] = 15.0,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Play one episode and draw it as a GIF: every frame, beside it the spikes of every layer.

    A spiking model runs in the engine. The raster's columns are the micro-steps of the tokens that are new in a
    decision, the newest on the right; the phase code is a row of its own. A dense model has no spikes: frames only.

    Examples:
        neuroaccel decision render
        neuroaccel decision render CartPole-v1-snn-dt --out episode.gif --target 500 --seed 3
        neuroaccel decision render CartPole-v1-dt --steps 100 --json
    """
    from neuroaccel.cli.figures_episode import episode, shrunk
    from neuroaccel.graph.file import write_atomic
    from neuroaccel.training.decision_episode import watch
    from neuroaccel.training.decision_runs import open_decision_run

    run = open_decision_run(what, runs)
    trained = run.trained()
    path = out if out is not None else run.folder / "plots" / "episode.gif"
    if path.suffix.lower() != ".gif" or path.is_dir():
        raise InputError(f"{path}: an episode is drawn as a .gif file")
    if out is not None and not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    asked = float(trained.about["target"]) if target is None else target
    env = str(trained.about["env_id"])
    with results_only():
        with progress("playing") as report:
            found = watch(trained, asked, seed, steps=steps, frame=shrunk, progress=report)
        count, total = len(found.rewards), float(found.rewards.sum())
        spikes = sum(int(values.sum()) for values in found.spikes.values()) if found.spikes else None
        with progress("drawing") as report:
            report(0, 1)
            captions = [f"decision {at + 1} of {count}, return {r:g}" for at, r in enumerate(found.rewards.cumsum())]
            if found.spikes:
                each = sum(values.reshape(count, -1).sum(1, dtype=np.int64) for values in found.spikes.values())
                captions = [f"{line}, spikes {n}" for line, n in zip(captions, np.asarray(each), strict=True)]
            title = f"{env}, asked for {asked:g}"
            content = episode(found.frames, found.spikes, title, captions=captions, fps=fps, statement=DENSE)
            report(1, 1)
    if out is None:
        path.parent.mkdir(exist_ok=True)
    write_atomic(path, content)
    data: dict[str, Any] = {
        "run": run.name,
        "env": env,
        "model": trained.config.model,
        "executor": "engine" if found.spikes else "module",
        "target": asked,
        "seed": seed,
        "decisions": count,
        "return": total,
        "terminated": found.terminated,
        "spikes_per_decision": None if spikes is None else spikes / count,
        "file": str(path),
        "bytes": len(content),
    }
    how = DENSE if spikes is None else f"{spikes / count:.1f} spikes per decision, the phase code's included"
    emit(data, f"{path}: {count} decisions of {env}, return {total:g} (asked for {asked:g}); {how}", json)
