"""Certificates: what they hold, that they replay, and that they do not replay on anything else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.errors import FileFormatError
from neuroaccel.graph import sha256
from neuroaccel.verify import Certificate, replay, verify
from neuroaccel.verify.executors import engine_trace
from tests.verify.networks import Q, conv_network, events, nudged, with_threshold

SOURCE = {"dataset": "saccade-digits", "split": "test", "indices": [0, 1, 2, 3, 4], "seed": 0}


@pytest.fixture(name="certificate", scope="module")
def certificate_fixture() -> Certificate:
    graph = conv_network()
    found = verify(graph, events(graph), executors=("torch", "nir"), source=SOURCE, chunk=2).certificate
    assert found is not None
    return found


def test_it_says_what_ran_on_what(certificate: Certificate) -> None:
    graph = conv_network()
    x = events(graph)
    trace = engine_trace(graph, {"events": x}, "float32")
    assert certificate.graph_sha256 == sha256(graph)
    assert certificate.input["source"] == SOURCE
    assert (certificate.input["ticks"], certificate.input["samples"]) == (12, 5)
    assert certificate.input["shapes"] == {"events": [12, 5, 2, 6, 6]}
    assert certificate.arithmetic == "float32"
    assert set(certificate.run["layers"]) == {"first", "second"}
    for name, layer in certificate.run["layers"].items():
        spikes = trace.spikes[name]
        assert layer["spikes"] == int(spikes.sum()) > 0
        packed = b"".join(np.packbits(spikes[:, n] != 0).tobytes() for n in range(5))
        assert layer["spikes_sha256"] == hashlib.sha256(packed).hexdigest()
    assert certificate.grids["conv"]["q"] == Q
    assert [(row["name"], row["arithmetic"]) for row in certificate.executors] == [
        ("torch", "float32"),
        ("nir", "float32"),
        ("engine", "float64"),
    ]
    assert certificate.versions["numpy"] == np.__version__
    assert certificate.versions["lava-nc"] is None  # it did not run
    assert {"neuroaccel", "python", "torch", "numba"} <= set(certificate.versions)


def test_it_is_saved_whole_loaded_again_and_replayed(certificate: Certificate, tmp_path: Path) -> None:
    graph = conv_network()
    path = certificate.save(tmp_path / "certificate.json")
    assert [p.name for p in tmp_path.iterdir()] == ["certificate.json"]
    assert Certificate.load(path) == certificate
    assert replay(path, graph, events(graph)) == []
    assert replay(certificate, graph, events(graph)) == []


def test_lava_leaves_its_version(tmp_path: Path) -> None:
    graph = conv_network()
    found = verify(graph, events(graph, ticks=3), executors=("lava-float",), lava_samples=1).certificate
    assert found is not None
    assert str(found.versions["lava-nc"]).startswith("0.10.0 on Python 3.10")


def test_another_input_does_not_replay(certificate: Certificate) -> None:
    graph = conv_network()
    x = events(graph)
    x[0, 0, 0, 2, 2] = 1 - x[0, 0, 0, 2, 2]
    found = replay(certificate, graph, x)
    assert found[0].startswith("the input is ")
    assert any("layer 'first': its membranes are not those certified" in line for line in found)
    shorter = replay(certificate, graph, events(graph)[:, :4])
    assert shorter[0].startswith("the input is ")


def test_another_graph_does_not_replay(certificate: Certificate) -> None:
    graph = conv_network()
    found = replay(certificate, nudged(graph, "dense", (1, 7)), events(graph))
    assert found[0].startswith("the graph is ")
    assert not any("'first'" in line for line in found)
    assert "layer 'second': its membranes are not those certified" in found
    silent = replay(certificate, with_threshold(graph, "second", np.float32(1e6)), events(graph))
    assert any(line.startswith("layer 'second': 0 spikes, certified are ") for line in silent)
    assert "output 'class' is not the one certified" in silent


def test_a_certificate_that_was_edited_does_not_replay(certificate: Certificate) -> None:
    graph = conv_network()
    run = json.loads(json.dumps(certificate.run))
    run["layers"]["second"]["spikes"] += 1
    found = replay(dataclasses.replace(certificate, run=run), graph, events(graph))
    assert len(found) == 1
    assert found[0].startswith("layer 'second': ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no readable certificate"),
        ("{", "not a certificate"),
        ("[]", "not a certificate"),
        ('{"format": 99}', "reads up to 1"),
        ('{"format": 1}', "damaged"),
    ],
)
def test_what_is_no_certificate_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    if content is not None:
        path.write_text(content, "utf-8")
    with pytest.raises(FileFormatError, match=message):
        Certificate.load(path)
