"""``neuroaccel decision energy``: what a decision costs, beside the dense twin's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.options import RUNS, Json, Runs
from neuroaccel.cli.output import emit, progress, results_only
from neuroaccel.errors import InputError

if TYPE_CHECKING:
    from neuroaccel.ledger import EnergyReport, Profile
    from neuroaccel.ledger.baselines import Baseline
    from neuroaccel.training.decision_energy import DecisionCosts

COUNTS = ("spikes", "synaptic_events", "macs")


def register(app: typer.Typer) -> None:
    app.command("energy", help=help_of(energy))(energy)


def energy(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="A run's name or folder. Default: the newest finished run.", show_default=False
        ),
    ] = None,
    decisions: Annotated[int, typer.Option("--decisions", min=1, help="How many decisions to count.")] = 50,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            metavar="NAME|FILE",
            help="Hardware profile, may be repeated. Default: cmos45.",
            show_default=False,
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
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the episodes, as in evaluate.")] = 0,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Count what a decision costs, and charge it under hardware profiles.

    A spiking model plays episodes in the engine; counted are the tokens that are new in a decision, with keys and
    values cached, once the context is full. Beside it stands the dense twin (same width, layers, heads and context),
    cached and recomputed, by formula. Of a dense run only the latter, without weights that were pruned.

    Examples:
        neuroaccel decision energy
        neuroaccel decision energy CartPole-v1-snn-dt --decisions 200 --profile cmos45 --profile loihi1-davies2018
        neuroaccel decision energy CartPole-v1-dt --json
    """
    from neuroaccel.decision.dense import DenseDT
    from neuroaccel.ledger import energy as charge
    from neuroaccel.ledger import load_profile
    from neuroaccel.training.decision_energy import count_decisions, dense_energy
    from neuroaccel.training.decision_runs import open_decision_run

    profiles = [load_profile(name) for name in profile or ("cmos45",)]
    if len({p.name for p in profiles}) < len(profiles):
        raise InputError(f"--profile: one of {', '.join(p.name for p in profiles)} is given twice")
    run = open_decision_run(what, runs)
    trained = run.trained()
    asked = float(trained.about["target"]) if target is None else target
    data: dict[str, Any] = {"run": run.name, "env": trained.about["env_id"], "model": trained.config.model}
    lines: list[str] = []
    costs, reports = None, {}
    if trained.config.model == "snn-dt":
        with results_only(), progress("counting") as report:
            costs = count_decisions(trained, asked, decisions=decisions, seed=seed, progress=report)
        reports = {p.name: charge(costs.book, p) for p in profiles}
        data |= {"target": asked, "seed": seed} | _counted(costs)
        lines += _heading(run.name, data)
    dense = trained.model if isinstance(trained.model, DenseDT) else trained.config.model_copy(update={"model": "dt"})
    data["energy_pj"] = {}
    for one in profiles:
        twins = [
            dense_energy(dense, one, cached=cached, int8=int8, reuse=reuse)
            for cached in (True, False)
            for int8 in (False, True)
            for reuse in (False, True)
        ]
        data["energy_pj"][one.name] = _charged(reports.get(one.name), twins)
        lines += _profile(one, costs, reports.get(one.name), twins)
    if costs is not None:
        data["proxies_pj"] = costs.proxies()
        lines += ["", "Proxies that papers print, per decision (no memory, no neurons; not a total of this report)"]
        lines += [f"{name}: {_unit((value, value))}" for name, value in costs.proxies().items()]
        lines.append("proxy_spike_5pJ, 5 pJ for every spike, counts no multiply-accumulate and no synaptic event")
    data["provenance"] = [c for each in reports.values() for c in each.provenance]
    emit(data, "\n".join(lines), json)


def _counted(costs: DecisionCosts) -> dict[str, Any]:
    book = costs.book
    layers = [
        {"node": name, "kind": f.kind, "role": f.role, **{c: book.mean(c, name)[0] for c in COUNTS}}
        for name, f in book.facts.items()
    ]
    return {
        "decisions": book.samples,
        "played": costs.played,
        "episodes": costs.episodes,
        "context_full": costs.full,
        "spikes": float(costs.spikes.mean()),
        "spikes_phase": float(costs.phase_spikes.mean()),
        "spikes_context": float(costs.context_spikes.mean()),
        "synaptic_events": book.mean("synaptic_events")[0],
        "macs": book.mean("macs")[0],
        "layers": layers,
    }


def _heading(name: str, data: dict[str, Any]) -> list[str]:
    from neuroaccel.ledger.table import number

    where = "with a full context" if data["context_full"] else "whose context was not full: episodes were too short"
    return [
        f"{name} on {data['env']}: mean of {data['decisions']} decisions {where}",
        "keys and values cached: counted are the tokens that are new in a decision",
        f"spikes {number(data['spikes'])} (of them the phase code's {number(data['spikes_phase'])}), "
        f"of the whole context {number(data['spikes_context'])}",
        f"synaptic events {number(data['synaptic_events'])}, MACs {number(data['macs'])}",
        "",
    ]


def _charged(report: EnergyReport | None, twins: list[Baseline]) -> dict[str, Any]:
    found: dict[str, Any] = {"dense": [twin.to_json() for twin in twins]}
    if report is not None:
        # Its baselines are of the graph's own layers, which no dense decision transformer has.
        kept = report.to_json()
        found |= {key: value for key, value in kept.items() if key not in ("baselines", "proxies_pj")}
    return found


def _profile(
    profile: Profile, costs: DecisionCosts | None, report: EnergyReport | None, twins: list[Baseline]
) -> list[str]:
    from neuroaccel.ledger.table import columns, number

    lines = [f"Energy per decision: {profile.name} ({profile.title})"]
    if report is not None and costs is not None:
        rows = []
        for row in report.rows:
            low, high = row.total.mean(axis=1)
            counts = [costs.book.mean(c, row.node)[0] for c in COUNTS]
            if high or any(counts):
                rows.append([row.node, row.role or row.kind, *map(number, counts), _unit((float(low), float(high)))])
        totals = [number(costs.book.mean(c)[0]) for c in COUNTS]
        rows.append(["total", "", *totals, _unit(report.mean_pj)])
        lines += columns(["node", "role", *COUNTS, "energy"], rows)
        bound = "at least " if report.lower_bound else ""
        lines.append(f"dynamic: {bound}{_unit(report.mean_pj)} ± {_unit(report.sd_pj)} (sd over decisions)")
        lines += [f"left out, not published: {m}" for m in report.missing]
        lines.append("")
    lines += columns(
        ["dense decision transformer", "", "macs", "compute", "memory", "total"],
        [[t.name, "", number(t.macs), *map(_unit, (t.compute_pj, t.memory_pj, t.total_pj))] for t in twins],
    )
    return [*lines, *dict.fromkeys(f"dense: {t.note}" for t in twins), ""]


def _unit(pair: tuple[float, float] | None) -> str:
    from neuroaccel.ledger.table import picojoules

    return picojoules(pair)
