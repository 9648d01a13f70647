"""Intervals of measured times: quantiles of single calls, and the mean of a few bulk calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy import stats as distributions

from trustbase.audit.stats import Floats, Interval, enclosing

_PARTS = 200  # quantiles of either pivot; twice as many move a bound by less than a thousandth of it
_PIVOT = "Krishnamoorthy & Mathew (2003), J. Stat. Plann. Inference 115, section 3 (generalised interval of a log-normal mean)"


def quantile_interval(values: Sequence[float], q: float, *, confidence: float = 0.95) -> tuple[float, float | None, float | None]:
    """A quantile with its distribution-free bounds: value, low, high; a bound is None where the sample is too small for one.

    The number of values below the true quantile is binomial, whatever the distribution; so two order statistics bound it. Of the pairs
    next to equal tails the one is taken that covers least, but not less than claimed.

    Source: David & Nagaraja (2003), section 7.1.
    """
    ordered, n = np.sort(np.asarray(values, float)), len(values)
    value = float(ordered[min(max(math.ceil(q * n), 1), n) - 1])
    places = _places(n, q, confidence)
    if places is None:
        return value, None, None
    return value, min(float(ordered[places[0] - 1]), value), max(float(ordered[places[1] - 1]), value)


@cache
def _places(n: int, q: float, confidence: float) -> tuple[int, int] | None:
    """Which two order statistics bound a quantile, counted from 1; None where no two do."""
    below, tail = distributions.binom(n, q), (1 - confidence) / 2
    first, last = int(below.ppf(tail)), int(below.ppf(1 - tail)) + 1
    pairs = [(low, high) for low in (first, first + 1) for high in (last - 1, last) if 1 <= low < high <= n]
    covered = [(float(below.cdf(high - 1) - below.cdf(low - 1)), low, high) for low, high in pairs]
    enough = [item for item in covered if item[0] >= confidence]
    return min(enough)[1:] if enough else None


def mean_duration(seconds: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Mean of a few durations, which are positive and skewed: taken as log-normal, since five calls cannot tell a shape of their own.

    A log-normal mean is `exp(m + s^2 / 2)`. Both unknowns are replaced by what the sample says of them through their pivots, a normal `Z`
    and a chi-squared `U^2` over its degrees of freedom: `m - Z / U * s / sqrt(n) + s^2 / U^2 / 2`, whose quantiles are the bounds. They are
    read off a grid of quantiles of both, so nothing is drawn.

    Source: Krishnamoorthy & Mathew (2003), section 3.

    Raises:
        ValueError: fewer than two durations, or one that is not above zero.
    """
    x = np.asarray(seconds, float)
    if x.size < 2 or not (np.isfinite(x) & (x > 0)).all():
        raise ValueError(f"a mean duration needs at least two finite values above zero, got {x.tolist()}")
    logs, n = np.log(x), x.size
    centre, spread = float(logs.mean()), float(logs.std(ddof=1))
    shifts, halves = _pivots(n)
    low, high = np.exp(np.quantile(centre + spread * shifts + spread**2 * halves, [0.5 - confidence / 2, 0.5 + confidence / 2]))
    return enclosing(low, float(x.mean()), high, "generalised interval of a log-normal mean", _PIVOT, n)


@cache
def _pivots(n: int) -> tuple[Floats, Floats]:
    """Factors of `s` and of `s^2` at every pair of quantiles of the two pivots, each `(pairs,)`."""
    share = (np.arange(_PARTS) + 0.5) / _PARTS
    normal, ratio = special.ndtri(share)[:, None], np.sqrt(distributions.chi2.ppf(share, n - 1) / (n - 1))[None, :]
    return (normal / ratio / math.sqrt(n)).ravel(), np.broadcast_to(0.5 / ratio**2, (_PARTS, _PARTS)).ravel()
