"""Splits: disjoint, complete, the same on every machine, and refused where nobody is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.datasets.tonic_splits import SPLITS, HoldOutGroups, HoldOutShareOfGroups, Listing, Shares, Whole
from neuroaccel.errors import FileFormatError
from tests.conftest import examples


def _listing(labels: list[int], groups: list[int] | None = None) -> Listing:
    names = tuple(f"recording {i}" for i in range(len(labels)))
    return Listing(names, np.array(labels, np.int64), None if groups is None else np.array(groups, np.int64))


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    validation=st.floats(0, 0.4),
    test=st.floats(0, 0.4),
    seed=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=examples(50, 1000))
def test_shares_cover_every_class_once_whatever_the_order(
    labels: list[int], validation: float, test: float, seed: int, order: object
) -> None:
    listing, rule = _listing(labels), Shares(validation, test, seed)
    parts = {split: rule(split, listing, "here") for split in SPLITS}
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(labels)))
    for label in set(labels):
        members = labels.count(label)
        in_class = {split: int((listing.labels[part] == label).sum()) for split, part in parts.items()}
        assert in_class["test"] == round(test * members)
        assert in_class["validation"] == min(round(validation * members), members - in_class["test"])
    moved = list(range(len(labels)))
    order.shuffle(moved)  # type: ignore[attr-defined]
    other = Listing(tuple(listing.names[i] for i in moved), listing.labels[moved])
    for split in SPLITS:
        names = {other.names[i] for i in rule(split, other, "here")}
        assert names == {listing.names[i] for i in parts[split]}


def test_shares_depend_on_the_seed_and_never_on_the_machine() -> None:
    listing = _listing([0] * 20)
    assert Shares(0.2, 0.1)("test", listing, "here").tolist() == [3, 13]  # written down: another draw is another set
    draws = {tuple(Shares(0.2, 0.1, seed)("validation", listing, "here").tolist()) for seed in range(5)}
    assert len(draws) == 5


def test_whole_takes_all() -> None:
    assert Whole()("train", _listing([1, 2]), "here").tolist() == [0, 1]


def test_groups_are_held_out() -> None:
    listing = _listing([0, 1, 0, 1], [3, 3, 7, 9])
    rule = HoldOutGroups((7, 8))
    assert rule("validation", listing, "here").tolist() == [2]
    assert rule("train", listing, "here").tolist() == [0, 1, 3]


def test_a_share_of_the_groups_is_held_out_at_least_one() -> None:
    listing = _listing([0] * 30, [i // 3 for i in range(30)])
    for share, expected in ((0.01, 1), (0.2, 2), (0.5, 5)):
        rule = HoldOutShareOfGroups(share)
        assert listing.groups is not None
        held = set(listing.groups[rule("validation", listing, "here")].tolist())
        assert len(held) == expected
        assert not held & set(listing.groups[rule("train", listing, "here")].tolist())


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (None, "SHD: the files do not say who was recorded"),
        ([1, 2], r"SHD: no recordings are left for the validation split; held out .* 10, 11, the files hold 1, 2"),
    ],
)
def test_a_split_without_anybody_is_refused(groups: list[int] | None, words: str) -> None:
    with pytest.raises(FileFormatError, match=words):
        HoldOutGroups((10, 11))("validation", _listing([0, 1], groups), "SHD")
