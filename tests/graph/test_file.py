"""The model file: what it keeps, what it refuses, and that nobody ever sees half of one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save as save_arrays

from neuroaccel.errors import FileFormatError, GraphError, InputError
from neuroaccel.graph import (
    Attention,
    Edge,
    Graph,
    Input,
    Linear,
    Node,
    Output,
    Scope,
    WeightGrid,
    chain,
    load_graph,
    save_graph,
    sha256,
    write_atomic,
)
from neuroaccel.graph.file import FORMAT, OPSET, to_bytes
from neuroaccel.program import LIF
from tests.graphs import GRAPHS
from tests.graphs.parts import neuron, weights


def small(**changes: Any) -> Graph:
    nodes = {
        "x": Input((3,)),
        "fc": Linear(weights(1, 2, 3), grid=WeightGrid(5)),
        "lif": neuron(LIF(), 2),
        "y": Output(),
    }
    return chain(nodes, **changes)


def header_of(content: bytes) -> tuple[dict[str, Any], int]:
    """The safetensors header and where the arrays begin."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), 8 + size


def tampered(change: Callable[[dict[str, Any]], None], graph: Graph | None = None) -> bytes:
    """A model file whose JSON was changed by hand."""
    content = to_bytes(graph or small())
    head, start = header_of(content)
    body = json.loads(head["__metadata__"]["neuroaccel"])
    change(body)
    head["__metadata__"]["neuroaccel"] = json.dumps(body)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


def refusal(tmp_path: Path, content: bytes) -> str:
    """The message for a file of this content; it always begins with the file's name."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as caught:
        load_graph(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_equal_graphs_give_equal_bytes_and_hash() -> None:
    assert to_bytes(small()) == to_bytes(small())
    assert sha256(small()) == sha256(small(metadata={"accuracy": 0.97})), "notes are not part of the hash"
    values = GRAPHS["feedback"]()
    lif = values.nodes["layer1"]
    turned = replace(lif, parameters=dict(reversed(list(lif.parameters.items()))))  # type: ignore[attr-defined,type-var]
    assert sha256(replace(values, nodes={**values.nodes, "layer1": turned})) == sha256(values)


@pytest.mark.parametrize(
    "change",
    [
        lambda g: replace(g, dt=0.001),
        lambda g: replace(g, timing="pipelined"),
        lambda g: replace(g, nodes=dict(reversed(list(g.nodes.items())))),
        lambda g: replace(g, nodes={**g.nodes, "lif": neuron(LIF(0.8), 2)}),
        lambda g: replace(g, nodes={**g.nodes, "fc": Linear(weights(1, 2, 3), grid=WeightGrid(6))}),
        lambda g: replace(g, nodes={**g.nodes, "fc": Linear(weights(1, 2, 3) + np.float32(2**-20))}),
    ],
)
def test_any_change_changes_the_hash(change: Callable[[Graph], Graph]) -> None:
    assert sha256(change(small())) != sha256(small())


def test_notes_survive_as_they_are(tmp_path: Path) -> None:
    notes = {"tie": {"lif": "ge"}, "list": [1, [2, 3]], "none": None, "accuracy": 0.1 + 0.2, "type": "x", "array": 3}
    again = load_graph(save_graph(small(metadata=notes), tmp_path / "m.safetensors"))
    assert again.metadata == notes


def test_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"absent\.safetensors: no such model file"):
        load_graph(tmp_path / "absent.safetensors")
    with pytest.raises(FileFormatError, match="no such model file"):
        load_graph(tmp_path)


def test_truncated_anywhere(tmp_path: Path) -> None:
    content = to_bytes(small())
    for length in (0, 4, 8, 40, len(content) // 2, len(content) - 1):
        assert "not a readable .safetensors file" in refusal(tmp_path, content[:length])


def test_foreign(tmp_path: Path) -> None:
    assert "not a readable .safetensors file" in refusal(tmp_path, b"PK\x03\x04" + bytes(100))
    theirs = save_arrays({"weight": np.zeros(3, np.float32)}, metadata={"format": "pt"})
    assert "not one of neuroaccel's" in refusal(tmp_path, bytes(theirs))
    assert "not one of neuroaccel's" in refusal(tmp_path, bytes(save_arrays({"weight": np.zeros(3, np.float32)})))


@pytest.mark.parametrize(("version", "known"), [("format", FORMAT), ("opset", OPSET)])
def test_newer_versions_are_refused_by_name(tmp_path: Path, version: str, known: int) -> None:
    message = refusal(tmp_path, tampered(lambda body: body.update({version: known + 1})))
    assert f"written with {version} {known + 1}, this neuroaccel reads up to {known}; update it" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body.pop("format"), "its metadata is not readable"),
        (lambda body: body.update(opset="new"), "its metadata is not readable"),
        (lambda body: body.pop("graph"), "inconsistent model file"),
        (lambda body: body.update(graph=3), "its metadata holds no graph"),
        (lambda body: body["graph"].update(type="os.system"), "inconsistent model file (KeyError('os.system'))"),
        (lambda body: body["graph"]["fields"].update(extra=1), "inconsistent model file"),
        (lambda body: body["graph"]["fields"].pop("edges"), "inconsistent model file"),
        (lambda body: body["graph"]["fields"].update(timing="soon"), "not 'soon'"),
        (
            lambda body: body["graph"]["fields"]["nodes"]["map"].pop("lif"),
            "edge 'fc->lif:in': there is no node 'lif'",
        ),
        (
            lambda body: body["graph"]["fields"]["nodes"]["map"]["x"]["fields"].update(shape=[4]),
            "Linear 'fc' takes 3 inputs",
        ),
        (
            lambda body: body["graph"]["fields"]["nodes"]["map"]["fc"]["fields"].update(weight={"array": "nowhere"}),
            "inconsistent model file (KeyError('nowhere'))",
        ),
        (
            lambda body: body["graph"]["fields"]["nodes"]["map"]["lif"]["fields"]["program"]["program"].update(body=[]),
            "",
        ),
        (
            lambda body: body["graph"]["fields"]["nodes"]["map"]["lif"]["fields"]["program"]["program"].pop("fire"),
            "not a neuron program: KeyError('fire')",
        ),
    ],
)
def test_tampered_metadata(tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    content = tampered(change)
    if not message:  # another program that is well formed is another network, and its hash says so
        (tmp_path / "m.safetensors").write_bytes(content)
        assert sha256(load_graph(tmp_path / "m.safetensors")) != sha256(small())
        return
    assert message in refusal(tmp_path, content)


def test_non_finite_weights_are_named(tmp_path: Path) -> None:
    bad = weights(1, 2, 3)
    bad[1, 2] = np.nan
    graph = replace(small(), nodes={**small().nodes, "fc": Linear(bad)})
    with pytest.raises(GraphError, match=r"node 'fc': weight\[1, 2\] is nan"):
        save_graph(graph, tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []
    assert "node 'fc': weight[1, 2] is nan, weights must be finite" in refusal(tmp_path, to_bytes(graph))


def test_a_graph_that_does_not_validate_leaves_the_old_file(tmp_path: Path) -> None:
    path = save_graph(small(), tmp_path / "m.safetensors")
    before = path.read_bytes()
    with pytest.raises(GraphError):
        save_graph(replace(small(), edges=()), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


class PulledPlugError(BaseException):
    """What stops a process in the middle of a write, like an interrupt."""


@pytest.mark.parametrize("step", ["fdopen", "chmod", "replace"])
def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = save_graph(small(), tmp_path / "m.safetensors")
    before = path.read_bytes()

    def pulled(*args: Any, **options: Any) -> Any:
        if step == "fdopen":
            os.write(args[0], b"half")
            os.close(args[0])
        raise PulledPlugError

    monkeypatch.setattr(os, step, pulled)
    with pytest.raises(PulledPlugError):
        save_graph(replace(small(), dt=0.5), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"], "no temporary file stays behind"
    assert load_graph(path).dt is None


def test_write_replaces_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bytes, bytes]] = []
    real = os.replace
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def watching(source: str, target: Path) -> None:
        seen.append((Path(source).read_bytes(), Path(target).read_bytes()))
        assert Path(source).parent == tmp_path, "another folder could be another disk, where a rename copies"
        real(source, target)

    monkeypatch.setattr(os, "replace", watching)
    assert write_atomic(path, b"new") == path
    assert seen == [(b"new", b"old")]
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_where_nothing_can_be_written_the_file_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "none" / "a.bin", tmp_path / "folder"):
        with pytest.raises(InputError, match=f"{target}: cannot be written"):
            write_atomic(target, b"content")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def masked_attention(scale: float | None, masked: bool) -> Graph:
    ports = ["q", "k", "v", *(["mask"] if masked else [])]
    shapes = {"q": (4,), "k": (3, 4), "v": (3, 4), "mask": (3,)}
    nodes: dict[str, Node] = {port: Input(shapes[port]) for port in ports}
    edges = (*(Edge(port, "a", port) for port in ports), Edge("a", "y"))
    return Graph({**nodes, "a": Attention(2, "softmax", scale=scale), "y": Output()}, edges)


@pytest.mark.parametrize(("scale", "masked"), [(None, False), (0.3, False), (None, True), (0.3, True)])
def test_what_came_later_asks_for_a_later_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float | None, masked: bool
) -> None:
    graph = masked_attention(scale, masked)
    path = save_graph(graph, tmp_path / "m.safetensors")
    again = load_graph(path)
    assert again.nodes["a"].scale == scale  # type: ignore[attr-defined]
    assert again.ports("a") == ("q", "k", "v", *(["mask"] if masked else []))
    assert sha256(again) == sha256(graph)
    ports = tuple(graph.inputs)
    scope = Scope(graph, 1, port_names=ports)
    outer = {**{port: graph.nodes[port] for port in ports}, "s": scope, "y": Output()}
    save_graph(
        Graph(outer, (*(Edge(port, "s", port) for port in ports), Edge("s", "y"))), tmp_path / "outer.safetensors"
    )
    monkeypatch.setattr("neuroaccel.graph.file.OPSET", 1)
    for file in (path, tmp_path / "outer.safetensors"):
        if scale is None and not masked:
            assert load_graph(file).validate()
        else:
            with pytest.raises(FileFormatError, match="written with opset 2, this neuroaccel reads up to 1"):
                load_graph(file)
