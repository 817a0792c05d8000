"""The built-in set as torch data set and Lightning data module, and the linear model beside it."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from neuroaccel.datasets import EventDataModule, EventDataset, linear_baseline, load, names, saccade
from neuroaccel.errors import RecipeError


def test_dataset_gives_samples_that_torch_can_stack():
    binned = saccade.load(None, subset=range(6)).bin(binning="count")
    dataset = EventDataset(binned)
    x, label = dataset[4]
    assert x.shape == (30, 2, 34, 34)
    assert x.dtype == torch.float32
    assert label == 4
    assert x.max() > 1
    np.testing.assert_array_equal(x, binned.stream(4).to_dense())
    stacked, labels = next(iter(DataLoader(dataset, batch_size=6)))
    batch, same = dataset.batch(list(range(6)))
    assert torch.equal(stacked.transpose(0, 1), batch)
    assert torch.equal(labels, same)
    with pytest.raises(IndexError):
        dataset[6]


def test_module_gives_every_sample_once_time_major():
    module = EventDataModule(batch_size=100)
    module.prepare_data()
    sizes = {}
    for split, loader in (
        ("train", module.train_dataloader()),
        ("validation", module.val_dataloader()),
        ("test", module.test_dataloader()),
    ):
        labels = []
        for x, label in loader:
            assert x.shape == (30, len(label), 2, 34, 34)
            assert torch.all((x == 0) | (x == 1))
            assert 0.02 < x.mean() < 0.08
            labels += label.tolist()
        sizes[split] = len(labels)
        assert sorted(labels) == sorted(module.dataset(split).binned.labels.tolist())
        if split != "train":
            assert labels == module.dataset(split).binned.labels.tolist()
    assert sizes == {"train": 1258, "validation": 180, "test": 359}


def test_training_order_is_fixed_by_the_seed_and_changes_by_epoch():
    def order(loader):
        return torch.cat([labels for _, labels in loader])

    loaders = [EventDataModule(batch_size=500).train_dataloader() for _ in range(2)]
    first = [order(loader) for loader in loaders]
    assert torch.equal(*first)
    assert not torch.equal(first[0], order(loaders[0]))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 warns of torch's own way to start one
def test_a_worker_gives_the_same_batches():
    alone, helped = (EventDataModule(batch_size=90, workers=workers).val_dataloader() for workers in (0, 1))
    assert helped.multiprocessing_context.get_start_method() == "spawn"
    for (x, labels), (other, other_labels) in zip(alone, helped, strict=True):
        assert torch.equal(x, other)
        assert torch.equal(labels, other_labels)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": -1}, {"binning": "mean"}])
def test_bad_settings_are_refused(wrong):
    with pytest.raises(RecipeError, match="expected batch_size"):
        EventDataModule(**wrong)


def test_unknown_names_list_the_known_ones():
    assert names() == ["saccade-digits"]
    with pytest.raises(RecipeError, match="unknown data set 'mnist'; there are: saccade-digits"):
        load("mnist")
    with pytest.raises(RecipeError, match="unknown split 'dev'"):
        load("saccade-digits", split="dev")
    with pytest.raises(RecipeError, match="unknown data set"):
        EventDataModule("mnist").prepare_data()


def test_linear_baseline_is_good_but_not_perfect_and_learns_from_labels_only():
    splits = [load("saccade-digits", split).bin() for split in ("train", "validation", "test")]
    result = linear_baseline(*splits)
    assert 0.92 < result.test_accuracy < 0.975
    assert 0.9 < result.validation_accuracy <= 1
    assert result.regularisation in (0.01, 0.1, 1.0)
    shuffled = replace(splits[0], labels=np.random.default_rng(0).permutation(splits[0].labels))
    assert linear_baseline(shuffled, *splits[1:], choices=(0.01,)).test_accuracy < 0.25
    with pytest.raises(RecipeError, match="choices"):
        linear_baseline(*splits, choices=())


def test_importing_data_sets_is_light():
    code = "import neuroaccel.datasets, sys; print(sorted({'lightning', 'sklearn', 'tonic'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
