"""``neuroaccel run``: a recording played through a network, watched live."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.inputs import open_model, recorded
from neuroaccel.cli.options import RUNS, Json, Runs
from neuroaccel.cli.output import emit, results_only
from neuroaccel.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from neuroaccel.engine import EventStream
    from neuroaccel.engine.streams import Report
    from neuroaccel.graph import Graph
    from neuroaccel.ledger import Profile

PROFILE = "cmos45"
REFRESH = 0.25  # seconds between two pictures
SLICE = 0.05  # seconds of a recording that are played at once in real time
AT_ONCE = 64  # ticks that are played at once otherwise, at least


def register(app: typer.Typer) -> None:
    app.command("run", help=help_of(run))(run)


def run(
    what: Annotated[str, typer.Argument(metavar="MODEL", help="A run's name or folder, or a model file.")],
    recording: Annotated[
        Path,
        typer.Argument(
            metavar="RECORDING",
            help="Events in time, of any format that `data inspect` reads, or binned ones (EventStream.save).",
        ),
    ],
    ticks_per_second: Annotated[
        float | None,
        typer.Option(
            "--ticks-per-second", help="Ticks for events in time, where the network has no dt.", show_default=False
        ),
    ] = None,
    dt_ms: Annotated[
        float | None,
        typer.Option("--dt-ms", help="The same, as the length of a tick in milliseconds.", show_default=False),
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Play no faster than the recording's clock.")] = False,
    repeat: Annotated[
        int, typer.Option("--repeat", min=0, help="How many times to play it; 0: until Ctrl-C. The state goes on.")
    ] = 1,
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME|FILE", help="Hardware profile that energy is charged under.")
    ] = PROFILE,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Play a recording through a network, event by event, and watch it.

    On a terminal it shows, live, how fast the ticks go and how that compares with the recording's own clock, the events
    that enter, the spikes of each layer, the synaptic events, the energy so far and the decision so far. Ctrl-C ends
    it with the summary of what was played. Energy is what the counted operations cost under the profile.

    Examples:
        neuroaccel run saccade-digits events.npz
        neuroaccel run model.safetensors events.npz --realtime --profile loihi1-davies2018
        neuroaccel run model.safetensors recording.aedat4 --dt-ms 1 --repeat 0
        neuroaccel run model.safetensors events.npz --json
    """
    from neuroaccel import engine
    from neuroaccel.engine.streams import play
    from neuroaccel.ledger import load_profile

    constants = load_profile(profile)
    model = open_model(what, runs)
    stream = recorded(model.graph, recording, _tick(ticks_per_second, dt_ms))
    session = engine.open(model.graph)
    each = max(1, round(SLICE / stream.dt)) if realtime else max(AT_ONCE, session.block)
    tally = Tally(model.graph, stream, constants)
    interrupted = False
    with results_only(), _live(f"{model.name}, {recording.name}") as show:
        try:
            for report in play(session, _times(stream, repeat), each):
                tally.add(report)
                if realtime:
                    tally.wait()
                show(tally)
        except KeyboardInterrupt:
            interrupted = True
    data = {"run": model.name, "recording": str(recording), **tally.to_json(), "interrupted": interrupted}
    lines = [f"{model.name}, {recording}{', interrupted' if interrupted else ''}:"]
    lines += [f"  {name:<22}{text}" for name, text in tally.rows()]
    emit(data, "\n".join(lines), json)


def _tick(ticks_per_second: float | None, dt_ms: float | None) -> float | None:
    """The length of a tick that was asked for, in seconds."""
    if ticks_per_second is not None and dt_ms is not None:
        raise InputError("--ticks-per-second and --dt-ms say the same; give one of them")
    for name, value in (("--ticks-per-second", ticks_per_second), ("--dt-ms", dt_ms)):
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{name} is {value}, expected a positive number")
    if ticks_per_second is not None:
        return 1 / ticks_per_second
    return None if dt_ms is None else dt_ms / 1e3


def _times(stream: EventStream, repeat: int) -> Iterator[EventStream]:
    played = 0
    while not repeat or played < repeat:
        yield stream
        played += 1


@dataclass(eq=False)
class Tally:
    """What was played so far.

    Arguments:
        graph: the network.
        stream: the recording.
        profile: constants for the energy.
    """

    graph: Graph
    stream: EventStream
    profile: Profile
    ticks: int = 0
    seconds: float = 0.0
    input_events: int = 0
    counts: dict[str, dict[str, NDArray[np.int64]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from neuroaccel.graph import Readout
        from neuroaccel.verify.decisions import deciding_output

        self.output = deciding_output(self.graph)
        self.running = any(isinstance(self.graph.nodes[e.source], Readout) for e in self.graph.into(self.output))
        self.final: NDArray[Any] = np.zeros(0)
        self.began = time.perf_counter()

    def add(self, report: Report) -> None:
        """Take in what some more ticks did."""
        self.ticks += report.ticks
        self.seconds += report.seconds
        self.input_events += report.input_events
        for name, columns in report.counts.items():
            mine = self.counts.setdefault(name, {})
            for column, count in columns.items():
                mine[column] = mine[column] + count if column in mine else count
        found = report.outputs[self.output]
        assert not isinstance(found, list)
        if self.running:  # its last value is the decision; elsewhere all that came is added up
            found = found.slice(found.ticks - 1, found.ticks)
        value = np.ones(len(found)) if found.value is None else found.value.astype(np.float64)
        new = np.bincount(found.index, value, minlength=int(np.prod(found.shape)))
        self.final = new if self.running or not self.final.size else self.final + new

    def wait(self) -> None:
        """Until the recording's clock has come to where it was played to."""
        ahead = self.began + self.ticks * self.stream.dt - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)

    def to_json(self) -> dict[str, Any]:
        """Everything, for a machine; without a tick, what would be divided by its time is null."""
        from neuroaccel.ledger import energy
        from neuroaccel.ledger.assemble import assemble

        length = self.ticks * self.stream.dt
        seconds = self.seconds or float("nan")
        data: dict[str, Any] = {
            "ticks": self.ticks,
            "dt": self.stream.dt,
            "recording_seconds": length,
            "seconds": self.seconds,
            "wall_seconds": time.perf_counter() - self.began,
            "real_time_factor": length / seconds,
            "ticks_per_second": self.ticks / seconds,
            "input_events": self.input_events,
            "input_events_per_second": self.input_events / seconds,
            "spikes": {},
            "synaptic_events": 0,
            "macs": 0,
            "energy_pj": {},
            "decision": None,
        }
        if self.ticks:
            book = assemble(self.graph, self.counts, ticks=self.ticks)
            charged = energy(book, self.profile)
            data |= {c: int(book.total(c)[0]) for c in ("synaptic_events", "macs")}
            data["spikes"] = {name: int(c["spikes"][0]) for name, c in self.counts.items() if "spikes" in c}
            data["energy_pj"] = {
                self.profile.name: {"mean_pj": list(charged.mean_pj), "lower_bound": charged.lower_bound}
            }
            index = int(self.final.argmax())
            data["decision"] = {"output": self.output, "index": index, "value": float(self.final[index])}
        data["synaptic_events_per_second"] = (data["synaptic_events"] + data["macs"]) / seconds
        return data

    def rows(self) -> list[tuple[str, str]]:
        """Everything, for people: a name and a text each."""
        d = self.to_json()
        if not self.ticks:
            return [("ticks", "0")]
        operations = d["synaptic_events"] + d["macs"]
        rows = [
            ("ticks", f"{self.ticks:,} of {self.stream.dt * 1e3:g} ms, {d['ticks_per_second']:,.0f} /s"),
            ("real-time factor", f"{d['real_time_factor']:,.1f} ({d['recording_seconds']:,.2f} s of the recording)"),
            ("input events", f"{self.input_events:,}, {d['input_events_per_second']:,.0f} /s"),
        ]
        for name, count in d["spikes"].items():
            rows.append((f"spikes {name}", f"{count:,}, {count / self.ticks:,.1f} /tick"))
        rows.append(("synaptic events", f"{operations:,}, {d['synaptic_events_per_second']:,.0f} /s"))
        for name, charged in d["energy_pj"].items():
            low, high = (value / 1e6 for value in charged["mean_pj"])
            figure = f"{low:,.3f} µJ" if low == high else f"{low:,.3f} to {high:,.3f} µJ"
            rows.append((f"energy {name}", f"{figure}{', at least' if charged['lower_bound'] else ''}"))
        rows.append(("decision", f"{d['decision']['index']} (value {d['decision']['value']:g} of '{self.output}')"))
        return rows


@contextlib.contextmanager
def _live(title: str) -> Iterator[Callable[[Tally], None]]:
    """A table on standard error that is drawn anew a few times a second, on a terminal only.

    Returns:
        A function to call with the tally whenever there is news.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda tally: None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        drawn = 0.0

        def show(tally: Tally) -> None:
            nonlocal drawn
            if time.perf_counter() - drawn >= REFRESH:
                live.update(_table(title, tally), refresh=True)
                drawn = time.perf_counter()

        yield show


def _table(title: str, tally: Tally) -> Table:
    from rich.table import Table

    table = Table(title=f"{title} (Ctrl-C ends)", show_header=False, title_justify="left")
    for name, text in tally.rows():
        table.add_row(name, text)
    return table
