"""``neuroaccel trajectories``: episodes for offline learning: making them, and looking at those that are here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.options import Json
from neuroaccel.cli.output import emit, progress, results_only, table
from neuroaccel.errors import InputError

if TYPE_CHECKING:
    from neuroaccel.envs.offline import TrajectorySet

app = typer.Typer()

ALL = "all"
Environment = Annotated[str, typer.Argument(metavar="ENV", help="A gymnasium environment, such as CartPole-v1.")]


def group(context: typer.Context) -> None:
    """Make data sets of trajectories for offline learning, and look at those in Minari's folder.

    Minari's folder is MINARI_DATASETS_PATH, by default ~/.minari/datasets; whatever is in it can be used.

    Examples:
        neuroaccel trajectories make CartPole-v1
        neuroaccel trajectories make Pendulum-v1 --expert-share 0.7 --noise 0.3 --name pendulum-noisy
        neuroaccel trajectories list
        neuroaccel trajectories show cartpole-v1-seed0-v0
        neuroaccel trajectories experts Acrobot-v1
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def make(
    env: Environment,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Decisions in all; every episode is whole.")] = 10_000,
    expert_share: Annotated[
        float, typer.Option("--expert-share", min=0, max=1, help="Share of the decisions that are an expert's.")
    ] = 0.5,
    medium_share: Annotated[
        float, typer.Option("--medium-share", min=0, max=1, help="Share of a mediocre policy's. The rest is random.")
    ] = 0.0,
    noise: Annotated[
        float,
        typer.Option(
            "--noise",
            min=0,
            max=1,
            help="Noise in the expert's executed actions: the share of random ones, or, where actions are real, "
            "a standard deviation as a share of half the range.",
        ),
    ] = 0.2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything.")] = 0,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Of the data set. Default: ENV-seedSEED-v0.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a data set of this name.")] = False,
    json: Json = False,
) -> None:
    """Collect a mixture of expert and random episodes, and store it as a Minari data set.

    The actions that were executed are logged, noise included. The data set holds the policies' provenance, all seeds,
    and what the expert and chance reach over 100 episodes. One that was made with the same options is left as it is.

    Examples:
        neuroaccel trajectories make CartPole-v1
        neuroaccel trajectories make MountainCar-v0 --steps 20000 --seed 1
        neuroaccel trajectories make Pendulum-v1 --expert-share 0.7 --noise 0.3 --name pendulum-noisy
        neuroaccel trajectories make neuroaccel/CartPoleNoVelocity-v0 --medium-share 0.25 --json
    """
    from neuroaccel.envs.offline import dataset_id, load_trajectories, make_set, save_trajectories, stored
    from neuroaccel.envs.offline.collect import recipe_of

    full = dataset_id(name or f"{env.rpartition('/')[2].rpartition(':')[2].lower()}-seed{seed}")
    recipe = recipe_of(env, steps, expert_share, medium_share, noise, seed)
    data = load_trajectories(full) if any(one.name == full for one in stored()) and not force else None
    if data is not None and data.metadata.get("recipe") != recipe:
        raise InputError(
            f"data set '{full}' exists and was made with other options; --name gives another name, --force replaces it"
        )
    made = data is None
    if data is None:
        with results_only():
            data = make_set(
                env,
                steps=steps,
                expert_share=expert_share,
                medium_share=medium_share,
                noise=noise,
                seed=seed,
                bar=lambda what: progress(f"{env}, {what}"),
            )
            save_trajectories(data, full, replace=force)
    _print(data, full, {"made": made}, "" if made else "already there, made with the same options", json)


def list_sets(json: Json = False) -> None:
    """List the data sets in Minari's folder.

    Examples:
        neuroaccel trajectories list
        neuroaccel trajectories list --json
    """
    from neuroaccel.envs.offline import stored
    from neuroaccel.envs.offline.storage import minari_root

    found, root = stored(), minari_root()
    head = ("set", "environment", "episodes", "steps", "expert", "random", "MB")
    rows = [
        (
            *(one.name, one.env_id or "?", f"{one.episodes:,}", f"{one.steps:,}"),
            *(_rounded(one.expert_return), _rounded(one.random_return), f"{one.megabytes:.1f}"),
        )
        for one in found
    ]
    text = f"{table(head, rows)}\n\n{root}" if found else f"{root} is empty; `neuroaccel trajectories make` fills it"
    emit({"folder": str(root), "sets": [vars(one) for one in found]}, text, json)


def show(
    name: Annotated[str, typer.Argument(metavar="NAME|DIR", help="A data set, as `trajectories list` prints it.")],
    json: Json = False,
) -> None:
    """Show a data set: episodes, steps and returns by policy, its spaces, and what was measured beside it.

    Examples:
        neuroaccel trajectories show cartpole-v1-seed0-v0
        neuroaccel trajectories show ~/data/my-minari-set --json
    """
    from neuroaccel.envs.offline import load_trajectories

    _print(load_trajectories(name), name, {}, "", json)


def experts(
    env: Annotated[
        str | None, typer.Argument(metavar="[ENV]", help="Only this environment. Default: all.", show_default=False)
    ] = None,
    episodes: Annotated[int, typer.Option("--episodes", min=1, max=100, help="Of the listed seeds.")] = 100,
    json: Json = False,
) -> None:
    """Measure the expert, the medium and the random policy over episodes of listed seeds, without noise.

    Examples:
        neuroaccel trajectories experts
        neuroaccel trajectories experts Acrobot-v1 --json
    """
    from neuroaccel.envs.offline import EXPERTS, MEASURING_SEEDS, expert, measure, medium, random_policy
    from neuroaccel.errors import MissingExtra

    results: list[dict[str, Any]] = []
    left_out: list[str] = []
    for one in EXPERTS if env is None else (env,):
        try:
            policies = (expert(one), medium(one), random_policy(one))
        except MissingExtra as error:
            if env is not None:
                raise
            left_out.append(str(error))
            continue
        for policy in policies:
            with results_only(), progress(f"{one}, {policy.name}") as report:
                measured = measure(one, policy, MEASURING_SEEDS[:episodes], report)
            results.append({"env_id": one, **measured.record(), "provenance": policy.provenance})
    head = ("environment", "policy", "mean", "deviation", "lowest", "highest")
    rows = [
        (r["env_id"], r["policy"], *(f"{r[key]:.2f}" for key in ("mean", "deviation", "lowest", "highest")))
        for r in results
    ]
    seeds = f"returns of {episodes} episodes, seeds {MEASURING_SEEDS[0]} to {MEASURING_SEEDS[episodes - 1]}"
    text = "\n".join([table(head, rows), "", seeds, *(f"left out: {why}" for why in left_out)])
    emit({"policies": results, "left_out": left_out}, text, json)


def _print(data: TrajectorySet, name: str, more: dict[str, Any], note: str, as_json: bool) -> None:
    returns, lengths = data.returns, data.lengths
    groups = {**data.policies} if len(data.policies) > 1 else {}
    rows: list[dict[str, Any]] = []
    for policy, episodes in {**groups, ALL: tuple(range(len(data)))}.items():
        own, steps = returns[list(episodes)], lengths[list(episodes)]
        rows.append(
            {
                "policy": policy or "?",
                "episodes": len(own),
                "steps": int(steps.sum()),
                "longest": int(steps.max()),
                "mean": float(own.mean()),
                "deviation": float(own.std()),
                "lowest": float(own.min()),
                "highest": float(own.max()),
            }
        )
    out = {
        "name": name,
        "env_id": data.env_id,
        "observation_space": str(data.observation_space),
        "action_space": str(data.action_space),
        "expert_return": data.expert_return,
        "random_return": data.random_return,
        "returns": rows,
        "metadata": data.metadata,
        **more,
    }
    head = ("policy", "episodes", "steps", "longest", "return", "deviation", "lowest", "highest")
    cells = [
        (
            *(r["policy"], f"{r['episodes']:,}", f"{r['steps']:,}", f"{r['longest']:,}"),
            *(f"{r[key]:.2f}" for key in ("mean", "deviation", "lowest", "highest")),
        )
        for r in rows
    ]
    lines = [
        f"{name}: {data.env_id or 'environment unknown'}" + (f" ({note})" if note else ""),
        "",
        table(head, cells),
        "",
        f"observations: {data.observation_space}",
        f"actions: {data.action_space}",
        f"measured without noise: expert {_rounded(data.expert_return)}, random {_rounded(data.random_return)}",
    ]
    emit(out, "\n".join(lines), as_json)


def _rounded(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


app.callback(invoke_without_command=True, help=help_of(group))(group)
app.command("make", help=help_of(make))(make)
app.command("list", help=help_of(list_sets))(list_sets)
app.command("show", help=help_of(show))(show)
app.command("experts", help=help_of(experts))(experts)
