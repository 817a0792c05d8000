"""Memory is used again, and never while somebody holds it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import neuroaccel.kernels  # noqa: F401
from neuroaccel.kernels import buffers
from neuroaccel.neurons import LIF

SIZE = (64, 1024)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    buffers.release()
    yield
    buffers.release()


def test_memory_comes_back_when_its_last_holder_is_gone() -> None:
    a = buffers.empty(*SIZE)
    place, view = a.data_ptr(), a[3:5]
    del a
    assert buffers.empty(*SIZE).data_ptr() != place
    array = view.numpy()
    del view
    assert buffers.empty(*SIZE).data_ptr() != place
    detached = torch.from_numpy(array)
    del array
    assert buffers.empty(*SIZE).data_ptr() != place
    del detached
    held = [buffers.empty(*SIZE) for _ in range(2)]
    assert place in [t.data_ptr() for t in held]


def test_what_autograd_saved_is_held() -> None:
    a = buffers.empty(*SIZE).fill_(3.0)
    w = torch.ones((), requires_grad=True)
    loss = (a * w).sum()
    del a
    for _ in range(3):
        buffers.empty(*SIZE).fill_(-1.0)
    loss.backward()
    assert w.grad == 3 * SIZE[0] * SIZE[1]


def test_tensors_are_aligned_and_idle_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "IDLE_BYTES", 1 << 19)
    held = [buffers.empty(64, 1024 * k) for k in range(1, 7)]
    assert all(t.data_ptr() % 64 == 0 for t in held)
    assert buffers.idle_bytes() == 0
    del held
    buffers.empty(5, 1 << 17)  # none of them fits
    assert buffers.idle_bytes() <= (1 << 19) + 5 * (1 << 19)
    buffers.release()
    assert buffers.idle_bytes() == 0


def test_small_tensors_are_torchs_own() -> None:
    held = buffers.empty(3)
    assert (held.shape, buffers.idle_bytes(), len(buffers._BUFFERS)) == ((3,), 0, 0)


def test_kept_results_stay_as_they_are_over_many_runs() -> None:
    layer = LIF(beta=0.9, learnable={"beta"})
    x = torch.from_numpy(np.random.default_rng(0).normal(0.3, 1.0, (20, 8, 512)).astype(np.float32)).requires_grad_()
    y, state = layer(x)
    (grad,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    copies = y.clone(), state["v"].clone(), grad.clone()
    for k in range(4):
        z, _ = layer((x * k).detach().requires_grad_())
        z.sum().backward()
    assert all(torch.equal(a, b) for a, b in zip((y, state["v"], grad), copies, strict=True))
    again = torch.autograd.grad(y.sum(), x)[0]
    assert torch.equal(again, grad)
