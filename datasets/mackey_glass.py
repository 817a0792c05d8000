"""mackey-glass: NeuroBench's chaotic series, generated: 14 delays, each 50 Lyapunov times of 75 points.

    x'(t) = beta·x(t − tau) / (1 + x(t − tau)^n) − gamma·x(t),    x(t ≤ 0) = constant_past

NeuroBench ships series that jitcdde computed on one machine. The system is chaotic: two solvers, or machines, part
after some tens of Lyapunov times, whatever their accuracy (an error of 1e-16 has grown by e^37 to order 1). These are
the same equation, constants, sampling and split, solved to rounding error, so they follow NeuroBench's files closely at
the start and are other stretches of the same attractor at the end. Published scores are comparable in kind, not point
for point; where the original file is at hand, :func:`load` reads it.

Source: the equation: Mackey, Glass, Science 197:287 (1977). Constants, sampling, split: NeuroBench 2.3.0,
``neurobench/datasets/mackey_glass.py``; per delay ``mackey_glass_parameters.csv`` of its data set
(huggingface.co/datasets/NeuroBench/mackey_glass, CC-BY-4.0).
# ours: the solver.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.cache import cache_key, cached
from neuroaccel.errors import FileFormatError, RecipeError

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other points."""

# tau -> (Lyapunov time, constant past)
SERIES: dict[int, tuple[float, float]] = {
    17: (197, 0.7206597),
    18: (138, 0.7744313),
    19: (315, 0.7783468),
    20: (131, 0.9225991),
    21: (191, 0.9479431),
    22: (119, 0.5455960),
    23: (106, 0.8622247),
    24: (97, 0.3259660),
    25: (98, 0.8297825),
    26: (104, 1.0033490),
    27: (112, 0.6491406),
    28: (119, 1.0957495),
    29: (131, 0.9256179),
    30: (139, 0.2713639),
}
POINTS = 75
LENGTH = 50
SHIFT = 0.5
REPEATS = 30


@dataclass(frozen=True)
class MackeyGlass:
    """One series; every field goes into the cache's key.

    Arguments:
        tau: delay.
        lyapunov_time: time in which a small error grows by e.
        constant_past: x before t = 0.
        beta, gamma, n: of the equation.
        points: samples per Lyapunov time.
        length: Lyapunov times.
        pieces: parts of a delay that the solver handles one by one.
        degree: of the polynomial on each of them.

    Raises:
        RecipeError: a parameter is out of its range.
    """

    tau: float = 17.0
    lyapunov_time: float = 197.0
    constant_past: float = 0.7206597
    beta: float = 0.2
    gamma: float = 0.1
    n: float = 10.0
    points: int = POINTS
    length: float = LENGTH
    pieces: int = 12
    degree: int = 20

    def __post_init__(self) -> None:
        checks = {
            "tau, lyapunov_time, length > 0": min(self.tau, self.lyapunov_time, self.length) > 0,
            "constant_past ≥ 0": self.constant_past >= 0,
            "points, pieces ≥ 1": min(self.points, self.pieces) >= 1,
            "degree ≥ 4": self.degree >= 4,
            "finite values": all(np.isfinite(v) for v in dataclasses.astuple(self)),
        }
        for rule, holds in checks.items():
            if not holds:
                raise RecipeError(f"{self}: expected {rule}")


@dataclass(frozen=True, eq=False)
class Split:
    """What NeuroBench trains and tests on: ``x[i]`` is to be followed by ``target[i]``.

    Arguments:
        train, train_target: ``[train points]``, the first Lyapunov times of the stretch.
        test, test_target: ``[test points]``, those behind them. A forecast reads ``test[0]`` alone and then its own
            predictions.
    """

    train: NDArray[np.float64]
    train_target: NDArray[np.float64]
    test: NDArray[np.float64]
    test_target: NDArray[np.float64]


def series(tau: int) -> MackeyGlass:
    """NeuroBench's parameters for one of its 14 delays.

    Raises:
        RecipeError: a delay that it does not have.
    """
    if tau not in SERIES:
        raise RecipeError(f"mackey-glass: unknown delay {tau}; there are {min(SERIES)} to {max(SERIES)}")
    lyapunov_time, past = SERIES[tau]
    return MackeyGlass(tau=float(tau), lyapunov_time=float(lyapunov_time), constant_past=past)


def load(tau: int = 17, parameters: MackeyGlass | None = None, file: str | Path | None = None) -> NDArray[np.float64]:
    """A whole series, ``[length·points + 1]``, generated on first use and cached.

    Arguments:
        tau: one of NeuroBench's delays; used where ``parameters`` is None.
        parameters: any other series.
        file: read NeuroBench's own ``mg_TAU.npy`` instead.

    Raises:
        RecipeError: an unknown delay.
        FileFormatError: a file that is missing, or holds no series.
    """
    if file is not None:
        return _read(Path(file))
    parameters = parameters or series(tau)
    key = cache_key(GENERATOR_VERSION, dataclasses.asdict(parameters))
    return np.asarray(cached("mackey-glass", key, lambda: {"x": generate(parameters)})["x"], np.float64)


def _read(path: Path) -> NDArray[np.float64]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FileFormatError(f"{path}: not a series in NumPy's format ({error})") from error
    if not isinstance(found, np.ndarray) or found.size < 2 or found.size != max(found.shape):
        raise FileFormatError(f"{path}: expected one row of points, found an array of shape {np.shape(found)}")
    values = found.reshape(-1).astype(np.float64)
    if not np.isfinite(values).all():
        raise FileFormatError(f"{path}: holds values that are not finite")
    return values


def split(
    x: NDArray[np.float64], repeat: int = 0, points: int = POINTS, train_time: float = 10.0, test_time: float = 10.0
) -> Split:
    """NeuroBench's split of a series, for one of its repeats.

    Arguments:
        x: ``[points]``, the whole series.
        repeat: from 0 to 29; each begins half a Lyapunov time later.
        points: samples per Lyapunov time.
        train_time, test_time: Lyapunov times of each part.

    Raises:
        RecipeError: the series ends before the stretch does.
    """
    first = int(repeat * SHIFT * points)  # NeuroBench cuts half a point off
    train, test = round(train_time * points), round(test_time * points)
    if repeat < 0 or train < 1 or test < 1 or first + train + test + 1 > len(x):
        raise RecipeError(
            f"mackey-glass: repeat {repeat} takes points {first} to {first + train + test} of a series of {len(x)}"
        )
    part = x[first : first + train + test + 1]
    return Split(part[:train], part[1 : train + 1], part[train:-1], part[train + 1 :])


def generate(p: MackeyGlass) -> NDArray[np.float64]:
    """Solve the equation by the method of steps.

    Over one delay the delayed term is a known function f, and the rest is linear: x(t) = x(0) + ∫ (f − gamma·x). On a
    piece of a delay x is a polynomial through Chebyshev's points; with S the matrix that integrates such polynomials,
    x = (I + gamma·S)⁻¹ (x(0) + S f). Every jump of a derivative, at t = 0, tau, 2·tau…, lies on a border of pieces.

    Returns:
        ``[length·points + 1]``: x at t = 0 and then ``points`` times per Lyapunov time.
    """
    total = round(p.length * p.points)
    at = np.arange(total + 1, dtype=np.float64) * (p.lyapunov_time / p.points)
    width = p.tau / p.pieces
    nodes, integral = _chebyshev(p.degree)
    integral = integral * (width / 2)
    solve = np.linalg.inv(np.eye(p.degree + 1) + p.gamma * integral)
    count = int(np.ceil(at[-1] / width)) + 1
    values = np.full((p.pieces + count, p.degree + 1), p.constant_past)
    for k in range(count):
        delayed = values[k]  # the piece one delay earlier
        f = p.beta * delayed / (1 + np.abs(delayed) ** p.n)
        values[p.pieces + k] = solve @ (values[p.pieces + k - 1][-1] + integral @ f)
    piece = np.minimum((at / width).astype(np.int64), count - 1)
    return _interpolate(nodes, values[p.pieces + piece], np.asarray(2 * (at / width - piece) - 1, np.float64))


def _chebyshev(degree: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chebyshev's points on [−1, 1], rising, and the matrix that integrates from −1 to each of them."""
    nodes = -np.cos(np.pi * np.arange(degree + 1) / degree)
    basis = np.polynomial.chebyshev.chebvander(nodes, degree)
    unit = np.eye(degree + 1)
    integrals = [np.polynomial.chebyshev.chebval(nodes, np.polynomial.chebyshev.chebint(c, lbnd=-1)) for c in unit]
    return nodes, np.stack(integrals, axis=1) @ np.linalg.inv(basis)


def _interpolate(
    nodes: NDArray[np.float64], values: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Polynomials through ``values`` ``[M, nodes]``, each at its own place ``at`` ``[M]``: the barycentric formula."""
    weights = (-1.0) ** np.arange(len(nodes))
    weights[[0, -1]] *= 0.5
    distance = at[:, None] - nodes
    exact = np.abs(distance) < 1e-14
    terms = weights / np.where(exact, 1.0, distance)
    found = (terms * values).sum(axis=1) / terms.sum(axis=1)
    hit = exact.any(axis=1)
    found[hit] = values[hit, exact[hit].argmax(axis=1)]
    return np.asarray(found, np.float64)
