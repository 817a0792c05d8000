"""Every example in a docstring of the package runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from tests.test_rooms import ROOT, module_name, source_files

WITH_EXAMPLES = [path for path in source_files() if ">>> " in (ROOT / path).read_text("utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_run(path: Path) -> None:
    found = doctest.testmod(importlib.import_module(module_name(path)))
    assert (found.failed, found.attempted > 0) == (0, True)
