"""How far an input lies from what a model knows: energy of its logits, Mahalanobis distance and nearest neighbours of its embedding.

Each is higher the further it lies. What a Mahalanobis distance is made of are means and a covariance: aggregates, which may ship with a
model, where enough rows stand behind them. Neighbours are rows, and never leave the run.

Source: Liu et al. (2020), NeurIPS, section 3 (energy); Lee et al. (2018), NeurIPS, section 2.1 (Mahalanobis distance to the nearest class,
one covariance for all); Ledoit & Wolf (2004), J. Multivar. Anal. 88, section 3.3 (shrinkage); Tipping & Bishop (1999), JRSS B 61, section
3.2 (few axes of a covariance, and one variance for the rest); Sun et al. (2022), ICML, section 3 (neighbours of normalised embeddings).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

AXES = 64  # of the covariance that are kept: with all, that of a model of width 768 would be half a million numbers
LEAST_OF_CLASS = 30  # rows of a class that its mean must rest on: a mean of a few would tell much of each
LEAST_SHAPED = 100  # rows that all axes together must rest on
ROWS_AN_AXIS = 5


def energy(logits: Floats) -> Floats:
    """Free energy of rows, `(rows, classes)` → `(rows,)`."""
    return np.asarray(-special.logsumexp(logits, axis=1))


def neighbours(reference: Floats, asked: Floats, k: int) -> Floats:
    """Distance to the k-th nearest reference row, all embeddings brought to length 1: `(reference, width)`, `(rows, width)` → `(rows,)`."""
    known, own = _normalised(reference), _normalised(asked)
    found = np.empty(len(own))
    for start in range(0, len(own), 1024):
        likeness = own[start : start + 1024] @ known.T
        nearest = np.partition(likeness, len(known) - k, axis=1)[:, len(known) - k]
        found[start : start + 1024] = np.sqrt(np.maximum(2 - 2 * nearest, 0))
    return found


def nearest_of(reference: int) -> int:
    """Which neighbour's distance is taken, among so many reference rows: one in a hundred."""
    return max(1, round(reference / 100))


def _normalised(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True, eq=False)
class Shape:
    """Where known embeddings lie: a mean for each class, and one covariance of all about them.

    Attributes:
        names: of the classes that have a mean, or one name for all rows together.
        means: `(classes, width)`.
        axes: directions of the largest variances, orthonormal `(axes, width)`.
        variances: along them, `(axes,)`.
        rest: variance along every other direction.
        rows: that all this rests on.
    """

    names: tuple[str, ...]
    means: Floats
    axes: Floats
    variances: Floats
    rest: float
    rows: int

    def distances(self, asked: Floats) -> Floats:
        """Squared Mahalanobis distance to the nearest mean, `(rows, width)` → `(rows,)`."""
        gaps = asked[:, None, :] - self.means[None]
        along = gaps @ self.axes.T
        beside = np.maximum((gaps**2).sum(2) - (along**2).sum(2), 0)
        return np.asarray(((along**2 / self.variances).sum(2) + beside / self.rest).min(1))

    def to_json(self) -> dict[str, Any]:
        """As a server reads it; seven digits are more than float32 answers have."""
        return {
            "rows": self.rows,
            "means": {name: _short(mean) for name, mean in zip(self.names, self.means, strict=True)},
            "axes": [_short(axis) for axis in self.axes],
            "variances": _short(self.variances),
            "rest": float(f"{self.rest:.7g}"),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Shape:
        """Inverse of `to_json`, to seven digits."""
        means, axes = np.array(list(data["means"].values()), float), np.array(data["axes"], float)
        return cls(tuple(data["means"]), means, axes, np.array(data["variances"], float), float(data["rest"]), int(data["rows"]))


def _short(values: Floats) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]


def shape_of(known: Floats, codes: NDArray[np.int64] | None, names: Sequence[str]) -> Shape | str:
    """The shape of known embeddings, or why there is none.

    Args:
        known: `(rows, width)`.
        codes: class of each row, or None where rows have none: all then share one mean.
        names: of the classes.
    """
    from sklearn.covariance import ledoit_wolf

    counts = np.zeros(0, np.int64) if codes is None else np.bincount(codes, minlength=len(names))
    kept = np.flatnonzero(counts >= LEAST_OF_CLASS)
    if codes is None or not len(kept):
        own, place = known, np.zeros(len(known), np.int64)
        named: tuple[str, ...] = ("*",)
    else:
        rows = np.isin(codes, kept)
        own, place = known[rows], np.searchsorted(kept, codes[rows])
        named = tuple(names[code] for code in kept.tolist())
    if len(own) < LEAST_SHAPED:
        return f"{len(own)} rows, fewer than the minimum of {LEAST_SHAPED}"
    means = np.stack([own[place == code].mean(0) for code in range(len(named))])
    covariance = ledoit_wolf(own - means[place], assume_centered=True)[0]
    values, vectors = np.linalg.eigh(covariance)
    count = min(AXES, len(values) - 1, len(own) // ROWS_AN_AXIS)
    order = np.argsort(values)[::-1]
    values, vectors = np.maximum(values[order], 1e-12), vectors[:, order]
    return Shape(named, means, vectors[:, :count].T.copy(), values[:count], float(values[count:].mean()), len(own))
