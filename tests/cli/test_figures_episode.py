"""The moving picture of an episode."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from neuroaccel.cli import figures_episode
from neuroaccel.cli.figures_episode import GAP, HEIGHT, LIMIT, RASTER, episode
from neuroaccel.errors import InputError


def moving(count: int, height: int = 40, width: int = 60) -> Any:
    """A red block that moves to the right."""
    frames = np.full((count, height, width, 3), 255, dtype=np.uint8)
    for at in range(count):
        x = at * (width - 10) // count
        frames[at, 10:30, x : x + 10] = (200, 0, 0)
    return frames


def pictures(content: bytes) -> list[Any]:
    return [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(Image.open(io.BytesIO(content)))]


def test_frames_are_on_the_left_and_spikes_on_the_right() -> None:
    spikes = np.zeros((6, 4, 8), dtype=np.uint8)
    spikes[3, 1] = 1  # the whole layer, in one micro-step of one decision
    content = episode(moving(6), {"lif": spikes}, "episode")
    drawn = pictures(content)
    assert len(drawn) == 6
    assert drawn[0].shape == (HEIGHT, 360 + GAP + RASTER + GAP, 3)
    red = [np.flatnonzero((p[120, :360] == drawn[0][120, 5]).all(-1)).mean() for p in drawn]
    assert (np.diff(red) > 0).all()
    dark = [(p[60:, 360 + GAP :] < 60).all(-1).sum(0) for p in drawn]
    assert [bool((d > 100).any()) for d in dark] == [False, False, False, True, True, True]
    places = [int(np.flatnonzero(d > 100).mean()) for d in dark[3:]]
    assert places[0] - places[1] == places[1] - places[2] == 9  # it moves to the left: 4 ticks of 2 pixels, and a line
    assert RASTER - 9 <= places[0] < RASTER


def test_a_spike_is_drawn_at_its_neuron_and_layer() -> None:
    one, two = np.zeros((1, 10), dtype=np.int64), np.zeros((1, 3, 5), dtype=bool)
    one[0, 9], two[0, 0, 0] = 7, True  # counts are spikes, too; the last neuron of the first layer
    (drawn,) = pictures(episode(moving(1), {"a": one, "b": two}, "", captions=[""]))
    (none,) = pictures(episode(moving(1), {"a": one * 0, "b": two & False}, "", captions=[""]))
    newest = slice(360 + GAP + RASTER - 6, 360 + GAP + RASTER)
    rows = np.unique(np.nonzero((drawn[:, newest] < 60).all(-1))[0])
    assert not (none[:, newest] < 60).all(-1).any()
    assert len(rows) > 2
    # The end of one layer and the start of the other, whose label is between them.
    assert rows.max() - rows.min() < HEIGHT / 2
    assert (np.diff(rows) > 1).sum() == 1


def test_equal_arguments_give_equal_bytes() -> None:
    draw = np.random.default_rng(0)
    spikes = {"a": draw.random((20, 3, 200)) < 0.1, "b": draw.random((20, 6)) < 0.5}
    assert episode(moving(20), spikes, "t") == episode(moving(20), spikes, "t")


def test_captions_and_title_are_drawn() -> None:
    spikes = {"a": np.zeros((2, 3))}
    plain = pictures(episode(moving(2), spikes, "", captions=["", ""]))
    said = pictures(episode(moving(2), spikes, "title", captions=["return 1", "return 2"]))
    assert all((a[:24] != b[:24]).any() for a, b in zip(plain, said, strict=True))
    assert (plain[0][40:] == said[0][40:]).mean() > 0.99


def test_long_episodes_stay_small_and_last_as_long() -> None:
    draw = np.random.default_rng(1)
    spikes = {"lif": draw.random((500, 4, 128)) < 0.05}
    content = episode(moving(500), spikes, "long", fps=50)
    assert len(content) < LIMIT
    file: Any = Image.open(io.BytesIO(content))
    assert file.n_frames == 250
    lasts = sum(frame.info["duration"] for frame in ImageSequence.Iterator(file))
    assert lasts == pytest.approx(500 / 50 * 1000, rel=0.05)
    assert file.info["loop"] == 0


def test_restless_episodes_lose_pictures_until_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_episode, "LIMIT", 400_000)
    noise = np.random.default_rng(2).integers(256, size=(16, 120, 120, 3), dtype=np.uint8)
    content = episode(noise, {"a": np.zeros((16, 3))}, "noise")
    assert len(content) < 400_000
    assert 1 < len(pictures(content)) < 16


def test_without_spikes_a_statement_takes_the_rasters_place() -> None:
    said = episode(moving(3), {}, "dense", statement="no spikes")
    assert len(pictures(said)) == 3
    assert said != episode(moving(3), {}, "dense", statement="none here")


@pytest.mark.parametrize(
    ("frames", "spikes", "more", "said"),
    [
        (moving(3).astype(float), {"a": np.zeros((3, 2))}, {}, "uint8 .* float64"),
        (moving(3)[..., :1], {"a": np.zeros((3, 2))}, {}, r"\[3, 40, 60, 1\]"),
        (moving(3)[:0], {"a": np.zeros((0, 2))}, {}, r"\[0, 40, 60, 3\]"),
        (moving(3), {"a": np.zeros((2, 2))}, {}, r"layer 'a': spikes of shape \[2, 2\], expected \[3, neurons\]"),
        (moving(3), {"a": np.zeros(3)}, {}, "layer 'a'"),
        (moving(3), {}, {}, "at least one layer"),
        (moving(3), {"a": np.zeros((3, 2))}, {"captions": ["x"]}, "1 captions for 3"),
        (moving(3), {"a": np.zeros((3, 2))}, {"fps": 0}, "0 decisions a second"),
    ],
)
def test_what_does_not_fit_is_named(frames: Any, spikes: Any, more: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        episode(frames, spikes, "", **more)
