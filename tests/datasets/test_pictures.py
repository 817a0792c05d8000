"""Pictures: that they are of the right kind and size, and that what is in the data is in the picture."""

import io

import numpy as np
import pytest
from PIL import Image

from neuroaccel.datasets import pictures
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.errors import InputError


def opened(content):
    return Image.open(io.BytesIO(content))


def packed(counts, size=(8, 6, 2)):
    rng = np.random.default_rng(0)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    t_us = np.concatenate([np.sort(rng.integers(0, 9000, n)) for n in counts] or [[]]).astype(np.int32)
    return PackedEvents(start, t_us, rng.integers(0, np.prod(size), start[-1]).astype(np.int32), size)


def reddish(content):
    """Number of pixels that are clearly redder than blue, and of those that are clearly bluer."""
    pixels = np.asarray(opened(content).convert("RGB")).astype(int)
    more = pixels[..., 0] - pixels[..., 2]
    return int((more > 40).sum()), int((more < -40).sum())


def test_rasters_show_both_polarities_and_nothing_of_an_empty_recording():
    full, empty = (pictures.rasters(packed([count]), ["a"]) for count in (3000, 0))
    for content in (full, empty):
        assert opened(content).format == "PNG"
    assert min(reddish(full)) > 100
    assert reddish(empty) == (0, 0)
    tall = opened(pictures.rasters(packed([5, 0, 5])))
    assert tall.height > opened(empty).height


def test_a_huge_recording_is_thinned(monkeypatch):
    monkeypatch.setattr(pictures, "DOTS", 10)
    thin = pictures.rasters(packed([3000]))
    monkeypatch.setattr(pictures, "DOTS", 50_000)
    assert sum(reddish(thin)) < sum(reddish(pictures.rasters(packed([3000])))) / 10


@pytest.mark.parametrize("shape", [(5, 3, 2, 6, 8), (1, 1, 1, 4, 4), (40, 2, 1, 1, 70)])
def test_frames_draw_any_sensor(shape):
    x = np.random.default_rng(1).integers(0, 3, shape).astype(np.float32)
    drawn, blank = pictures.frames(x), pictures.frames(np.zeros(shape, np.float32))
    assert opened(drawn).format == opened(blank).format == "PNG"
    assert np.mean(opened(drawn).convert("L")) < np.mean(opened(blank).convert("L")) - 5
    assert pictures.frames(x, ["a", "b", "c"][: shape[1]]) != drawn


def test_animation_has_a_picture_per_tick_and_the_events_in_their_place():
    x = np.zeros((4, 2, 2, 5, 5), np.float32)
    x[1, 0, 1, 2, 3] = 1  # tick 1, first sample, brighter, y 2, x 3
    x[2, 1, 0, 0, 0] = 1
    gif = opened(pictures.animation(x, milliseconds=50))
    assert (gif.format, gif.n_frames, gif.info["loop"], gif.info["duration"]) == ("GIF", 4, 0, 50)
    zoom = -(-pictures.LEAST_SIDE // 5)
    found = {}
    for tick in range(4):
        gif.seek(tick)
        picture = np.asarray(gif.convert("RGB")).astype(float) / 255
        found[tick] = [np.abs(picture - colour).max(-1) < 0.02 for colour in (pictures.BLUE, pictures.RED)]
    assert [[int(mask.sum()) for mask in found[tick]] for tick in range(4)] == [
        [0, 0],
        [0, zoom**2],
        [zoom**2, 0],
        [0, 0],
    ]
    y, left = (int(place.min()) for place in np.nonzero(found[1][1]))
    assert (y, left) == (2 * zoom, 3 * zoom)


def test_still_ticks_stay_in_the_animation():
    assert opened(pictures.animation(np.zeros((7, 1, 2, 3, 3), np.float32))).n_frames == 7


def test_colours_of_a_frame():
    frame = np.array([[[1, 0, 0]], [[0, 2, 0]]], np.float32)
    first, second, ground = pictures.coloured(frame, top=1)[0]
    np.testing.assert_allclose(first, pictures.BLUE, atol=1e-9)
    np.testing.assert_allclose(second, pictures.RED, atol=1e-9)
    np.testing.assert_allclose(ground, 0.96)
    signed = pictures.coloured(np.array([[[-1, 1, 0]]], np.float32))
    np.testing.assert_allclose(signed, pictures.coloured(np.array([[[1, 0, 0]], [[0, 1, 0]]], np.float32)))


@pytest.mark.parametrize("shape", [(0, 1, 2, 3, 3), (3, 0, 2, 3, 3), (2, 1, 3, 3, 3), (2, 2, 3, 3)])
def test_nothing_to_draw_is_refused(shape):
    for draw in (pictures.frames, pictures.animation):
        with pytest.raises(InputError, match="expected"):
            draw(np.zeros(shape, np.float32))
    with pytest.raises(InputError, match="no recordings"):
        pictures.rasters(packed([]))
