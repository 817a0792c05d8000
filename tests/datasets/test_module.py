"""Event data sets as torch data sets and Lightning data module, and the linear model beside them."""

import pickle
import subprocess
import sys
from dataclasses import replace

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from neuroaccel.datasets import (
    EventDataModule,
    EventDataset,
    FramedDataset,
    Recordings,
    baseline,
    linear_baseline,
    load,
    module,
    saccade,
    store,
)
from neuroaccel.datasets.augment import Crop, Downsample, EventMix, FlipX, Shift, TimeJitter
from neuroaccel.datasets.batches import Numbered
from neuroaccel.datasets.cache import cache_key
from neuroaccel.datasets.events import Events
from neuroaccel.datasets.frames import CountBins, TimeBins, VoxelGrid
from neuroaccel.errors import EventsError, RecipeError, WorkerFailure
from neuroaccel.training.module import Classifier
from neuroaccel.training.recipe import Recipe

SIZE = (10, 8, 2)
AUGMENT = (FlipX(0.5), Shift(2), TimeJitter(500.0))


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
    data = EventDataModule(batch_size=100)
    data.prepare_data()
    sizes = {}
    for split, loader in (
        ("train", data.train_dataloader()),
        ("validation", data.val_dataloader()),
        ("test", data.test_dataloader()),
    ):
        labels = []
        for x, label in loader:
            assert x.shape == (30, len(label), 2, 34, 34)
            assert torch.all((x == 0) | (x == 1))
            assert 0.02 < x.mean() < 0.08
            labels += label.tolist()
        sizes[split] = len(labels)
        assert sorted(labels) == sorted(data.dataset(split).binned.labels.tolist())
        if split != "train":
            assert labels == data.dataset(split).binned.labels.tolist()
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


def test_linear_baseline_of_wide_frames_is_the_same_model(monkeypatch):
    """Where pixels outnumber samples the model is fitted in the samples' span; its decisions are the same."""
    splits = [load("saccade-digits", split).select(range(60)).bin() for split in ("train", "validation", "test")]
    narrow = linear_baseline(*splits, choices=(0.1,))  # 2,312 pixels, 60 samples: in their span
    monkeypatch.setattr(baseline, "WIDE", 1000)
    assert linear_baseline(*splits, choices=(0.1,)) == narrow


def test_importing_data_sets_is_light():
    code = "import neuroaccel.datasets, sys; print(sorted({'lightning', 'sklearn', 'tonic'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def made_up(samples=12, ragged=True, classes=3, seed=0):
    """Recordings of up to 10 ms, the third of them empty, mapped from the cache."""
    rng = np.random.default_rng(seed)

    def stream():
        for number in range(samples):
            count = 0 if number == 2 else int(rng.integers(50, 200))
            last = 1000 * (number % 10 + 1) if ragged else 10_000
            x, y, p = (rng.integers(0, side, count) for side in SIZE)
            events = Events.from_arrays(x, y, np.sort(rng.integers(0, last, count)), p, SIZE)
            yield store.Sample(events, number % classes, index=100 + number, duration_us=last)

    key = cache_key(1, {"samples": samples, "ragged": ragged, "classes": classes, "seed": seed})
    return store.build("made-up", key, stream, SIZE, [str(label) for label in range(classes)])


@pytest.fixture
def served(monkeypatch):
    """Has every data module serve these recordings, whatever name it is given."""

    def serve(recordings):
        monkeypatch.setattr(module, "load", lambda *_, **__: recordings)
        return recordings

    return serve


def collect(loader, epochs=1):
    return [[tuple(part.clone() for part in batch) for batch in loader] for _ in range(epochs)]


def same(one, other):
    return len(one) == len(other) and all(
        len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("binning", ["binary", "count", "first"])
def test_a_batch_of_saccade_digits_is_that_of_its_binned_recordings(binning):
    data = EventDataModule("saccade-digits", batch_size=32, ticks=15, dt=0.02, binning=binning)
    binned = load("saccade-digits", "train").bin(15, 0.02, binning)
    order = torch.cat([labels for _, labels in data.train_dataloader()])
    assert len(order) == len(binned)
    samples = [5, 1000, 0, 77]
    x, labels = data.dataset("train").batch(samples)
    assert x.numpy().tobytes() == binned.dense(samples).tobytes()
    assert labels.tolist() == binned.labels[samples].tolist()


def test_the_order_is_that_of_a_shuffling_loader_with_this_seed():
    """The order that trainings of earlier versions saw, epoch by epoch."""
    data = EventDataModule("saccade-digits", batch_size=32, ticks=15, dt=0.02, seed=3)
    binned = load("saccade-digits", "train", seed=3).bin(15, 0.02)
    plain = DataLoader(
        list(range(len(binned))), batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(3)
    )
    loader = data.train_dataloader()
    for _ in range(3):
        for batch, samples in zip(loader, plain, strict=True):
            x, labels = batch
            assert labels.tolist() == binned.labels[samples].tolist()
        np.testing.assert_array_equal(x, binned.dense(samples))


@pytest.mark.parametrize("frames", [TimeBins(10, 0.001), {"kind": "time", "ticks": 10, "dt": 0.001}, None])
def test_framed_and_binned_batches_are_bit_identical(served, monkeypatch, frames):
    recordings = served(made_up())
    plain = EventDataModule("any", 5, ticks=10, dt=0.001)
    if frames is None:
        kept = collect(plain.train_dataloader(), 2)
        monkeypatch.setattr(module, "IN_MEMORY", 0)  # a set that is too large to be kept binned
    framed = EventDataModule("any", 5, ticks=10, dt=0.001, frames=frames)
    assert isinstance(framed.dataset("train"), FramedDataset)
    assert framed.dataset("train").sample_shape == (2, 8, 10)
    monkeypatch.undo()
    served(recordings)
    if frames is not None:
        kept = collect(plain.train_dataloader(), 2)
    for one, other in zip(collect(framed.train_dataloader(), 2), kept, strict=True):
        assert same(one, other)
    np.testing.assert_array_equal(framed.dataset("train").summed(), plain.dataset("train").summed())
    assert framed.dataset("train").largest() == plain.dataset("train").largest() == 1
    assert torch.equal(framed.dataset("test")[4][0], plain.dataset("test")[4][0])


def test_ticks_that_cut_recordings_are_refused_unless_frames_say_so(served, monkeypatch):
    served(made_up())
    with pytest.raises(EventsError, match="expected at least 10 ticks"):
        EventDataModule("any", ticks=9, dt=0.001).dataset("train")
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    with pytest.raises(EventsError, match="expected at least 10 ticks"):
        EventDataModule("any", ticks=9, dt=0.001).dataset("train")
    data = EventDataModule("any", frames=TimeBins(9, 0.001))
    assert data.ticks == 9
    assert data.dataset("train")[0][0].shape == (9, 2, 8, 10)


def test_ragged_recordings_have_lengths(served):
    recordings = served(made_up())
    data = EventDataModule("any", 12, ticks=10, dt=0.001, with_lengths=True)
    ((x, labels, lengths),) = list(data.val_dataloader())
    for number in range(12):
        t_us = recordings[number][0].data["t"]
        expected = t_us[-1] // 1000 + 1 if len(t_us) else 0
        assert lengths[number] == expected
        assert x[expected:, number].sum() == 0
        assert (x[:, number].sum() > 0) == (number != 2)  # the empty one is a sample like any other
    assert labels.tolist() == recordings.labels.tolist()
    assert len(set(lengths.tolist())) > 5


def test_augmentation_is_fixed_by_seed_and_epoch_and_is_for_training_only(served):
    served(made_up())

    def batches(seed=0, augment=AUGMENT, epochs=2):
        return collect(EventDataModule("any", 5, 10, 0.001, seed=seed, augment=augment).train_dataloader(), epochs)

    first, again, other, plain = batches(), batches(), batches(seed=1), batches(augment=())
    assert all(same(one, two) for one, two in zip(first, again, strict=True))
    assert not same(first[0], first[1])
    assert not same(first[0], other[0])
    assert not same(first[0], plain[0])
    for one, two in zip(first[0], plain[0], strict=True):  # the same samples in the same order
        assert torch.equal(one[1], two[1])
    tables = [
        {"kind": "flip_x", "p": 0.5},
        {"kind": "shift", "max_pixels": 2},
        {"kind": "time_jitter", "std_us": 500.0},
    ]
    assert same(batches(augment=tables, epochs=1)[0], first[0])
    for split in ("validation", "test"):
        ours, bare = (EventDataModule("any", 5, 10, 0.001, augment=augment) for augment in (AUGMENT, ()))
        assert same(collect(ours._loader(split))[0], collect(bare._loader(split))[0])
    assert torch.equal(ours.dataset("train")[0][0], bare.dataset("train")[0][0])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_change_nothing_and_get_files_not_events(served):
    served(made_up(40))

    def loader(workers):
        data = EventDataModule("any", 4, 10, 0.001, workers=workers, augment=AUGMENT, with_lengths=True)
        return data.train_dataloader()

    alone, helped = loader(0), loader(2)
    assert helped.multiprocessing_context.get_start_method() == "spawn"
    assert helped.persistent_workers
    assert len(pickle.dumps(helped.dataset)) < 5000  # 40 recordings are 40 kB
    iterator = iter(helped)
    pids = {worker.pid for worker in iterator._workers}
    first = [tuple(part.clone() for part in batch) for batch in iterator]
    assert len(pids) == 2
    second = collect(helped)[0]
    assert {worker.pid for worker in helped._iterator._workers} == pids  # the same ones stay
    for ours, theirs in zip(collect(alone, 2), (first, second), strict=True):
        assert same(ours, theirs)


def test_a_worker_that_dies_is_an_error_and_no_hang(shared_cache, tmp_path):
    """In a process of its own: torch raises wherever the signal of the death finds the main thread."""
    script = tmp_path / "killed.py"
    script.write_text("""
import os, signal
from neuroaccel.datasets import EventDataModule
if __name__ == "__main__":
    frames = {"kind": "time", "ticks": 15, "dt": 0.02}
    iterator = iter(EventDataModule("saccade-digits", 1, workers=1, frames=frames).train_dataloader())
    next(iterator)
    print("first", flush=True)
    os.kill(iterator._workers[0].pid, signal.SIGKILL)
    print(len(list(iterator)))
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1  # a hang would be a TimeoutExpired
    assert done.stdout == "first\n"


class Worker:
    def __init__(self, pid, exitcode):
        self.pid, self.exitcode, self.joined = pid, exitcode, 0

    def join(self, timeout):
        self.joined += 1
        self.exitcode = self.exitcode or -9


class Batches:
    """The iterator of a loader whose second batch cannot be had."""

    def __init__(self, error, workers):
        self.errors, self._workers = [None, error], workers

    def __len__(self):
        return 2

    def __next__(self):
        error = self.errors.pop(0)
        if error is not None:
            raise error
        return "batch"


@pytest.mark.parametrize("error", [RuntimeError("exited"), ConnectionResetError("reset"), EOFError(), OSError("shm")])
def test_what_a_dead_worker_breaks_is_said_of_the_worker(error):
    watched = module._Watched(Batches(error, [Worker(11, None), Worker(12, -9)]))
    assert (next(watched), len(watched), iter(watched)) == ("batch", 2, watched)
    with pytest.raises(WorkerFailure, match=r"12 \(exit code -9\).* died"):
        next(watched)


@pytest.mark.parametrize("error", [RuntimeError("cuda"), EventsError("bad"), OSError("file"), StopIteration()])
def test_other_errors_of_a_loader_stay_what_they_are(error):
    watched = module._Watched(Batches(error, [Worker(11, None)]))
    assert next(watched) == "batch"
    with pytest.raises(type(error)):
        next(watched)


def broken(recordings, sample):
    """The recordings, with an event of one of them outside the sensor."""
    address = np.array(recordings.address)
    address[recordings.start[sample] + 3] = 10**6
    return replace(recordings, address=address)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    "options", [{}, {"augment": AUGMENT}, {"bin_on": "cuda"}, {"workers": 1}], ids=lambda options: str(list(options))
)
def test_a_bad_recording_is_named(served, options):
    served(broken(made_up(), 7))
    data = EventDataModule("any", 5, frames=TimeBins(10, 0.001), **options)
    with pytest.raises(EventsError, match="any, train: recording 107: event 3"):
        list(data.train_dataloader())


@pytest.mark.parametrize("label", [-1, 3])
def test_a_recording_without_a_label_is_named(served, label):
    recordings = made_up()
    served(replace(recordings, labels=np.where(np.arange(12) == 4, label, recordings.labels)))
    with pytest.raises(EventsError, match=f"any, train: recording 104 has no label: found {label}, expected 0 to 2"):
        EventDataModule("any").dataset("train")


def test_an_empty_split_is_refused(served):
    served(made_up().select([]))
    with pytest.raises(RecipeError, match="any, test: the split is empty"):
        EventDataModule("any").test_dataloader()


@pytest.mark.parametrize("frames", [TimeBins(10, 0.001, "count"), CountBins(4, 20), VoxelGrid(5, signed=False)])
def test_shipped_events_become_the_same_frames_behind_the_transfer(served, frames):
    served(made_up())
    here, there = (
        EventDataModule("any", 5, frames=frames, bin_on=place, augment=AUGMENT, with_lengths=True)
        for place in ("cpu", "cuda")
    )
    for ours, sent in zip(here.train_dataloader(), there.train_dataloader(), strict=True):
        theirs = there.on_after_batch_transfer(sent)
        assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-6) for one, other in zip(ours, theirs, strict=True))
        assert there.on_after_batch_transfer(theirs) is theirs
    assert torch.equal(here.dataset("test")[0][0], there.dataset("test")[0][0])


def test_what_makes_the_sensor_smaller_applies_to_every_sample(served):
    recordings = served(made_up())
    data = EventDataModule("any", 12, 10, 0.001, augment=(Crop(6), Downsample(2), FlipX(1.0)))
    assert data.dataset("train").sample_shape == (2, 3, 3)
    (x, _), (seen, _) = next(iter(data.train_dataloader())), next(iter(data.test_dataloader()))
    assert x.shape == seen.shape == (10, 12, 2, 3, 3)
    dense = recordings.bin(10, 0.001).dense(range(12))[..., 1:7, 2:8]  # the middle of 8 rows and 10 columns
    expected = dense.reshape(10, 12, 2, 3, 2, 3, 2).max((4, 6))
    np.testing.assert_array_equal(seen, expected)


def recipe(**data):
    return Recipe.model_validate({"name": "any", "layers": [{"kind": "flatten"}], "data": data})


def test_mixed_labels_train(served):
    served(made_up())
    data = EventDataModule("any", 6, 10, 0.001, augment=(EventMix(classes=3, p=1.0),))
    x, shares = next(iter(data.train_dataloader()))
    assert shares.shape == (6, 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(6))
    assert (shares.max(1).values < 1).any()

    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(160, 3)

        def forward(self, x):
            return self.head(x.flatten(2)).cumsum(0), None

    loss, accuracy = Classifier(Head(), recipe(), 1)._loss((x, shares))
    loss.backward()
    assert torch.isfinite(loss)
    assert 0 <= accuracy <= 1


def test_a_training_that_goes_on_sees_the_epochs_that_it_missed():
    whole = Numbered(20, seed=4)
    epochs = [list(whole) for _ in range(4)]
    late = Numbered(20, seed=4, epoch=lambda: 2)
    assert [list(late), list(late)] == epochs[2:]
    for number, order in enumerate(epochs):
        assert [place // 20 for place in order] == [number] * 20
        assert sorted(place % 20 for place in order) == list(range(20))
    assert list(Numbered(3, None)) == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")
@pytest.mark.filterwarnings("ignore:.*The number of training batches.*", "ignore:.*no `val_dataloader`.*")
def test_a_trainer_sees_the_batches_of_a_plain_loop(served):
    served(made_up(10))

    class Watching(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), []

        def training_step(self, batch, index):
            self.seen.append(batch)
            return self.weight.sum()

        def validation_step(self, batch, index):
            pass

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    def data(**more):
        return EventDataModule("any", 5, frames=TimeBins(10, 0.001), augment=AUGMENT, **more)

    plain = [batch for epoch in collect(data().train_dataloader(), 2) for batch in epoch]
    for bin_on in ("cpu", "cuda"):
        watching = Watching()
        trainer = lightning.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        trainer.fit(watching, data(bin_on=bin_on).train_dataloader() if bin_on == "cpu" else data(bin_on=bin_on))
        assert same([tuple(batch) for batch in watching.seen], plain)


@pytest.mark.parametrize("wrong", [{"frames": {"kind": "cube"}}, {"augment": [{"kind": "melt"}]}, {"bin_on": "tpu"}])
def test_bad_frames_and_augmentations_are_refused(wrong):
    with pytest.raises(RecipeError):
        EventDataModule(**wrong)


def test_recordings_keep_their_own_fields(served):
    recordings = served(made_up())
    assert isinstance(recordings, Recordings)
    data = EventDataModule("any", 5, frames=TimeBins(10, 0.001), train_samples=4)
    assert len(data.dataset("train")) == 4
    assert len(data.dataset("test")) == 12
    taken = data.recordings("train")
    places = taken.indices - 100  # each keeps its own number, label and events
    np.testing.assert_array_equal(taken.labels, recordings.labels[places])
    for at, place in enumerate(places.tolist()):
        assert np.array_equal(taken[at][0].data, recordings[place][0].data)


def sorted_labels(*sizes):
    """Labels of classes of these sizes, one class after the other, as sets come."""
    return np.repeat(np.arange(len(sizes)), sizes)


@pytest.mark.parametrize("count", [1, 3, 6, 7, 8, 20])
def test_fewer_samples_are_of_every_class_alike_though_the_set_is_sorted(count):
    labels = sorted_labels(10, 10, 10)
    taken = module._balanced(labels, count)
    assert len(taken) == count
    assert (np.diff(taken) > 0).all()  # in the set's order, none twice
    per_class = np.bincount(labels[taken], minlength=3)
    assert per_class.max() - per_class.min() <= (count % 3 > 0)
    first = np.concatenate([np.arange(10 * label, 10 * label + n) for label, n in enumerate(per_class)])
    assert count == 1 or taken.tolist() != first.tolist()  # drawn from a whole class, whose speakers come sorted too


def test_which_samples_are_taken_is_not_the_seeds_matter(served):
    recordings = served(made_up())
    first, other = (
        EventDataModule("any", 5, frames=TimeBins(10, 0.001), train_samples=7, seed=seed).recordings("train").indices
        for seed in (0, 9)
    )
    assert first.tolist() == other.tolist()
    assert first.tolist() == (recordings.indices[module._balanced(recordings.labels, 7)]).tolist()


def test_of_a_small_class_all_are_taken_and_the_others_make_up_the_number():
    labels = sorted_labels(20, 2, 20)
    taken = module._balanced(labels, 16)
    assert np.bincount(labels[taken]).tolist() == [7, 2, 7]
    assert {20, 21} <= set(taken.tolist())
    # More samples of the same set are the fewer and some: who takes more loses none.
    assert set(module._balanced(labels, 9).tolist()) <= set(taken.tolist())


@pytest.mark.parametrize("count", [42, 43, 10**6])
def test_a_number_that_the_set_does_not_exceed_takes_all_in_order(count):
    for labels in (sorted_labels(20, 2, 20), np.random.default_rng(0).integers(0, 5, 42)):
        np.testing.assert_array_equal(module._balanced(labels, count), np.arange(42))
