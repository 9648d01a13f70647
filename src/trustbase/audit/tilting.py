"""Bounds of a mean, or of a sum of means over parts of the rows, by tilting the sample: one score interval for many metrics.

Wilson's interval asks of each possible rate how likely the observed one would be under it, with the spread that *that* rate has. Tilting
asks the same of any mean: the sample is reweighted by `exp(s x)`, which moves its mean and changes as little else as can be, until the
observed mean lies at the normal quantile of the tilted sample. So a bound knows the spread that a worse truth would bring, which a
normal interval on the observed spread does not. For zeros and ones it is Wilson's interval.

A sample does not show what is rarer than its rows, so each part carries ghosts: what an unseen row may count, together weighing less
than a row or two. They matter only where the rows themselves do not reach.

Source: Efron (1981), Canad. J. Statist. 9 (nonparametric tilting); DiCiccio & Romano (1990), Int. Statist. Rev. 58 (least favourable
families); Wilson (1927), JASA 22. The ghosts' weights are ours, chosen by simulation (`benchmarks/interval_coverage.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SOURCE = "Efron (1981), Canad. J. Statist. 9; DiCiccio & Romano (1990), Int. Statist. Rev. 58 (tilting); Wilson (1927), JASA 22"
_STEPS = 80  # of the root search, each a Newton step inside a bracket; six to ten are usual


@dataclass(frozen=True, eq=False)
class Part:
    """Rows that were drawn together, such as those of one label.

    Attributes:
        values: what each row adds to the mean of its part, ghosts last, `(…, values)`.
        weights: rows that each value stands for; 1 for a row, less for a ghost; broadcastable to `values`.
        rows: how many rows were drawn, less degrees of freedom that the statistic spends.
    """

    values: Floats
    weights: Floats
    rows: float

    @classmethod
    def of(cls, values: ArrayLike, ghosts: Sequence[ArrayLike], weight: float, *, lost: int = 0) -> Part:
        """Rows `(…, rows)` and ghosts (each of the leading shape) of one weight each; `lost` degrees of freedom are taken off the rows."""
        x = np.asarray(values, float)
        extra = [np.broadcast_to(np.asarray(ghost, float), x.shape[:-1])[..., None] for ghost in ghosts]
        weights = np.append(np.ones(x.shape[-1]), np.full(len(extra), weight))
        return cls(np.concatenate([x, *extra], axis=-1), weights, max(x.shape[-1] - lost, 1))

    def shares(self, tilt: Floats) -> Floats:
        """What each value weighs in the tilted sample, `(…, values)`; they sum to 1."""
        power = np.clip(tilt / self.rows, -1e12, 1e12)[..., None] * self.values
        weight = self.weights * np.exp(power - power.max(-1, keepdims=True))
        return np.asarray(weight / weight.sum(-1, keepdims=True))


def tilted_bounds(
    parts: Sequence[Part], value: ArrayLike, centre: ArrayLike, quantile: float, variance: float = 0.0
) -> tuple[Floats, Floats]:
    """Bounds of a statistic that is `centre` plus the parts' means.

    Args:
        parts: independent parts of the rows.
        value: the observed statistic; any leading shape (simulations use one for draws).
        centre: what the statistic is beside the parts' means.
        quantile: two-sided normal quantile.
        variance: what else its variance holds, whatever the truth.
    """
    observed, beside = np.broadcast_arrays(np.asarray(value, float), np.asarray(centre, float))
    low, high = (_bound(parts, observed, beside, side * quantile, variance)[0] for side in (-1.0, 1.0))
    return np.minimum(low, observed), np.maximum(high, observed)


def bounding_shares(part: Part, value: ArrayLike, quantile: float) -> Floats:
    """What each value weighs in the sample from whose mean the observed one is `quantile` standard errors away, `(…, values)`.

    Other statistics of the same rows can be read from it: those of the least favourable sample, where `values` are how much each row
    moves the statistic.

    Args:
        part: the rows.
        value: their observed mean.
        quantile: normal quantile, below 0 for the lower bound.
    """
    observed = np.asarray(value, float)
    return part.shares(_bound([part], observed, np.zeros(observed.shape), quantile, 0.0)[1])


def _bound(parts: Sequence[Part], value: Floats, centre: Floats, quantile: float, variance: float) -> tuple[Floats, Floats]:
    """The statistic of the tilted sample from which the observed one is `quantile` standard errors away, and that tilt."""
    side = np.sign(quantile)
    _, spread, _ = _tilted(parts, centre, np.zeros(value.shape))
    tilt = quantile / np.sqrt(np.maximum(spread, 1e-12))
    near, far = np.zeros(value.shape), np.full(value.shape, np.inf * side)
    mean = value
    for _ in range(_STEPS):
        mean, spread, third = _tilted(parts, centre, tilt)
        error = np.sqrt(spread + variance)
        excess = side * (mean - value) - abs(quantile) * error  # rises with the size of the tilt
        if (np.abs(excess) <= 1e-9 * (error + 1e-12)).all():
            break
        inside = excess <= 0
        near, far = np.where(inside, tilt, near), np.where(inside, far, tilt)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = tilt - excess / (side * spread - abs(quantile) * third / (2 * error))
            between = np.where(np.isinf(far), 2 * tilt, (near + far) / 2)
            bracketed = (side * newton > side * near) & (side * newton < side * far)
            usable = np.isfinite(newton) & bracketed & (np.abs(newton) <= 4 * np.abs(tilt))
        tilt = np.where(usable, newton, between)
    return mean, tilt


def _tilted(parts: Sequence[Part], centre: Floats, tilt: Floats) -> tuple[Floats, Floats, Floats]:
    """Statistic, variance and third cumulant of the tilted sample, each of the shape of `tilt`."""
    mean, spread, third = centre.astype(float), np.zeros(tilt.shape), np.zeros(tilt.shape)
    for part in parts:
        weight = part.shares(tilt)
        at = (weight * part.values).sum(-1)
        distance = part.values - at[..., None]
        squares = weight * distance * distance
        mean = mean + at
        spread = spread + squares.sum(-1) / part.rows
        third = third + (squares * distance).sum(-1) / part.rows**2
    return mean, spread, third
