"""neuroaccel run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroaccel import engine
from neuroaccel.datasets import Events
from neuroaccel.engine import EventStream
from neuroaccel.graph import Conv2d, Flatten, Graph, Input, Linear, Output, WeightGrid, chain, load_graph, save_graph
from neuroaccel.ledger import count_with_engine, energy
from neuroaccel.program import IF, LIF
from tests.cli.calling import assert_refused, call, stream
from tests.graphs.parts import neuron, weights


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A recording of three reports: a small network runs 256 ticks at once."""
    return stream(ticks=600).save(tmp_path / "long.npz")


def test_its_json_is_what_the_engine_and_the_ledger_say(model: Path, long: Path) -> None:
    said = call("run", model, long, "--json").json
    graph, recording = load_graph(model), EventStream.load(long)
    result = engine.run(graph, recording)
    book, _ = count_with_engine(graph, [recording])
    final = result.trace.outputs["y"][-1, 0]
    assert final.max() > 0
    expected: dict[str, Any] = {
        "run": str(model),
        "recording": str(long),
        "ticks": 600,
        "dt": 0.01,
        "recording_seconds": 6.0,
        "input_events": len(recording),
        "spikes": {"n": int(result.counts["n"]["spikes"][0])},
        "synaptic_events": int(result.counts["w"]["products"][0]),
        "macs": 0,
        "energy_pj": {"cmos45": {"mean_pj": list(energy(book, "cmos45").mean_pj), "lower_bound": False}},
        "decision": {"output": "y", "index": int(final.argmax()), "value": float(final.max())},
        "interrupted": False,
    }
    assert {key: said[key] for key in expected} == expected
    measured = {"seconds", "wall_seconds", "real_time_factor", "ticks_per_second", "input_events_per_second"}
    assert set(said) == {*expected, *measured, "synaptic_events_per_second"}
    assert 0 < said["seconds"] <= said["wall_seconds"]
    assert said["real_time_factor"] == pytest.approx(6.0 / said["seconds"])
    assert said["input_events_per_second"] == pytest.approx(len(recording) / said["seconds"])
    assert said["synaptic_events_per_second"] == pytest.approx(said["synaptic_events"] / said["seconds"])


def test_repeated_it_goes_on_from_its_state(model: Path, long: Path) -> None:
    said = call("run", model, long, "--repeat", "3", "--profile", "loihi1-davies2018", "--json").json
    one = EventStream.load(long).to_dense()
    result = engine.run(load_graph(model), np.concatenate([one] * 3)[:, None])
    assert said["ticks"] == 1800
    assert said["spikes"] == {"n": int(result.counts["n"]["spikes"][0])}
    assert said["decision"]["value"] == float(result.trace.outputs["y"][-1].max())
    assert said["energy_pj"]["loihi1-davies2018"]["lower_bound"] is True


def test_the_text_is_for_people(model: Path, events: Path) -> None:
    done = call("run", model, events)
    assert (done.code, done.err) == (0, "")
    for word in ("ticks", "6 of 10 ms", "real-time factor", "input events", "spikes n", "synaptic events", "µJ"):
        assert word in done.out
    assert "of 'y'" in done.out
    assert "interrupted" not in done.out


def test_on_a_terminal_it_shows_how_it_goes(model: Path, long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("neuroaccel.cli.run.REFRESH", 0.0)
    done = call("run", model, long, "--json")
    assert done.json["ticks"] == 600
    for word in ("Ctrl-C ends", "ticks", "256 of 10 ms", "512 of 10 ms", "spikes n", "cmos45", "decision"):
        assert word in done.err


def test_a_run_by_its_name(runs: Path, tmp_path: Path) -> None:
    (node,) = (n for n in load_graph(runs / "tiny" / "model.safetensors").nodes.values() if isinstance(n, Input))
    graph = load_graph(runs / "tiny" / "model.safetensors")
    assert graph.dt is not None
    path = stream(node.shape, dt=graph.dt, top=node.maximum).save(tmp_path / "fits.npz")
    said = call("run", "tiny", path, "--runs", runs, "--json").json
    assert (said["run"], said["ticks"]) == ("tiny", 6)
    assert len(said["spikes"]) > 1


def raw(path: Path, ticks: int = 20) -> Events:
    """A recording in time, for a sensor of 3 x 3."""
    rng = np.random.default_rng(2)
    t = np.sort(rng.integers(0, ticks * 10_000, 300))
    found = Events.from_arrays(rng.integers(0, 3, 300), rng.integers(0, 3, 300), t, rng.integers(0, 2, 300), (3, 3, 2))
    found.save(path)
    return found


def spiking(dt: float | None) -> Graph:
    """A network without a readout: what it sends most decides."""
    nodes = {
        "x": Input((2, 3, 3)),
        "conv": Conv2d(weights(1, 2, 2, 3, 3), grid=WeightGrid(5), padding=(1, 1)),
        "a": neuron(LIF(0.75, 0.5), 2, 3, 3),
        "flat": Flatten(),
        "w": Linear(weights(2, 3, 18), grid=WeightGrid(5)),
        "b": neuron(IF(0.5), 3),
        "y": Output(),
    }
    return chain(nodes, dt=dt)  # type: ignore[arg-type]


def test_events_in_time_are_binned_as_the_network_s_clock_or_the_user_says(tmp_path: Path) -> None:
    found = raw(tmp_path / "raw.npz")
    timeless, clocked = (save_graph(spiking(dt), tmp_path / f"{dt}.safetensors") for dt in (None, 0.01))
    recording = found.bin(0.01)
    sums = engine.run(spiking(None), recording).trace.outputs["y"].sum(axis=0)[0]
    assert np.unique(sums).size == 3
    said = [
        call("run", timeless, tmp_path / "raw.npz", "--dt-ms", "10", "--json").json,
        call("run", timeless, tmp_path / "raw.npz", "--ticks-per-second", "100", "--json").json,
        call("run", clocked, tmp_path / "raw.npz", "--json").json,
        call("run", clocked, tmp_path / "raw.npz", "--dt-ms", "10", "--json").json,
    ]
    for each in said:
        assert (each["ticks"], each["dt"], each["input_events"]) == (20, 0.01, len(recording))
        assert each["decision"] == {"output": "y", "index": int(sums.argmax()), "value": float(sums.max())}
    other = call("run", timeless, tmp_path / "raw.npz", "--dt-ms", "5", "--json").json
    assert (other["ticks"], other["dt"]) == (40, 0.005)


def test_real_time_waits_for_the_recording_s_clock(model: Path, long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only sleeping moves: 50 ms of the recording at a time, none of them early."""
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("neuroaccel.cli.run.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("neuroaccel.cli.run.time.sleep", sleep)
    said = call("run", model, long, "--realtime", "--json").json
    assert slept == pytest.approx([0.05] * 120)
    assert said["wall_seconds"] == pytest.approx(6.0)


def test_an_interrupt_ends_with_the_summary_of_whole_reports(
    model: Path, long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neuroaccel.engine import streams

    def play(*arguments: Any) -> Iterator[Any]:
        for number, report in enumerate(whole(*arguments)):
            if number == 2:
                raise KeyboardInterrupt
            yield report

    whole = streams.play
    monkeypatch.setattr(streams, "play", play)
    done = call("run", model, long, "--json")
    assert done.code == 0
    assert (done.json["ticks"], done.json["interrupted"]) == (512, True)
    part = engine.run(load_graph(model), EventStream.load(long).slice(0, 512))
    assert done.json["spikes"] == {"n": int(part.counts["n"]["spikes"][0])}
    assert "interrupted" in call("run", model, long).out

    def at_once(*arguments: Any) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(streams, "play", at_once)
    nothing = call("run", model, long, "--json").json
    assert (nothing["ticks"], nothing["decision"], nothing["ticks_per_second"]) == (0, None, None)
    assert call("run", model, long).code == 0


def test_ctrl_c_ends_an_endless_run(model: Path, long: Path) -> None:
    """As from a terminal: once it shows that it plays."""
    command = [sys.executable, "-m", "neuroaccel", "run", str(model), str(long), "--repeat", "0", "--json"]
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "120"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell starts background jobs, such as this test may be a part of, with interrupts ignored; a terminal does not.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, **pipes, env=environment, preexec_fn=heard) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        seen, began = b"", time.monotonic()
        while b"decision" not in seen and time.monotonic() - began < 120:
            seen += os.read(process.stderr.fileno(), 4096)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    said = json.loads(out)
    assert (process.returncode, said["interrupted"]) == (0, True), err
    assert said["ticks"] > 0
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.npz"], ["nowhere.npz", "no such file"]),
        (["own.safetensors"], ["own.safetensors"]),
        (["events.npz", "--dt-ms", "10"], ["binned already"]),
        (["raw.npz", "--dt-ms", "5"], ["0.005 s", "0.01 s"]),
        (["raw.npz", "--dt-ms", "5", "--ticks-per-second", "9"], ["give one of them"]),
        (["raw.npz", "--dt-ms", "-5"], ["--dt-ms", "-5", "positive"]),
        (["raw.npz", "--ticks-per-second", "nan"], ["--ticks-per-second", "positive"]),
        (["events.npz", "--repeat", "-1"], ["--repeat"]),
        (["events.npz", "--profile", "abacus"], ["abacus", "cmos45"]),
        (["other.npz"], ["(2, 4, 4)", "(2, 3, 3)"]),
        (["slow.npz"], ["0.02 s", "0.01 s"]),
        (["counts.npz"], ["binary events"]),
        (["empty.npz"], ["no ticks"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_does_not_fit_is_refused(
    model: Path, events: Path, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    raw(tmp_path / "raw.npz")
    stream((2, 4, 4)).save(tmp_path / "other.npz")
    stream(dt=0.02).save(tmp_path / "slow.npz")
    stream(top=3).save(tmp_path / "counts.npz")
    stream(ticks=0).save(tmp_path / "empty.npz")
    assert_refused(call("run", model, *arguments), *words)


def test_events_in_time_need_a_clock(tmp_path: Path) -> None:
    raw(tmp_path / "raw.npz")
    timeless = save_graph(spiking(None), tmp_path / "timeless.safetensors")
    assert_refused(call("run", timeless, tmp_path / "raw.npz"), "no dt", "--dt-ms")
