"""How loss falls with size: a power law with a floor, fitted to a few sizes, and what it says of another with its doubt.

The law is L(N) = E + A / N^alpha with N the non-embedding parameters, at one number of tokens for all sizes: the term for data of the
full law is then a constant, and part of E.

Source: Hoffmann et al. (2022), Training compute-optimal large language models, section 3.3 (form with a floor); Kaplan et al. (2020),
Scaling laws for neural language models, sections 1.2 and 3 (form without one, and N without embeddings).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds

METHOD = (
    "E is bounded to [0, least measured loss); for each E, A and alpha are those of weighted least squares of log(L - E) on log N, and "
    "the E with the least squared error of L is taken. Three sizes leave no error to judge the form of the law by"
)
_FLOORS = 60  # tried between the bounds, and again around the best of them
_NEAREST = 1e-4  # of the least loss: how near to it the floor may come
_DRAWS = 1000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """L(N) = floor + scale / N^exponent."""

    floor: float
    scale: float
    exponent: float

    def at(self, size: float) -> float:
        """The loss of a model of this size."""
        return float(self.floor + self.scale * size**-self.exponent)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Prediction:
    """The loss of one more size, before it is trained.

    Attributes:
        value: from the fitted law.
        low, high: its interval for a single training, from the noise of seeds alone; None where that is not known.
        no_floor: what the law without a floor says.
        unchanged: the rival that knows nothing: the loss of the largest size that was trained.
        confidence: of the interval.
    """

    value: float
    low: float | None
    high: float | None
    no_floor: float
    unchanged: float
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def fit_law(sizes: Sequence[float], losses: Sequence[float], *, floor: float | None = None) -> Law:
    """Fit the law to the mean losses of some sizes.

    Args:
        sizes: non-embedding parameters, three different ones or more.
        losses: mean loss of each.
        floor: E where it is known; bounded and fitted where None.
    """
    floors, scales, exponents = _fit(np.asarray(sizes, float), np.asarray(losses, float)[None], floor)
    return Law(float(floors[0]), float(scales[0]), float(exponents[0]))


def predict(
    sizes: Sequence[float],
    losses: Sequence[Sequence[float]],
    size: float,
    *,
    deviation: float | None,
    freedom: int,
    seed: int,
    confidence: float = 0.95,
) -> Prediction:
    """What a law fitted to some sizes says of another.

    The interval is a parametric bootstrap: each mean is moved by its own noise, the law fitted anew, and the noise of one training
    added; with few repeats the noise itself is doubtful, which Student's t stands for. That the law holds at all is not in it.

    Args:
        sizes: non-embedding parameters of those that were trained.
        losses: of each, by seed.
        size: the one to predict.
        deviation: standard deviation from seed to seed, or None where it is not known.
        freedom: degrees of freedom of it.
        seed: of the bootstrap.
        confidence: of the interval.
    """
    known, means = np.asarray(sizes, float), np.array([float(np.mean(some)) for some in losses])
    value, plain = fit_law(sizes, means.tolist()).at(size), fit_law(sizes, means.tolist(), floor=0.0).at(size)
    low = high = None
    if deviation is not None:
        rng = seeds.generator(seed, "scaling", "interval")
        spread = deviation * np.sqrt(rng.chisquare(freedom, _DRAWS) / freedom) ** -1  # one doubtful deviation for all points of a draw
        counts = np.array([len(some) for some in losses], float)
        drawn = means + rng.standard_normal((_DRAWS, len(known))) * spread[:, None] / np.sqrt(counts)
        floors, scales, exponents = _fit(known, np.maximum(drawn, _NEAREST * means.min()), None)
        single = floors + scales * float(size) ** -exponents + rng.standard_normal(_DRAWS) * spread
        bounds = np.quantile(single, [(1 - confidence) / 2, (1 + confidence) / 2])
        low, high = min(value, float(bounds[0])), max(value, float(bounds[1]))
    return Prediction(value, low, high, plain, float(means[int(np.argmax(known))]), confidence)


def _fit(sizes: Floats, losses: Floats, floor: float | None) -> tuple[Floats, Floats, Floats]:
    """Floor, scale and exponent of each row of `losses` `(rows, sizes)`."""
    least = losses.min(axis=1, keepdims=True)
    if floor is not None:
        return _best(sizes, losses, np.full((len(losses), 1), float(floor)))
    gaps = np.geomspace(1.0, _NEAREST, _FLOORS)  # between floor and least loss, as a share of it
    floors, _, _ = _best(sizes, losses, least * (1 - gaps))
    ratio = gaps[0] / gaps[1]
    near = (1 - floors[:, None] / least) * np.geomspace(ratio, 1 / ratio, _FLOORS)
    return _best(sizes, losses, least * (1 - np.clip(near, _NEAREST, 1.0)))


def _best(sizes: Floats, losses: Floats, floors: Floats) -> tuple[Floats, Floats, Floats]:
    """Of the floors `(rows, floors)` that with the least squared error, with its scale and exponent."""
    above = losses[:, None, :] - floors[:, :, None]
    logs, weights = np.log(above), above**2  # the error of log(L - E) is that of L over L - E
    centre = np.log(sizes).mean()
    x = np.log(sizes) - centre
    total = weights.sum(axis=2)
    mean_x, mean_y = (weights * x).sum(axis=2) / total, (weights * logs).sum(axis=2) / total
    spread = (weights * (x - mean_x[:, :, None]) ** 2).sum(axis=2)
    slope = (weights * (x - mean_x[:, :, None]) * logs).sum(axis=2) / spread
    slope = np.minimum(slope, 0.0)  # a larger model is no worse
    level = mean_y - slope * mean_x
    errors = ((floors[:, :, None] + np.exp(level[:, :, None] + slope[:, :, None] * x) - losses[:, None, :]) ** 2).sum(axis=2)
    rows, place = np.arange(len(losses)), errors.argmin(axis=1)
    exponents = -slope[rows, place]
    return floors[rows, place], np.exp(level[rows, place] + exponents * centre), exponents
