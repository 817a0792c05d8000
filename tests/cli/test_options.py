"""Names that the command line lists by itself, so that --help is quick, are those that the package has."""

from __future__ import annotations

from typing import get_args

from neuroaccel import ledger
from neuroaccel.cli import energy, export, verify
from neuroaccel.cli.options import Split
from neuroaccel.datasets.saccade import SPLITS
from neuroaccel.hardware.nir.profiles import READERS, Profile
from neuroaccel.verify import EXECUTORS


def test_names_are_those_of_the_package() -> None:
    assert tuple(EXECUTORS) == verify.EXECUTORS
    assert ledger.profiles() == energy.PROFILES
    assert [reader.value for reader in export.Reader] == list(READERS) == list(get_args(Profile))
    assert [split.value for split in Split] == list(SPLITS)
