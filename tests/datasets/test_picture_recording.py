"""Pictures of recordings: their pixels are the events'."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from neuroaccel.datasets import Events
from neuroaccel.datasets.picture_recording import BACKGROUND, BRIGHTER, DARKER, animation, picture
from neuroaccel.errors import EventsError

NONE = Events.from_arrays(*(np.zeros(0, int),) * 4, (4, 3, 2))  # type: ignore[arg-type]


def test_an_animation_shows_each_event_in_its_time_and_colour() -> None:
    events = Events.from_arrays([0, 3], [0, 2], [0, 999], [1, 0], (4, 3, 2))  # type: ignore[arg-type]
    found = Image.open(io.BytesIO(animation(events, frames=2, seconds=1.0)))
    assert (found.format, found.n_frames, found.size) == ("GIF", 2, (320, 240))
    pictures = []
    for frame in range(2):
        found.seek(frame)
        pictures.append(np.asarray(found.convert("RGB"))[::80, ::80])
    assert tuple(pictures[0][0, 0]) == BRIGHTER
    assert tuple(pictures[1][2, 3]) == DARKER
    for shown, place in ((pictures[0], (0, 0)), (pictures[1], (2, 3))):
        others = np.ones((3, 4), bool)
        others[place] = False
        assert (shown[others] == BACKGROUND).all()


def test_a_picture_is_a_png_of_some_size() -> None:
    rng = np.random.default_rng(0)
    events = Events.from_arrays(
        rng.integers(0, 32, 500), rng.integers(0, 24, 500), np.arange(500) * 100, rng.integers(0, 2, 500), (32, 24, 2)
    )
    for some in (events, NONE):
        found = Image.open(io.BytesIO(picture(some, "title")))
        assert (found.format, found.size) == ("PNG", (1100, 600))
    drawn = np.asarray(Image.open(io.BytesIO(picture(events, "title"))).convert("RGB")).reshape(-1, 3)
    assert (drawn == BRIGHTER).all(1).any()
    assert (drawn == DARKER).all(1).any()


def test_an_empty_recording_moves_too() -> None:
    assert Image.open(io.BytesIO(animation(NONE))).format == "GIF"
    with pytest.raises(EventsError, match="positive"):
        animation(NONE, frames=0)
