"""Intervals of functions of sums over rows: F1 over entities, relations and sets of labels, differences of two models' errors.

What is resampled are rows, each with the few sums that the statistic is made of, so a replicate is a
product of small matrices. The interval is BCa: percentiles, corrected for the replicates' median bias and for how the spread changes
with the value.

Source: Efron (1987), "Better bootstrap confidence intervals", JASA 82, sections 2 and 6 (acceleration from the jackknife).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trustbase.audit.stats import Floats, Interval, enclosing, proportion

SOURCE = "Efron (1987), JASA 82, sections 2 and 6"
REPLICATES = 2000
LEAST_UNITS = 20  # rows or clusters, under which percentiles of so few say little
_CHUNK = 2**22  # drawn indices held at once


def of_sums(
    sums: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    replicates: int = REPLICATES,
    least: float = -np.inf,
    most: float = np.inf,
    n: int | None = None,
    units_are: str = "rows",
) -> Interval:
    """The interval of a statistic of sums over units.

    Args:
        sums: what each row or cluster adds, `(units, k)`.
        statistic: sums `(…, k)` → value `(…,)`; NaN where it is not defined.
        rng: draws the replicates.
        confidence: of the interval.
        replicates: how many are drawn.
        least, most: between which every value lies.
        n: rows behind it; the units by default.
        units_are: what a unit is, in words.

    Raises:
        ValueError: fewer than two units, or a statistic that is not defined on them or on most of the replicates.
    """
    units = len(sums)
    if units < 2:
        raise ValueError(f"an interval needs at least two rows, got {units}")
    total = sums.sum(axis=0)
    value = float(statistic(total))
    if not np.isfinite(value):
        raise ValueError("the value is not defined on these rows")
    drawn = _replicates(sums, statistic, replicates, rng)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < replicates / 2:
        raise ValueError(f"the value is defined on {len(drawn)} of {replicates} resampled sets of rows only")
    without = statistic(total - sums)  # the jackknife
    low, high = _bca(value, drawn, without[np.isfinite(without)], confidence)
    method = f"BCa interval, {len(drawn)} resampled sets of {units_are}"
    return enclosing(max(low, least), value, min(high, most), method, SOURCE, units if n is None else n)


def of_shares(
    sums: Floats,
    statistic: Callable[[Floats], Floats],
    told: NDArray[np.bool_],
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    n: int | None = None,
    harmonic: bool = True,
    what: str = "an entity",
    units_are: str = "rows",
) -> Interval:
    """The interval of precision, recall or F1 over units.

    Where every unit that counts is wholly right, or none has a hit, resampling shows no doubt at all; then it is what the share of
    such units says (`at_the_edge`).

    Args:
        sums, statistic, rng, confidence, n: as in `of_sums`.
        told: which units count: they have something true or answered `(units,)`.
        harmonic: whether it is an F1.
        what: a unit that counts has, in words.
        units_are: what a unit is, in words.

    Raises:
        ValueError: the value is not defined, or there are too few units.
    """
    value, count = float(statistic(sums.sum(axis=0))), int(told.sum())
    if value in (0.0, 1.0):
        found = at_the_edge(count, right=value > 0, harmonic=harmonic, confidence=confidence, what=what, units_are=units_are)
        return replace(found, n=len(sums) if n is None else n)
    return of_sums(sums, statistic, rng=rng, confidence=confidence, least=0.0, most=1.0, n=n, units_are=units_are)


def at_the_edge(seen: int, *, right: bool, harmonic: bool, confidence: float, what: str, units_are: str = "rows") -> Interval:
    """Precision, recall or F1 where every unit that counts is right, or none is: what the share p of units with a hit says.

    F1 is at least p, as a wrong unit counts at most once as true and once as answered, and at most 2p / (1 + p), as it counts at least
    once (as missed or as answered in vain). That takes units for equally large; where they hold several things each, it is the most
    that can be said.

    Args:
        seen: units that count.
        right: whether all are right, or none is.
        harmonic: whether the number is an F1, and no share.
        confidence: of the interval.
        what: a unit that counts has, in words.
        units_are: what a unit is, in words.

    Raises:
        ValueError: no unit counts.
    """
    share = proportion(seen if right else 0, seen, confidence=confidence)
    high = 2 * share.high / (1 + share.high) if harmonic else share.high
    method = f"all alike: bound from the share of hits among the {seen} {units_are} with {what}: {share.method}"
    return enclosing(share.low, float(right), high, method, share.source, seen)


def _replicates(sums: Floats, statistic: Callable[[Floats], Floats], count: int, rng: np.random.Generator) -> Floats:
    units, chunk, parts = len(sums), max(1, _CHUNK // len(sums)), []
    for start in range(0, count, chunk):
        size = min(chunk, count - start)
        drawn = rng.integers(0, units, (size, units)) + units * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        parts.append(statistic(weights @ sums))
    return np.concatenate(parts)


def _bca(value: float, drawn: Floats, without: Floats, confidence: float) -> tuple[float, float]:
    below = ((drawn < value).sum() + 0.5 * (drawn == value).sum()) / len(drawn)
    bias = float(special.ndtri(np.clip(below, 1 / (2 * len(drawn)), 1 - 1 / (2 * len(drawn)))))
    apart = without.mean() - without
    spread = float((apart**2).sum())
    acceleration = float((apart**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        quantile = bias + float(special.ndtri(tail))
        ends.append(float(special.ndtr(bias + quantile / (1 - acceleration * quantile))))
    low, high = np.quantile(drawn, np.clip(ends, 0, 1))
    return float(low), float(high)
