"""LIME: a linear model of how the scores change as units of one input are left out at random, near inputs weighing more.

The sampling, the distance (cosine, times 100), the kernel and the ridge regression are those of the package `lime` for texts, so that the
same masks and scores give the same weights (a test holds it to 1e-6). What it does not have: every weight with its error, and a
stop as soon as the first few units are settled.

Source: Ribeiro, Singh & Guestrin (2016), "Why should I trust you?", KDD, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.explain.units import Masks

Floats = NDArray[np.float64]

KERNEL_WIDTH = 25.0
RIDGE = 1.0
_DRAWS = 200  # of the weights, to see how often the first units would be others


@dataclass(frozen=True, eq=False)
class Linear:
    """A weighted ridge regression of scores on which units are kept.

    Attributes:
        weights: `(units, scores)`.
        covariance: of the errors of `weights`, for each score, `(scores, units, units)`.
        intercept: `(scores,)`.
        fit: share of the weighted variance that it explains, `(scores,)`.
    """

    weights: Floats
    covariance: Floats
    intercept: Floats
    fit: Floats


def draw_masks(units: int, samples: int, rng: np.random.Generator) -> Masks:
    """Masks of a neighbourhood, `(samples, units)`: of each a random number of units is left out, at least one."""
    left_out = rng.integers(1, units + 1, samples)
    ranks = rng.random((samples, units)).argsort(axis=1).argsort(axis=1)
    return np.asarray(ranks >= left_out[:, None])


def fit_linear(masks: Masks, scores: Floats, *, kernel_width: float = KERNEL_WIDTH, ridge: float = RIDGE) -> Linear:
    """The linear model of a neighbourhood, for each score by itself.

    Errors are those of a weighted regression whose residuals differ in size from input to input (sandwich form); they speak of other
    draws of masks, not of how well a line fits.

    Args:
        masks: `(samples, units)`, with the whole input among them.
        scores: `(samples, scores)`.
        kernel_width: distance (0 to 100) over which weights fall off.
        ridge: penalty on the squared weights.

    Source: Hoerl & Kennard (1970), Technometrics 12 (ridge); White (1980), Econometrica 48 (errors).
    """
    kept = np.asarray(masks, dtype=np.float64)
    distance = 100 * (1 - np.sqrt(kept.mean(axis=1)))
    near = np.sqrt(np.exp(-((distance / kernel_width) ** 2)))
    total = near.sum()
    centre, level = near @ kept / total, near @ scores / total
    moved, told = kept - centre, scores - level
    inverse = np.linalg.inv(moved.T * near @ moved + ridge * np.eye(kept.shape[1]))
    weights = inverse @ (moved.T * near @ told)
    left = told - moved @ weights
    covariance = np.stack([_sandwich(inverse, moved, near * left[:, score]) for score in range(scores.shape[1])])
    spread = near @ told**2
    fit = 1 - np.divide(near @ left**2, spread, out=np.ones_like(spread), where=spread > 0)
    return Linear(weights, covariance, level - centre @ weights, fit)


def _sandwich(inverse: Floats, moved: Floats, left: Floats) -> Floats:
    parts = moved * left[:, None] @ inverse
    return np.asarray(parts.T @ parts)


def settled(weights: Floats, covariance: Floats, first: int, rng: np.random.Generator) -> float:
    """Share of the `first` units with the largest |weight| that other masks would name too, by what errors allow; 1 where all are named.

    Args:
        weights: `(units,)`.
        covariance: of their errors, `(units, units)`.
        first: how many units are looked at.
    """
    if len(weights) <= first:
        return 1.0
    drawn = rng.multivariate_normal(weights, covariance, size=_DRAWS, method="eigh")
    named = np.zeros(len(weights), dtype=bool)
    named[largest(weights, first)] = True
    others = np.argpartition(-np.abs(drawn), first - 1, axis=1)[:, :first]
    return float(named[others].mean())


def largest(weights: NDArray[Any], first: int) -> NDArray[np.int64]:
    """The units of the largest |weight|, in that order; of equal ones the earlier."""
    return np.argsort(-np.abs(weights), kind="stable")[:first]
