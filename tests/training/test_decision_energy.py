"""Costs per decision: the engine's counts against the module's spikes, the dense twin's against hand-made sums."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from neuroaccel.decision.costs import macs_per_decision
from neuroaccel.decision.spiking import silenced
from neuroaccel.errors import InputError
from neuroaccel.ledger import energy, load_profile
from neuroaccel.training.decision_energy import count_decisions, dense_energy
from neuroaccel.training.decision_episode import watch
from tests.decision.runs import untrained


def by_raster(trained: object, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    """Spikes of every decision of an episode, of neurons and of the phase code: ``[2, n]``."""
    spikes = watch(trained, 30.0, seed, frame=lambda f: f[:1, :1]).spikes  # type: ignore[arg-type]
    phase = spikes["phase"].sum((1, 2), dtype=np.int64) if "phase" in spikes else 0
    every = sum(s.sum((1, 2), dtype=np.int64) for s in spikes.values())
    return np.stack([every - phase, np.broadcast_to(phase, np.shape(every))])


def test_the_books_spikes_are_the_rasters_and_the_context_holds_the_last_ones() -> None:
    trained = untrained(layers=2)
    neurons, phase = by_raster(trained)
    context, n = trained.config.context, len(neurons)
    found = count_decisions(trained, 30.0, decisions=n - context)
    assert found.full
    assert (found.played, found.episodes) == (n, 1)
    assert found.book.samples == n - context
    assert found.book.total("spikes").tolist() == neurons[context:].tolist()
    assert found.phase_spikes.tolist() == phase[context:].tolist()
    assert found.spikes.tolist() == (neurons + phase)[context:].tolist()
    every = neurons + phase
    assert found.context_spikes.tolist() == [every[t - 1] + every[t] for t in range(context, n)]
    report = energy(found.book, "cmos45")
    assert report.mean_pj[0] > 0
    assert found.proxies()["proxy_spike_5pJ"] == pytest.approx(5 * found.spikes.mean())


def test_episodes_go_on_until_enough_is_counted() -> None:
    trained = untrained()
    lengths = [by_raster(trained, 0).shape[1]]
    found = count_decisions(trained, 30.0, decisions=lengths[0] + 1)
    assert found.episodes == 2
    assert found.book.samples == lengths[0] + 1


def test_where_episodes_are_shorter_than_the_context_all_but_their_first_decisions_count() -> None:
    trained = untrained(seed=2, context=60, micro_steps=2)  # falls over after eleven decisions at most
    told: list[tuple[int, int]] = []
    found = count_decisions(trained, 30.0, decisions=5, progress=lambda *at: told.append(at))
    assert not found.full
    assert found.book.samples == 5
    assert found.played == 5 + 10 * 60 == len(told)


def test_a_model_that_is_silent_has_no_spikes_but_its_phases() -> None:
    trained = untrained()
    quiet = type(trained)(silenced(trained.model), trained.config, trained.normaliser, trained.about)  # type: ignore[arg-type]
    found = count_decisions(quiet, 30.0, decisions=4)
    assert found.book.total("spikes").tolist() == [0] * 4
    assert found.spikes.tolist() == found.phase_spikes.tolist()


def test_eight_thousand_spikes_by_the_papers_proxy_are_forty_nanojoules_and_synaptic_events_stand_beside() -> None:
    found = count_decisions(untrained(), 30.0, decisions=1)
    neurons = found.book.total("spikes")
    assert 0 < neurons[0] < 8000
    padded = dataclasses.replace(found, phase_spikes=8000 - neurons)
    assert padded.spikes.tolist() == [8000]
    proxies = padded.proxies()
    assert proxies["proxy_spike_5pJ"] == 40_000.0  # pJ
    events, macs = (float(found.book.total(column)[0]) for column in ("synaptic_events", "macs"))
    assert proxies["proxy_syops"] == pytest.approx(0.9 * events + 4.6 * macs)
    assert events > 0


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_the_dense_twins_energy_is_its_macs_and_its_reads(cached: bool, int8: bool) -> None:
    profile = load_profile("cmos45")
    config = untrained("dt", layers=2).config
    counts = macs_per_decision(config, cached=cached)

    def pj(name: str) -> float:
        found = profile.constant(name)
        assert found is not None
        assert found.value is not None
        return found.value[0]

    mac = pj("int8_mul") + pj("int32_add") if int8 else pj("fp32_mul") + pj("fp32_add")
    found = dense_energy(config, profile, cached=cached, int8=int8)
    assert found.macs == counts.total
    assert found.compute_pj is not None
    assert found.compute_pj[0] == pytest.approx(counts.total * mac)
    # All matrices and caches of so small a model fit into the smallest memory.
    level = profile.level(1)
    assert level is not None
    assert level.value is not None
    assert level == profile.level(2 * 8 * 16 * 4)
    width = 1 if int8 else 4
    read = level.value[0] * 8 / level.access_bits
    assert found.memory_pj is not None
    assert found.memory_pj[0] == pytest.approx((counts.weights_read + counts.products) * width * read)
    once = dense_energy(config, profile, cached=cached, int8=int8, reuse=True).memory_pj
    weights = (7 * 8) + 2 * (4 * 64) + 2 * (2 * 2 * 64) + 16
    assert once is not None
    assert once[0] == pytest.approx((weights + counts.products) * width * read)


def test_a_chip_has_no_constants_for_dense_layers() -> None:
    found = dense_energy(untrained("dt").config, load_profile("loihi1-davies2018"), cached=True)
    assert found.total_pj is None
    assert "loihi1" in found.note


def test_an_environment_of_other_spaces_is_refused() -> None:
    with pytest.raises(InputError, match=r"observed in Box.*reads 4 numbers"):
        count_decisions(untrained(env_id="Acrobot-v1"), 30.0)


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(InputError, match="model is dt"):
        count_decisions(untrained("dt"), 30.0)
    with pytest.raises(InputError, match="0 decisions"):
        count_decisions(untrained(), 30.0, decisions=0)
