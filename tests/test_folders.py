"""The user's cache folder, by the XDG rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroaccel.folders import user_cache
from neuroaccel.hardware.lava.environment import default_folder


@pytest.mark.parametrize("given", [None, "", "relative"])
def test_without_an_absolute_path_it_is_in_the_home(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if given is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert user_cache() == Path("/home/somebody/.cache/neuroaccel")


def test_lava_lies_in_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert user_cache() == Path("/somewhere/neuroaccel")
    assert default_folder() == Path("/somewhere/neuroaccel/lava")
