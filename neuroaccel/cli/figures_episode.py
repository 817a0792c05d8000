"""An episode as a moving picture: every frame of the environment beside the spikes of the decisions up to it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import InputError

HEIGHT, RASTER, GAP, LINE = 240, 320, 8, 12  # pixels: of the picture, of the raster's width, between both, of text
COLOURS = 64
PICTURES = 300  # of longer episodes only every k-th decision has a picture; all spikes are in the raster
LIMIT = 5_000_000  # bytes: what pages that show pictures accept
WHITE, NOW, LINES, BLACK = 255, 236, 225, 20

Grey = NDArray[np.uint8]


def episode(
    frames: NDArray[np.uint8],
    spikes: Mapping[str, NDArray[Any]],
    title: str,
    *,
    captions: Sequence[str] | None = None,
    fps: float = 15.0,
    statement: str = "",
) -> bytes:
    """Frames and raster of an episode as a GIF that repeats; equal arguments give equal bytes.

    The raster's columns are micro-steps, the newest decision's on the right; its rows are neurons, of which several
    share a row where a layer has more neurons than pixels.

    Arguments:
        frames: ``[n, H, W, 3]``, what each decision was taken on.
        spikes: layer → ``[n, neurons]`` or ``[n, T, neurons]``; what is not 0 is a spike, or several.
        title: line above the raster.
        captions: a line for every decision, such as its reward; without them the decision's spikes.
        fps: decisions a second.
        statement: what stands in the raster's place where ``spikes`` is empty, such as that a model has none.

    Returns:
        The GIF, below 5 MB: of long or restless episodes fewer pictures are kept, and the time is too.

    Raises:
        InputError: frames that are no pictures, another number of decisions in a layer, or neither spikes nor a
            statement.
    """
    pictures = np.asarray(frames)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3 or 0 in pictures.shape:
        raise InputError(f"an episode's frames are uint8 [n, H, W, 3], found {pictures.dtype} {list(pictures.shape)}")
    count = len(pictures)
    layers = {name: _layer(name, values, count) for name, values in spikes.items()}
    if not layers and not statement:
        raise InputError("an episode's raster needs the spikes of at least one layer")
    if captions is not None and len(captions) != count:
        raise InputError(f"{len(captions)} captions for {count} decisions")
    if not fps > 0:
        raise InputError(f"an episode of {fps} decisions a second")
    if captions is None and not layers:
        captions = [f"decision {at + 1} of {count}" for at in range(count)]
    if captions is None:
        totals = sum(np.asarray(np.asarray(s).reshape(count, -1).sum(1), np.float64) for s in spikes.values())
        captions = [f"decision {at + 1} of {count}, spikes {int(n)}" for at, n in enumerate(np.asarray(totals))]
    every = -(-count // PICTURES)
    while True:
        content = _gif(pictures, layers, (title, statement), captions, every, fps)
        if len(content) < LIMIT or every >= count:
            return content
        every *= 2


def shrunk(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame ``[H, W, 3]`` as high as it is shown, so that an episode of them needs less memory."""
    from PIL import Image

    picture = Image.fromarray(frame)
    width = max(1, round(picture.width * HEIGHT / picture.height))
    return np.asarray(picture.resize((width, HEIGHT), Image.Resampling.BOX))


def _layer(name: str, values: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Where there are spikes: ``[n, T, neurons]``."""
    found = np.asarray(values)
    if found.ndim not in (2, 3) or len(found) != count or 0 in found.shape:
        raise InputError(
            f"layer '{name}': spikes of shape {list(found.shape)}, expected [{count}, neurons] or [{count}, T, neurons]"
        )
    spiked: NDArray[np.bool_] = (found if found.ndim == 3 else found[:, None]) != 0
    return spiked


def _gif(
    frames: NDArray[np.uint8],
    layers: Mapping[str, NDArray[np.bool_]],
    words: tuple[str, str],
    captions: Sequence[str],
    every: int,
    fps: float,
) -> bytes:
    from PIL import Image

    shown = range(0, len(frames), every)
    drawn = [_picture(frames, layers, words, captions, at) for at in shown]
    # One palette for all, from pictures all over the episode: colours do not flicker, and differences stay small.
    sample = drawn[:: max(1, len(drawn) // 8)]
    mosaic = Image.fromarray(np.concatenate([np.asarray(picture) for picture in sample]))
    palette = mosaic.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in drawn]
    stay = max(20, 10 * round(100 * every / fps))  # milliseconds; a GIF counts in hundredths, viewers slow down below 2
    content = io.BytesIO()
    indexed[0].save(content, format="GIF", save_all=True, append_images=indexed[1:], duration=stay, loop=0)
    return content.getvalue()


def _picture(
    frames: NDArray[np.uint8],
    layers: Mapping[str, NDArray[np.bool_]],
    words: tuple[str, str],
    captions: Sequence[str],
    at: int,
) -> Any:
    from PIL import Image, ImageDraw

    frame = Image.fromarray(shrunk(frames[at]))
    width = frame.width
    picture = Image.new("RGB", (width + GAP + RASTER + GAP, HEIGHT), (WHITE,) * 3)
    picture.paste(frame, (0, 0))
    text = ImageDraw.Draw(picture)
    title, statement = words
    left, top = width + GAP, 2 * LINE
    text.text((left, 0), title, fill=(BLACK,) * 3)
    text.text((left, LINE), captions[at], fill=(BLACK,) * 3)
    if not layers:
        text.text((left, 2 * top), statement, fill=(110,) * 3)
        return picture
    heights = _heights([values.shape[2] for values in layers.values()], HEIGHT - top - LINE * len(layers))
    for (name, values), height in zip(layers.items(), heights, strict=True):
        text.text((left, top), f"{name}: {values.shape[2]}", fill=(110,) * 3)
        picture.paste(Image.fromarray(_band(values, at, height)).convert("RGB"), (left, top + LINE))
        top += LINE + height
    return picture


def _heights(neurons: Sequence[int], room: int) -> list[int]:
    """Pixels of every layer: what there is, shared by the roots of their sizes, so that small layers can be seen."""
    share = np.sqrt(neurons)
    return [max(2, int(room * part)) for part in share / share.sum()]


def _band(values: NDArray[np.bool_], at: int, height: int) -> Grey:
    """One layer's spikes up to decision ``at``, grey ``[height, RASTER]``; the right end is the newest decision."""
    ticks = values.shape[1]
    cell = max(2, min(RASTER // 4, 2 * ticks + 1))  # pixels of one decision, the line before it included
    cells = RASTER // cell
    band = np.full((height, RASTER), WHITE, dtype=np.uint8)
    for back in range(min(cells, at + 1)):
        right = RASTER - back * cell
        spiked = _fit(_fit(values[at - back].T, height, 0), cell - 1, 1)
        band[:, right - cell] = LINES
        band[:, right - cell + 1 : right] = np.where(spiked, BLACK, WHITE if back else NOW)
    return band


def _fit(values: NDArray[np.bool_], size: int, axis: int) -> NDArray[np.bool_]:
    """An axis stretched to a size, or shortened to it: then a pixel is dark if any of what it stands for is."""
    count = values.shape[axis]
    places = np.arange(size) * count // size
    fit: NDArray[np.bool_] = (np.take if count <= size else np.logical_or.reduceat)(values, places, axis=axis)
    return fit
