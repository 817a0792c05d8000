"""``neuroaccel data inspect``: what a recording holds, in numbers and in pictures."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroaccel.cli.options import Json
from neuroaccel.cli.output import emit, results_only
from neuroaccel.errors import InputError

if TYPE_CHECKING:
    from neuroaccel.datasets.inspect import Inspection
    from neuroaccel.datasets.readers import Recording


class OnErrorChoice(StrEnum):
    """What to do with events that no sensor can have given."""

    raise_ = "raise"
    drop = "drop"
    clip = "clip"


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording, of any format that is read here.")],
    png: Annotated[
        Path | None, typer.Option("--png", metavar="OUT", help="Draw it to this file.", show_default=False)
    ] = None,
    gif: Annotated[
        Path | None, typer.Option("--gif", metavar="OUT", help="Draw it moving to this file.", show_default=False)
    ] = None,
    on_error: Annotated[
        OnErrorChoice, typer.Option("--on-error", help="What to do with damage: refuse the file, or repair it.")
    ] = OnErrorChoice.raise_,
    sensor: Annotated[
        str | None,
        typer.Option("--sensor", metavar="WxH", help="The sensor's size, where the file lacks it.", show_default=False),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", help="Which recording of several (HDF5, .npz), or the columns' order: txyp.", show_default=False
        ),
    ] = None,
    time_unit: Annotated[
        str | None,
        typer.Option("--time-unit", help="s, ms, us or ns, where the file lacks it.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Show what a recording of an event camera holds.

    Formats: AEDAT4, Prophesee RAW (EVT2, EVT2.1, EVT3) and DAT, HDF5, .npy, .npz, CSV. A damaged file is refused with
    the place of the damage; --on-error drop leaves wrong events out, clip moves them to the nearest right value, and
    both say how many.

    Examples:
        neuroaccel data inspect recording.aedat4
        neuroaccel data inspect recording.raw --png recording.png --gif recording.gif
        neuroaccel data inspect broken.raw --on-error drop --json
        neuroaccel data inspect shd_test.h5 --key 12
    """
    from neuroaccel.datasets.inspect import inspect_events
    from neuroaccel.datasets.readers import open_recording

    for out, suffix in ((png, "PNG"), (gif, "GIF")):
        if out is not None and not out.parent.is_dir():
            raise InputError(f"{out}: there is no folder {out.parent} to write the {suffix} into")
    with results_only():
        recording = open_recording(
            file, sensor_size=_size(sensor), on_error=on_error.value, key=_key(key), time_unit=time_unit
        )
        found = inspect_events(recording.events)
        drawn = _draw(recording, png, gif)
        frames, imu = recording.frame_count, recording.imu_count
    about = {name: value for name, value in recording.metadata.items() if name != "header"}
    data: dict[str, Any] = {
        "file": str(file),
        "format": recording.format,
        **found.to_json(),
        "frames": frames,
        "imu": imu,
        "repairs": recording.repairs.counts(),
        "removed": recording.repairs.removed,
        "metadata": about,
        "pictures": drawn,
    }
    lines = [f"{file}: {recording.format}"]
    rows = _rows(recording, found, frames, imu)
    lines += [f"  {name:<20}{text}" for name, text in rows]
    emit(data, "\n".join(lines + drawn), json)


def _draw(recording: Recording, png: Path | None, gif: Path | None) -> list[str]:
    from neuroaccel.datasets.picture_recording import animation, picture
    from neuroaccel.graph.file import write_atomic

    drawn = []
    if png is not None:
        drawn.append(str(write_atomic(png, picture(recording.events, recording.path.name))))
    if gif is not None:
        drawn.append(str(write_atomic(gif, animation(recording.events))))
    return drawn


def _rows(recording: Recording, found: Inspection, frames: int, imu: int) -> list[tuple[str, str]]:
    """Everything for people: a name and a text each."""
    width, height, polarities = found.sensor_size
    assumed = " (just large enough for the events)" if recording.metadata.get("sensor_size_from") == "events" else ""
    rows = [
        ("camera", recording.camera or "not stated"),
        ("sensor", f"{width} x {height}, {polarities} polarit{'ies' if polarities == 2 else 'y'}{assumed}"),
        ("events", f"{found.events:,}"),
        ("span", f"{found.span_us / 1e6:,.6f} s, time in {recording.metadata.get('time_unit', 'us')} in the file"),
        ("rate", f"{_number(found.rate)} events/s, at most {_number(found.peak_rate)} in 10 ms"),
        ("brighter", _share(found.brighter)),
        ("pixels with events", f"{_share(found.active)}, dead {_share(found.dead)}"),
        ("hot pixels", f"{found.hot:,} with {_share(found.hot_share)} of the events{_named(found)}"),
        ("between events", _interval(found.interval_us)),
        ("the same, per pixel", _interval(found.pixel_interval_us)),
    ]
    if recording.source.frames is not None or recording.source.imu is not None:
        rows += [("frames", f"{frames:,}"), ("motion samples", f"{imu:,}")]
    rows.append(("repairs", str(recording.repairs)))
    return rows


def _named(found: Inspection) -> str:
    if not found.hottest:
        return ""
    listed = ", ".join(f"({x}, {y}): {count:,}" for x, y, count in found.hottest[:3])
    return f"; first {listed}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "none"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "none"


def _interval(quantiles: tuple[float, float, float]) -> str:
    low, middle, high = quantiles
    if not math.isfinite(middle):
        return "fewer than two events"
    return f"{middle:,.0f} µs (median; 5 % below {low:,.0f}, 5 % above {high:,.0f})"


def _size(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 2**15 and 0 < int(height) <= 2**15):
        raise InputError(f"--sensor is {text!r}; expected WIDTHxHEIGHT, such as 346x260")
    return int(width), int(height), 2


def _key(text: str | None) -> str | int | None:
    return int(text) if text is not None and text.isdecimal() else text
