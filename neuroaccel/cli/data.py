"""``neuroaccel data``: which event data there is, making it, looking at it, and the room that it takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroaccel.cli.data_inspect import inspect
from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.options import Json, Split
from neuroaccel.cli.output import emit, progress, results_only, table
from neuroaccel.errors import InputError

if TYPE_CHECKING:
    from neuroaccel.datasets.cache import Listed

app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set, as `data list` prints it.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="DIR",
        help="Where the files of a downloaded set are, or shall be. Default: in the cache.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of a generated set.")]
DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0}


def group(context: typer.Context) -> None:
    """List event data sets, make them ready, look at them and at recordings, and clear the cache.

    The cache is the folder NEUROACCEL_CACHE, by default ~/.cache/neuroaccel; NEUROACCEL_CACHE_LIMIT, such as 20G, has
    the least recently used sets removed.

    Examples:
        neuroaccel data list
        neuroaccel data prepare saccade-digits
        neuroaccel data show saccade-digits --png digits.png --gif digits.gif
        neuroaccel data inspect recording.aedat4
        neuroaccel data clear --older-than 30d
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def list_sets(folder: Folder = None, json: Json = False) -> None:
    """List the data sets: what each is, whether it is generated or downloaded, and what of it is here.

    Examples:
        neuroaccel data list
        neuroaccel data list --folder ~/data --json
    """
    from neuroaccel.datasets import registry
    from neuroaccel.datasets.cache import cache_dir, entries, size_limit

    stored = _by_set(entries())
    sets: list[dict[str, Any]] = []
    for name in registry.names():
        about = registry.describe(name)
        mine = stored.pop(name, [])
        sets.append(
            {
                "name": name,
                "title": about.title,
                "classes": len(about.classes),
                "sensor_size": list(about.sensor_size),
                "splits": list(about.splits),
                "kind": "built-in" if about.generated else "download",
                "files_there": None if about.generated else _files_there(name, folder),
                "cached_entries": len(mine),
                "cached_bytes": sum(entry.bytes for entry in mine),
                "source": about.source,
                "licence": about.licence,
            }
        )
    others = [entry for rest in stored.values() for entry in rest]
    total = sum(row["cached_bytes"] for row in sets) + sum(entry.bytes for entry in others)
    data: dict[str, Any] = {
        "sets": sets,
        "cache": str(cache_dir()),
        "cached_bytes": total,
        "other_cached_bytes": sum(entry.bytes for entry in others),
        "limit_bytes": size_limit(),
    }
    head = ("set", "from", "sensor", "here", "cached", "what it is")
    rows = [
        (
            s["name"],
            s["kind"],
            _sensor(s["sensor_size"]),
            _here(s),
            _size(s["cached_bytes"]),
            s["title"].partition(";")[0],
        )
        for s in sets
    ]
    limit = "" if data["limit_bytes"] is None else f" of {_size(data['limit_bytes'])} allowed"
    emit(data, f"{table(head, rows)}\n\n{cache_dir()}: {_size(total)}{limit}", json)


def prepare(
    name: Name,
    folder: Folder = None,
    split: Annotated[
        Split | None, typer.Option("--split", help="Only this split. Default: all.", show_default=False)
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Generate, or download and decode, a data set into the cache, so that training starts at once.

    Examples:
        neuroaccel data prepare saccade-digits
        neuroaccel data prepare shd --folder ~/data
        neuroaccel data prepare shd --split test
    """
    import numpy as np

    from neuroaccel.datasets import registry
    from neuroaccel.datasets.cache import entries

    about = registry.describe(name)
    chosen = about.splits if split is None else (split.value,)
    made = {}
    for one in chosen:
        with results_only(), progress(f"{name}, {one}") as report:
            recordings = registry.load(name, one, seed=seed, progress=report, folder=folder)
        events = np.diff(recordings.start)
        made[one] = {
            "recordings": len(recordings),
            "events": int(events.sum()),
            "empty": int((events == 0).sum()),
            "classes": len(np.unique(recordings.labels)),
            "longest_s": recordings.duration_us * 1e-6,
        }
    size = sum(entry.bytes for entry in _by_set(entries()).get(name, []))
    head = ("split", "recordings", "events", "classes", "longest")
    rows = [
        (one, f"{m['recordings']:,}", f"{m['events']:,}", str(m["classes"]), f"{m['longest_s']:.2f} s")
        for one, m in made.items()
    ]
    text = f"{table(head, rows)}\n\n{name}: {_size(size)} in the cache"
    emit({"name": name, "splits": made, "cached_bytes": size}, text, json)


def clear(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this data set. Default: all.", show_default=False)
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="TIME", help="Only what was not used for so long: 12h, 30d, 4w.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Remove decoded and generated data from the cache; downloads stay, and so does what a process is using.

    Examples:
        neuroaccel data clear saccade-digits
        neuroaccel data clear --older-than 30d
        neuroaccel data clear
    """
    import time

    from neuroaccel.datasets import cache, registry

    if name is not None:
        registry.describe(name)
    days = _days(older_than)
    found = cache.entries() if name is None else _by_set(cache.entries()).get(name, [])
    if days is not None:
        found = [entry for entry in found if entry.last_used < time.time() - days * 86_400]
    gone: list[Listed] = []
    kept: list[Listed] = []
    for entry in found:
        (gone if cache.remove(entry) else kept).append(entry)
    rest = cache.sweep() if name is None else 0
    freed = sum(entry.bytes for entry in gone) + rest
    data = {
        "removed": [entry.path.name for entry in gone],
        "in_use": [entry.path.name for entry in kept],
        "freed_bytes": freed,
        "left_over_bytes": rest,
    }
    lines = [f"{entry.path.name}: {_size(entry.bytes)} freed" for entry in gone]
    lines += [f"{entry.path.name}: in use by a process, left as it is" for entry in kept]
    lines += [f"left over from interrupted runs: {_size(rest)} freed"] if rest else []
    emit(data, "\n".join([*lines, f"{_size(freed)} freed in {cache.cache_dir()}"]), json)


def show(
    name: Name,
    png: Annotated[
        Path | None,
        typer.Option("--png", metavar="FILE", help="Draw rasters and frames, as two pictures.", show_default=False),
    ] = None,
    gif: Annotated[
        Path | None, typer.Option("--gif", metavar="FILE", help="Animate the frames.", show_default=False)
    ] = None,
    split: Annotated[Split, typer.Option("--split", help="Which split.")] = Split.train,
    samples: Annotated[int, typer.Option("--samples", min=1, max=16, help="How many recordings.")] = 6,
    first: Annotated[int, typer.Option("--first", min=0, help="The first recording.")] = 0,
    ticks: Annotated[int, typer.Option("--ticks", min=1, help="Frames to draw.")] = 24,
    folder: Folder = None,
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    json: Json = False,
) -> None:
    """Say what a data set is and, with --png or --gif, draw some of its recordings.

    --png FILE.png writes the rasters to FILE.png and the frames to FILE-frames.png.

    Examples:
        neuroaccel data show saccade-digits
        neuroaccel data show saccade-digits --png digits.png --gif digits.gif
        neuroaccel data show shd --folder ~/data --split test --png shd.png
    """
    from neuroaccel.datasets import registry

    about = registry.describe(name)
    data: dict[str, Any] = {
        "name": name,
        "title": about.title,
        "classes": list(about.classes),
        "sensor_size": list(about.sensor_size),
        "splits": list(about.splits),
        "generated": about.generated,
        "source": about.source,
        "licence": about.licence,
        "files": [],
    }
    targets = _targets(png, gif, overwrite)
    if targets:
        with results_only(), progress(f"{name}, {split.value}") as report:
            recordings = registry.load(name, split.value, seed=seed, progress=report, folder=folder)
        if first >= len(recordings):
            raise InputError(f"--first is {first}; the {split.value} split has {len(recordings)} recordings")
        data["files"] = _drawn(recordings, range(first, min(first + samples, len(recordings))), ticks, targets)
    lines = [
        f"{name}: {about.title}",
        f"  sensor   {_sensor(about.sensor_size)}",
        f"  classes  {len(about.classes)}: {', '.join(about.classes)}",
        f"  splits   {', '.join(about.splits)}",
        f"  from     {about.source}{'' if about.generated else ' (to be downloaded)'}",
        f"  licence  {about.licence}",
        *data["files"],
    ]
    emit(data, "\n".join(lines), json)


def _targets(png: Path | None, gif: Path | None, overwrite: bool) -> dict[str, Path]:
    """The files to write, refused before any work is done."""
    targets = {} if png is None else {"rasters": png, "frames": png.with_name(f"{png.stem}-frames{png.suffix}")}
    targets |= {} if gif is None else {"animation": gif}
    for path in targets.values():
        if not path.parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.parent}")
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists already; give another name, or --overwrite to replace it")
    return targets


def _drawn(recordings: Any, chosen: range, ticks: int, targets: dict[str, Path]) -> list[str]:
    from neuroaccel.datasets import pictures
    from neuroaccel.datasets.frames import TimeBins
    from neuroaccel.graph.file import write_atomic

    packed = recordings.packed(chosen)
    titles = [_label(recordings, sample) for sample in chosen]
    longest_us = max(int(recordings.durations_us[list(chosen)].max()), 1)
    x, _ = TimeBins(ticks, -(-longest_us // ticks) * 1e-6, "count").frames(packed)
    draw = {
        "rasters": lambda: pictures.rasters(packed, titles),
        "frames": lambda: pictures.frames(x, titles),
        "animation": lambda: pictures.animation(x),
    }
    return [str(write_atomic(path, draw[what]())) for what, path in targets.items()]


def _label(recordings: Any, sample: int) -> str:
    label = int(recordings.labels[sample])
    return recordings.classes[label] if label < len(recordings.classes) else f"class {label}"


def _by_set(found: list[Listed]) -> dict[str, list[Listed]]:
    """Entries by the data set whose name theirs begins with; by their own name where there is none."""
    from neuroaccel.datasets import registry

    names = sorted(registry.names(), key=len, reverse=True)
    sorted_in: dict[str, list[Listed]] = {}
    for entry in found:
        owner = next((name for name in names if entry.name == name or entry.name.startswith(f"{name}-")), entry.name)
        sorted_in.setdefault(owner, []).append(entry)
    return sorted_in


def _files_there(name: str, folder: Path | None) -> list[str]:
    import neuroaccel.datasets.tonic_sets as tonic_sets

    return [split for split, there in tonic_sets.available(name, folder).items() if there]


def _here(row: dict[str, Any]) -> str:
    if row["kind"] == "built-in":
        return "yes" if row["cached_entries"] else "made on first use"
    there = row["files_there"]
    if not there:
        return "cached" if row["cached_entries"] else "to be downloaded"
    return "yes" if len(there) == len(row["splits"]) else ", ".join(there)


def _days(text: str | None) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip())
    if not found:
        raise InputError(f"--older-than is {text!r}; expected a time such as 12h, 30d or 4w")
    return float(found[1]) * DAYS[found[2]]


def _sensor(size: Any) -> str:
    width, height, polarities = size
    return f"{width} channels" if height == 1 else f"{width}×{height}×{polarities}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


app.callback(invoke_without_command=True, help=help_of(group))(group)
app.command("list", help=help_of(list_sets))(list_sets)
app.command("prepare", help=help_of(prepare))(prepare)
app.command("clear", help=help_of(clear))(clear)
app.command("show", help=help_of(show))(show)
app.command("inspect", help=help_of(inspect))(inspect)
