"""Pictures of a batch of recordings: rasters, frames, and an animation of the frames."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 9.0  # inches, of a figure
DOTS = 50_000  # of one recording: more hide each other, and take seconds to draw
BAR = 3  # pixels high, below the pictures of an animation
LEAST_SIDE = 160  # pixels of a recording in an animation: small sensors are enlarged to it
BLUE, RED = (0.13, 0.35, 0.75), (0.80, 0.16, 0.16)  # darker and brighter; told apart by the colour-blind too


def rasters(packed: PackedEvents, titles: Sequence[str] = ()) -> bytes:
    """Draw every event of some recordings as a dot, one row of axes per recording: time across, address up.

    Arguments:
        packed: N recordings.
        titles: a line for each.

    Returns:
        A PNG. Of recordings with very many events every k-th is drawn, and the title says so.

    Raises:
        InputError: no recordings.
    """
    figure, axes = _grid(len(packed), 1, 1.4)
    width, height, polarities = packed.sensor_size
    for number, axis in enumerate(axes[:, 0]):
        part = slice(int(packed.start[number]), int(packed.start[number + 1]))
        count = part.stop - part.start
        step = max(1, -(-count // DOTS))
        t_us, address = packed.t_us[part][::step], packed.address[part][::step]
        pixels = width * height
        for polarity, colour in enumerate((BLUE, RED) if polarities == 2 else (BLUE,)):
            chosen = address // pixels == polarity
            axis.scatter(t_us[chosen] * 1e-3, address[chosen] % pixels, s=0.6, color=colour, linewidths=0)
        axis.set_ylim(-0.5, pixels - 0.5)
        axis.set_ylabel("channel" if height == 1 else "pixel", fontsize=7)
        thinned = f", every {step}th drawn" if step > 1 else ""
        axis.set_title(f"{_title(titles, number)}{count:,} events{thinned}", fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
    axes[-1, 0].set_xlabel("time / ms", fontsize=8)
    return _png(figure)


def frames(x: NDArray[Any], titles: Sequence[str] = (), columns: int = 8) -> bytes:
    """Draw frames of a batch, one row per sample and one column per tick: blue polarity 0, red polarity 1.

    Arguments:
        x: ``[T, N, C, H, W]``, C 1 or 2.
        titles: a line for each sample.
        columns: ticks that are drawn at most, evenly spread over T.

    Returns:
        A PNG.

    Raises:
        InputError: nothing to draw, or another shape.
    """
    _check(x)
    ticks = np.unique(np.linspace(0, len(x) - 1, min(columns, len(x))).round().astype(int))
    if x.shape[3] == 1:  # sound: channels against time say more than single rows of pixels
        return _spectra(x, titles)
    figure, axes = _grid(x.shape[1], len(ticks), WIDTH / len(ticks))
    for number in range(x.shape[1]):
        for column, tick in enumerate(ticks):
            axis = axes[number, column]
            axis.imshow(coloured(x[tick, number], _top(x[:, number])), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if number == 0:
                axis.set_title(f"tick {tick}", fontsize=7)
        axes[number, 0].set_ylabel(_title(titles, number).removesuffix(": "), fontsize=7)
    return _png(figure)


def animation(x: NDArray[Any], milliseconds: int = 80) -> bytes:
    """Animate a batch, its samples side by side, one picture per tick, a bar below them for the time gone.

    Arguments:
        x: ``[T, N, C, H, W]``, C 1 or 2.
        milliseconds: how long each tick is shown.

    Returns:
        An animated GIF that repeats.

    Raises:
        InputError: nothing to draw, or another shape.
    """
    from PIL import Image

    _check(x)
    ticks, samples, _, height, width = x.shape
    zoom = max(1, -(-LEAST_SIDE // max(height, width)))
    across = min(samples, max(1, int(np.ceil(np.sqrt(samples * 1.5)))))
    down = -(-samples // across)
    tops = [_top(x[:, number]) for number in range(samples)]
    pictures = []
    for tick in range(ticks):
        sheet = np.ones((down * (height * zoom + 2), across * (width * zoom + 2), 3))
        for number in range(samples):
            picture = np.kron(coloured(x[tick, number], tops[number]), np.ones((zoom, zoom, 1)))
            top, left = number // across * (height * zoom + 2), number % across * (width * zoom + 2)
            sheet[top : top + height * zoom, left : left + width * zoom] = picture
        # A bar that grows with time; without it a tick like the one before it would be no picture of its own.
        sheet = np.concatenate([sheet, np.ones((BAR, sheet.shape[1], 3))])
        sheet[-BAR:, : -(-sheet.shape[1] * (tick + 1) // ticks)] = 0.5
        pictures.append(Image.fromarray((sheet * 255).round().astype(np.uint8)))
    content = io.BytesIO()
    pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    return content.getvalue()


def coloured(frame: NDArray[Any], top: float = 1.0) -> NDArray[np.float64]:
    """Return one frame ``[C, H, W]`` as colours ``[H, W, 3]`` from 0 to 1 on a light ground.

    Arguments:
        frame: a channel per polarity, or one of signed values.
        top: the value with the full colour.
    """
    if len(frame) == 1:
        frame = np.stack([np.maximum(-frame[0], 0), np.maximum(frame[0], 0)])
    share = np.clip(frame.astype(np.float64) / top, 0, 1)
    ground = np.array((0.96, 0.96, 0.96))
    away = (ground - np.array((BLUE, RED)))[:, None, None, :] * share[..., None]
    colours: NDArray[np.float64] = np.clip(ground - away.sum(0), 0, 1)
    return colours


def _spectra(x: NDArray[Any], titles: Sequence[str]) -> bytes:
    figure, axes = _grid(x.shape[1], 1, 1.6)
    for number, axis in enumerate(axes[:, 0]):
        picture = np.abs(x[:, number]).sum(axis=(1, 2)).T
        axis.imshow(picture, aspect="auto", origin="lower", cmap="Greys", interpolation="nearest", vmin=0)
        axis.set_title(_title(titles, number).removesuffix(": "), fontsize=8, loc="left")
        axis.set_ylabel("channel", fontsize=7)
        axis.tick_params(labelsize=7)
    axes[-1, 0].set_xlabel("tick", fontsize=8)
    return _png(figure)


def _check(x: NDArray[Any]) -> None:
    if x.ndim != 5 or x.shape[2] not in (1, 2) or 0 in x.shape:
        raise InputError(f"frames of shape {list(x.shape)}; expected [T, N, C, H, W] with C 1 or 2 and none of them 0")


def _top(x: NDArray[Any]) -> float:
    """The value of the full colour: the largest but for one in a thousand of those that are not 0."""
    some = np.abs(x[x != 0])
    return float(np.quantile(some, 0.999)) if len(some) else 1.0


def _title(titles: Sequence[str], number: int) -> str:
    return f"{titles[number]}: " if number < len(titles) else ""


def _grid(rows: int, columns: int, height: float) -> tuple[Figure, NDArray[Any]]:
    """A figure of axes; a Figure of its own leaves pyplot's global state and backend alone."""
    from matplotlib.figure import Figure

    if rows < 1:
        raise InputError("no recordings to draw; expected at least one")
    figure = Figure(figsize=(WIDTH, 0.6 + height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, np.asarray(axes)


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
