"""Largest gap and smallest ratio over groups, with intervals that hold even where no gap exists.

The largest observed gap is biased upward: with equal true rates it is still above zero in every sample, so a percentile
bootstrap of it never covers zero. Here every pair of groups is a contrast with bounds of its own, and the largest true gap
G = max(p_a - p_b) is bounded through them:

* `low` is the largest lower bound over all pairs. Pairs are searched, so all bounds must hold at once: the critical value
  is that of the studentised range (Tukey-Kramer), at level (1 - confidence) / 2.
* `high` is the largest upper bound over all pairs. The pair that attains G is unknown but fixed, and its own bound is never
  above the largest, so no correction is needed (intersection-union principle), again at level (1 - confidence) / 2.

Bounds of one pair combine Jeffreys' bounds of the two rates (MOVER); each bound is used on one side only and far out in the tail,
where Wilson's are too short for low rates (Cai 2005, and measured here: down to 79 % coverage). All functions take counts
`(…, groups)` and work on any leading axes at once.

Source: Tukey-Kramer simultaneous contrasts: Hayter (1984), Ann. Statist. 12, theorem 1 (conservative for unequal sizes);
simultaneous score-type bounds of all pairs of binomial rates: Agresti, Bini, Bertaccini & Ryu (2008), Biometrics 64. The combination
used here is approximate; its coverage is measured in `benchmarks/interval_coverage.py`. Others:
intersection-union: Berger (1982), Technometrics 24, section 2; one-sided bounds: Cai (2005), J. Statist. Plann. Inference
131, section 2; MOVER: Newcombe (1998), Statist. Med. 17, 873, method 10, and Donner & Zou (2012), Statist. Methods Med.
Res. 21, sections 2.1 (difference) and 2.3 (ratio).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from trustbase.audit.stats import Floats, Interval, enclosing, normal_quantile

GAP_METHOD = (
    "approximate simultaneous contrasts of all pairs of groups (studentised range below, intersection-union above; MOVER of Jeffreys)"
)
RATIO_METHOD = (
    "approximate simultaneous ratios of all pairs of groups (studentised range above, intersection-union below; MOVER of Jeffreys)"
)
SOURCE = "Hayter (1984), Ann. Statist. 12; Agresti, Bini, Bertaccini & Ryu (2008), Biometrics 64; Donner & Zou (2012), SMMR 21, sec. 2"


@dataclass(frozen=True, eq=False)
class Rates:
    """Rates of groups as counts.

    Attributes:
        successes: `(…, groups)`.
        n: trials, same shape; at least 1.
    """

    successes: Floats
    n: Floats

    @classmethod
    def of(cls, successes: ArrayLike, n: ArrayLike) -> Rates:
        """Check and take counts.

        Raises:
            ValueError: fewer than two groups, or an empty group.
        """
        k, trials = np.broadcast_arrays(np.asarray(successes, float), np.asarray(n, float))
        if k.ndim == 0 or k.shape[-1] < 2:
            raise ValueError(f"a gap needs at least two groups, got shape {k.shape}")
        if (trials < 1).any() or (k < 0).any() or (k > trials).any():
            raise ValueError("each group needs 0 <= successes <= n and n >= 1")
        return cls(k, trials)

    @property
    def rate(self) -> Floats:
        return self.successes / self.n

    @property
    def groups(self) -> int:
        return int(self.n.shape[-1])


@dataclass(frozen=True, eq=False)
class Bounds:
    """Low, value and high, each of the leading shape of the counts."""

    low: Floats
    value: Floats
    high: Floats

    def interval(self, method: str, n: int, source: str = SOURCE) -> Interval:
        """The interval of a single set of counts (no leading axes)."""
        return enclosing(float(self.low), float(self.value), float(self.high), method, source, n)


def gap_bounds(rates: Rates, *, confidence: float = 0.95) -> Bounds:
    """Largest minus smallest rate."""
    return worst_gap_bounds([rates], confidence=confidence)


def worst_gap_bounds(families: Sequence[Rates], *, confidence: float = 0.95) -> Bounds:
    """The larger of several largest gaps, such as equalized odds over true and false positive rates.

    The families must rest on different rows, as positives and negatives do.
    """
    critical = _critical(tuple(family.groups for family in families), confidence)
    z = normal_quantile(confidence)
    low = np.maximum.reduce([_contrasts(family, critical, -1)[2].max(-1) for family in families])
    high = np.maximum.reduce([_contrasts(family, z, +1)[2].max(-1) for family in families])
    value = np.maximum.reduce([np.ptp(family.rate, axis=-1) for family in families])
    return Bounds(np.clip(low, 0, None), value, np.clip(high, None, 1))


def mean_gap_bounds(first: Rates, second: Rates, *, confidence: float = 0.95) -> Bounds:
    """Mean of two largest gaps over different rows, such as average odds over true and false positive rates.

    Below, half the sum of both largest lower bounds, which hold at once; above, the pair of each family that attains its gap is fixed,
    so the largest bound over one pair of each, with both distances combined (MOVER).
    """
    critical = _critical((first.groups, second.groups), confidence)
    low = sum(np.clip(_contrasts(family, critical, -1)[2].max(-1), 0, None) for family in (first, second)) / 2
    z = normal_quantile(confidence)
    high = _best_sum(_contrasts(first, z, +1), _contrasts(second, z, +1)) / 2
    value = (np.ptp(first.rate, axis=-1) + np.ptp(second.rate, axis=-1)) / 2
    return Bounds(np.asarray(low), value, np.clip(high, None, 1))


def ratio_bounds(rates: Rates, *, confidence: float = 0.95) -> Bounds:
    """Smallest divided by largest rate; NaN where every rate is zero (a ratio of nothing)."""
    p = rates.rate
    with np.errstate(invalid="ignore", divide="ignore"):
        value = p.min(-1) / p.max(-1)
        low = _ratio_contrasts(rates, normal_quantile(confidence))[0].min(-1)
        critical = _critical((rates.groups,), confidence)
        high = _ratio_contrasts(rates, critical)[1].min(-1)
    return Bounds(np.fmin(low, value), value, np.fmax(np.fmin(high, 1), value))


def _contrasts(rates: Rates, quantile: float, side: int) -> tuple[Floats, Floats, Floats]:
    """Difference of every ordered pair, the distance to its bound on one side (MOVER), and that bound, `(…, pairs)`."""
    a, b = _pairs(rates.groups)
    low, high = _jeffreys_bounds(rates, quantile)
    p = rates.rate
    up, down = high - p, p - low
    first, second = (up, down) if side > 0 else (down, up)
    difference = p[..., a] - p[..., b]
    distance = np.sqrt(first[..., a] ** 2 + second[..., b] ** 2)
    return difference, distance, difference + side * distance


def _ratio_contrasts(rates: Rates, quantile: float) -> tuple[Floats, Floats]:
    """Bounds of the ratio of every ordered pair, `(…, pairs)`; the lower one in a form without cancellation."""
    a, b = _pairs(rates.groups)
    low, high = _jeffreys_bounds(rates, quantile)
    p, q = rates.rate[..., a], rates.rate[..., b]
    l1, u1, l2, u2 = low[..., a], high[..., a], low[..., b], high[..., b]
    x, y = l1 * (2 * p - l1), u2 * (2 * q - u2)
    lower = np.where(x > 0, x / (p * q + np.sqrt(np.maximum((p * q) ** 2 - x * y, 0))), 0.0)
    x, y = u1 * (2 * p - u1), l2 * (2 * q - l2)
    upper = np.where(y > 0, (p * q + np.sqrt(np.maximum((p * q) ** 2 - x * y, 0))) / y, np.inf)
    return lower, upper


def _pairs(groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    a, b = np.nonzero(~np.eye(groups, dtype=bool))
    return a, b


def _best_sum(first: tuple[Floats, Floats, Floats], second: tuple[Floats, Floats, Floats]) -> Floats:
    """Largest `d + e + sqrt(v² + w²)` over a pair of each family; loops over the first, so memory stays small."""
    best = np.full(first[0].shape[:-1], -np.inf)
    for i in range(first[0].shape[-1]):
        d, v = first[0][..., i : i + 1], first[1][..., i : i + 1]
        best = np.maximum(best, (d + second[0] + np.sqrt(v**2 + second[1] ** 2)).max(-1))
    return best


@cache
def _critical(groups: tuple[int, ...], confidence: float) -> float:
    """What the largest contrast of all families, in units of its error, stays under with probability `(1 + confidence) / 2`."""
    target = (1 + confidence) / 2
    return float(optimize.brentq(lambda c: math.prod(_range_cdf(c, k) for k in groups) - target, 0.1, 12))


def _jeffreys_bounds(rates: Rates, quantile: float) -> tuple[Floats, Floats]:
    """Bounds of each rate, each at its own side's level; 0 and 1 where nothing or everything succeeded."""
    tail = float(special.ndtr(-quantile))
    pairs, place = np.unique(rates.successes + 1j * rates.n, return_inverse=True)  # simulations repeat the same counts many times
    k, n = pairs.real, pairs.imag
    low = np.where(k == 0, 0.0, special.betaincinv(k + 0.5, n - k + 0.5, tail))
    high = np.where(k == n, 1.0, special.betaincinv(k + 0.5, n - k + 0.5, 1 - tail))
    return low[place], high[place]


def _range_cdf(contrast: float, groups: int) -> float:
    """P(range of `groups` standard normals <= sqrt(2) × contrast).

    Source: Hartley (1942), Biometrika 32: P(range <= q) = k ∫ φ(z) [Φ(z) - Φ(z - q)]^(k-1) dz, by the trapezoid rule.
    """
    z = np.linspace(-9, 9, 901)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    inner = special.ndtr(z) - special.ndtr(z - math.sqrt(2) * contrast)
    return float(groups * (inner ** (groups - 1)) @ density)
