"""Pictures of a recording: one PNG with its frames and rates, and an animated GIF; drawn without a display."""

from __future__ import annotations

import io
import itertools

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.events import Events
from neuroaccel.errors import EventsError

BRIGHTER, DARKER, BACKGROUND = (214, 39, 40), (31, 119, 180), (255, 255, 255)
FRAMES = 60
PIXELS = 320  # an animation's longer side, at least; small sensors are enlarged by whole numbers


def picture(events: Events, title: str) -> bytes:
    """Draw a recording: all events, four moments, events per time, events per pixel.

    Arguments:
        events: the recording.
        title: line above the picture.

    Returns:
        PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(2, 4)
    data = events.data
    t = data["t"]
    start, span = (int(t[0]), max(int(t[-1] - t[0]), 1)) if len(t) else (0, 1)
    width_us = min(span, 20_000)
    for axis, share in zip(axes[0], (0.05, 0.35, 0.65, 0.95), strict=True):
        middle = start + int(share * span)
        part = slice(*np.searchsorted(t, (middle - width_us // 2, middle + width_us // 2 + 1)))
        axis.imshow(_painted(events, part), interpolation="nearest")
        axis.set_title(f"{width_us / 1e3:g} ms at {(middle - start) / 1e6:.3f} s", fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
    grid = axes[1, 0].get_gridspec()
    for axis in axes[1]:
        axis.remove()
    rate = figure.add_subplot(grid[1, :2])
    bins = np.linspace(0, span / 1e6, 101)
    for polarity, colour, name in ((True, BRIGHTER, "brighter"), (False, DARKER, "darker")):
        held, _ = np.histogram((t[data["p"] == polarity] - start) / 1e6, bins)
        shade = tuple(c / 255 for c in colour)
        rate.stairs(held / np.diff(bins) / 1e3, bins, color=shade, label=name)
    rate.set_xlabel("time / s")
    rate.set_ylabel("1000 events / s")
    rate.legend(frameon=False, fontsize=8)
    width, height, _ = events.sensor_size
    count = np.bincount(data["y"].astype(np.int64) * width + data["x"], minlength=width * height)
    shown = figure.add_subplot(grid[1, 2])
    drawn = shown.imshow(np.log10(1 + count.reshape(height, width)), cmap="magma", interpolation="nearest")
    figure.colorbar(drawn, ax=shown, label="log₁₀ (1 + events)", shrink=0.7)
    ranks = figure.add_subplot(grid[1, 3])
    sorted_counts = np.sort(count[count > 0])[::-1]
    ranks.loglog(np.arange(1, len(sorted_counts) + 1), np.maximum(sorted_counts, 1), color="black")
    ranks.set_xlabel("pixel, by rank")
    ranks.set_ylabel("events")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def animation(events: Events, frames: int = FRAMES, seconds: float = 4.0) -> bytes:
    """Draw a recording as an animation, brighter red and darker blue.

    Arguments:
        events: the recording.
        frames: how many equal parts of its time are shown.
        seconds: how long the animation lasts.

    Returns:
        GIF, repeated without end.

    Raises:
        EventsError: a number of frames or seconds that is not positive.
    """
    if frames < 1 or seconds <= 0:
        raise EventsError(f"an animation of {frames} frames in {seconds} s; expected positive numbers")
    from PIL import Image

    t = events.data["t"]
    start, end = (int(t[0]), int(t[-1]) + 1) if len(t) else (0, 1)
    edges = start + (end - start) * np.arange(frames + 1) // frames
    places = np.searchsorted(t, edges)
    factor = max(1, PIXELS // max(events.sensor_size[:2]))
    colours = Image.new("P", (1, 1))
    colours.putpalette([*BACKGROUND, *BRIGHTER, *DARKER])
    pictures = []
    for first, last in itertools.pairwise(places):
        painted = _painted(events, slice(int(first), int(last))).repeat(factor, axis=0).repeat(factor, axis=1)
        pictures.append(Image.fromarray(painted).quantize(palette=colours, dither=Image.Dither.NONE))
    content = io.BytesIO()
    duration = max(
        20, round(seconds * 1000 / frames / 10) * 10
    )  # a GIF counts in 10 ms, and viewers slow down below 20
    pictures[0].save(
        content, format="GIF", save_all=True, append_images=pictures[1:], duration=duration, loop=0, optimize=False
    )
    return content.getvalue()


def _painted(events: Events, part: slice) -> NDArray[np.uint8]:
    """A picture of some events, ``[H, W, 3]``: each pixel in its last event's colour."""
    width, height, _ = events.sensor_size
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    data = events.data[part]
    image[data["y"], data["x"]] = np.where(data["p"][:, None], BRIGHTER, DARKER).astype(np.uint8)
    return image
