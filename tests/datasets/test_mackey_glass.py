"""mackey-glass: the solver against closed forms and another solver, NeuroBench's split, the cache, bad input."""

from __future__ import annotations

import dataclasses
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from neuroaccel.datasets import mackey_glass as mg
from neuroaccel.errors import FileFormatError, RecipeError


def test_another_solver_finds_the_same() -> None:
    p = dataclasses.replace(mg.series(17), length=1.0)
    past = [lambda t: p.constant_past]
    border, value = 0.0, p.constant_past
    found = mg.generate(p)
    at = np.arange(len(found)) * p.lyapunov_time / p.points
    checked = 0
    for _ in range(8):  # delays

        def slope(t: float, x: np.ndarray, before: object = past[-1]) -> np.ndarray:
            delayed = float(np.squeeze(before(t - p.tau)))  # type: ignore[operator]
            return p.beta * delayed / (1 + delayed**p.n) - p.gamma * x

        done = solve_ivp(
            slope, (border, border + p.tau), [value], "DOP853", rtol=1e-12, atol=1e-13, dense_output=True, max_step=0.5
        )
        here = (at >= border) & (at < border + p.tau)
        np.testing.assert_allclose(found[here], done.sol(at[here])[0], rtol=0, atol=2e-9)
        checked += int(here.sum())
        past.append(done.sol)
        border, value = border + p.tau, float(done.y[0, -1])
    assert checked > 50


def test_closed_forms() -> None:
    still = mg.generate(mg.MackeyGlass(constant_past=1.0, length=0.5))  # 0.2 / 2 = 0.1
    np.testing.assert_allclose(still, 1.0, atol=1e-12)
    fading = mg.generate(mg.MackeyGlass(beta=0.0, length=0.5))
    at = np.arange(len(fading)) * 197 / 75
    np.testing.assert_allclose(fading, 0.7206597 * np.exp(-0.1 * at), rtol=1e-11)


@pytest.mark.parametrize("tau", mg.SERIES)
def test_series_do_not_depend_on_the_solver_s_grid_and_stay_on_the_attractor(tau: int) -> None:
    p = dataclasses.replace(mg.series(tau), length=10.0)
    found = mg.generate(p)
    assert found.shape == (751,)
    assert found[0] == p.constant_past
    assert (found > 0.1).all()
    assert (found < 1.5).all()
    assert found[75:].std() > 0.15
    other = mg.generate(dataclasses.replace(p, pieces=17, degree=24))
    np.testing.assert_allclose(found[: 5 * 75], other[: 5 * 75], rtol=0, atol=1e-8)


def test_errors_grow_by_about_e_per_lyapunov_time() -> None:
    p = dataclasses.replace(mg.series(17), length=15.0)
    apart = np.abs(mg.generate(p) - mg.generate(dataclasses.replace(p, constant_past=p.constant_past + 1e-9)))
    growth = np.log(apart[14 * 75 :].mean() / apart[2 * 75 : 3 * 75].mean()) / 12
    assert 0.6 < growth < 1.4


def test_the_split_is_neurobench_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = types.ModuleType("jitcdde")  # which it imports, to generate; here it reads our series
    absent.y, absent.t, absent.jitcdde_lyap = (lambda *_: 1.0), 0.0, None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jitcdde", absent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from neurobench.datasets.mackey_glass import MackeyGlass
    x = mg.load(23)
    file = tmp_path / "mg_23.npy"
    np.save(file, x)
    for repeat in (0, 7, 29):
        theirs = MackeyGlass(str(file), start_offset=repeat * 0.5 * 75, download=False)
        ours = mg.split(mg.load(file=file), repeat)
        parts = ((theirs.ind_train, ours.train, ours.train_target), (theirs.ind_test, ours.test, ours.test_target))
        for indices, points, targets in parts:
            sample, target = theirs[indices]
            assert np.array_equal(sample[:, 0, 0], points)
            assert np.array_equal(target[:, 0], targets)
    assert len(x) == 50 * 75 + 1


def test_generated_once(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = dataclasses.replace(mg.series(20), length=2.0)
    first = mg.load(parameters=short)
    assert any(cache_dir.iterdir())

    def refuse(p: mg.MackeyGlass) -> np.ndarray:
        raise AssertionError(f"generated again: {p}")

    monkeypatch.setattr(mg, "generate", refuse)
    assert np.array_equal(mg.load(parameters=short), first)
    with pytest.raises(AssertionError, match="generated again"):
        mg.load(parameters=dataclasses.replace(short, gamma=0.11))


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="unknown delay 16"):
        mg.series(16)
    for change in ({"tau": 0.0}, {"points": 0}, {"degree": 3}, {"beta": float("nan")}):
        with pytest.raises(RecipeError, match="expected"):
            dataclasses.replace(mg.series(17), **change)
    x = np.ones(1501)
    mg.split(x)
    for repeat in (1, -1):
        with pytest.raises(RecipeError, match=f"repeat {repeat} "):
            mg.split(x, repeat)
    with pytest.raises(FileFormatError, match=r"none\.npy"):
        mg.load(file=tmp_path / "none.npy")
    for name, content in {"text": b"tau", "cut": b"\x93NUMPY\x01\x00v\x00"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError, match=name):
            mg.load(file=tmp_path / name)
    for values in (np.ones((3, 4)), np.array([1.0, np.nan, 1.0])):
        np.save(tmp_path / "odd.npy", values)
        with pytest.raises(FileFormatError, match=r"odd\.npy"):
            mg.load(file=tmp_path / "odd.npy")
