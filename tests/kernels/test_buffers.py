"""Memory is used again, and never while somebody holds it."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
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
    gc.collect()  # pruned layers of earlier tests refer to themselves
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


HEAP = """
import ctypes, sys, torch
class Use(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks all".split()]
    _fields_ += [("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t)]
told = ctypes.CDLL(None).mallinfo2
told.restype = Use
def mapped(size):
    before = told().hblkhd
    block = torch.empty(size, dtype=torch.uint8)
    return told().hblkhd - before >= size
first = mapped(8 << 20)
if "kept" in sys.argv:
    import neuroaccel.kernels
print(first, mapped(20 << 20))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's heap")
def test_the_first_kernel_makes_large_blocks_the_heaps() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "LD_PRELOAD"))}
    told = {}
    for arguments, trim in (([], {}), (["kept"], {}), (["kept"], {"MALLOC_TRIM_THRESHOLD_": "131072"})):
        run = subprocess.run(
            [sys.executable, "-c", HEAP, *arguments],
            env=environment | trim,
            capture_output=True,
            text=True,
            check=False,
        )
        if "undefined symbol" in run.stderr:
            pytest.skip("glibc is older than 2.33, which cannot tell")
        assert not run.returncode, run.stderr
        told[(*arguments, *trim)] = run.stdout.split()
    assert told[()] == ["True", "True"]  # a block of its own, whose pages go when it is freed
    assert told["kept",] == ["True", "False"]
    assert told["kept", "MALLOC_TRIM_THRESHOLD_"] == ["True", "True"]


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
