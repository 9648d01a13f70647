"""Numbers with their doubt: intervals for proportions, means, costs and differences, and the resampling of rows.

Closed forms first: they are exact enough (see `benchmarks/interval_coverage.py` for their measured coverage), instant, and the same on
every machine. Tilting, on which several rest, lives in `tilting.py`, ranks in `ranks.py`, confusion counts in `counts.py`, calibration in
`reliability.py`, largest gaps and smallest ratios over groups in `contrasts.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from trustbase.audit import tilting
from trustbase.audit.tilting import Part, tilted_bounds
from trustbase.records import Direction, Finding

Floats = NDArray[np.float64]

_MID_P = "Lancaster (1961), JASA 56; Berry & Armitage (1995), The Statistician 44; Agresti & Gottard (2005), Statist. Sci. 20"
_TANGO = "Tango (1998), Statist. Med. 17, section 2 (score interval of a paired difference)"
_SKEW = "Johnson (1978), JASA 73, section 3 (t interval corrected for skewness)"
GHOST = 0.25  # rows that one pseudo-row of an unseen kind weighs; a half was wider and a tenth no narrower, by simulation
_CHUNK_BYTES = 64 * 2**20  # of resampled weights held at once


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its confidence interval; `low <= value <= high`.

    Attributes:
        low: lower bound.
        high: upper bound.
        method: how the interval was made, in a few words.
        source: paper and section of the formula.
        value: the point value.
        n: how many rows (or, for a conditional rate, rows that meet the condition) stand behind it.
    """

    low: float
    high: float
    method: str
    source: str
    value: float
    n: int

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"low <= value <= high does not hold: {self.low}, {self.value}, {self.high} ({self.method})")

    def finding(self, id: str, *, direction: Direction, confidence: float = 0.95, **fields: Any) -> Finding:
        """This interval as a finding."""
        return Finding(
            id,
            self.value,
            self.low,
            self.high,
            self.n,
            direction=direction,
            confidence=confidence,
            method=self.method,
            source=self.source,
            **fields,
        )


def enclosing(low: float, value: float, high: float, method: str, source: str, n: int) -> Interval:
    """An interval that holds its own value: rounding and shrinking estimators may leave it just outside."""
    return Interval(min(float(low), float(value)), max(float(high), float(value)), method, source, float(value), int(n))


def normal_quantile(confidence: float) -> float:
    """Two-sided normal quantile: 1.96 for 0.95."""
    return float(special.ndtri(0.5 + confidence / 2))


def wilson_bounds(successes: ArrayLike, n: ArrayLike, quantile: float) -> tuple[Floats, Floats]:
    """Wilson score bounds of proportions, element by element; [0, 1] where n is 0.

    Args:
        successes: counts of any shape.
        n: trials, broadcastable to `successes`.
        quantile: two-sided normal quantile.

    Source: Wilson (1927); Brown, Cai & DasGupta (2001), Statist. Sci. 16, section 3.1.1. Where a bound is carried further (F1, KS,
    calibration bins); a proportion itself has `proportion_bounds`.
    """
    k, trials = np.broadcast_arrays(np.asarray(successes, float), np.asarray(n, float))
    z2 = quantile * quantile
    centre = (k + z2 / 2) / (trials + z2)
    inside = np.divide(k * (trials - k), trials, out=np.zeros_like(centre), where=trials > 0)
    half = quantile / (trials + z2) * np.sqrt(inside + z2 / 4)
    low = np.where(k == 0, 0.0, np.clip(centre - half, 0, 1))
    return low, np.where(k == trials, 1.0, np.clip(centre + half, 0, 1))


def proportion_bounds(successes: ArrayLike, n: ArrayLike, quantile: float) -> tuple[Floats, Floats]:
    """Mid-P bounds of proportions, element by element; [0, 1] where n is 0.

    Counts are whole, so no interval covers exactly what it claims at every rate. Exact (Clopper-Pearson) bounds never cover less and mostly
    far more; mid-P bounds count only half of the chance of the count seen, and cover 93 to 98 % at n >= 30 wherever any interval with two
    tails can (`tests/unit/test_stats_coverage.py` enumerates it). Far out in a tail they hold too, where Wilson's are too short.

    Source: Lancaster (1961), JASA 56 (mid-P); Berry & Armitage (1995), The Statistician 44 (intervals).

    Args:
        successes: counts of any shape.
        n: trials, broadcastable to `successes`.
        quantile: two-sided normal quantile.
    """
    k, trials = np.broadcast_arrays(np.asarray(successes, float), np.asarray(n, float))
    pairs, place = np.unique(np.stack([k.ravel(), trials.ravel()]), axis=1, return_inverse=True)  # simulations repeat the same counts
    tail = float(special.ndtr(-quantile))
    low = _mid_p_lower(pairs[0], pairs[1], tail)
    high = 1 - _mid_p_lower(pairs[1] - pairs[0], pairs[1], tail)
    place = place.ravel()
    return low[place].reshape(k.shape), high[place].reshape(k.shape)


def _mid_p_lower(k: Floats, n: Floats, tail: float) -> Floats:
    """Rate under which more successes than `k`, and half of exactly `k`, have the chance `tail`; by bisection between exact bounds."""
    some, rest = np.maximum(k, 1), np.maximum(n - k, 1)
    low = special.betaincinv(some, n - some + 1, tail)
    high = np.where(k < n, special.betaincinv(k + 1, rest, tail), 1.0)
    for _ in range(45):
        middle = (low + high) / 2
        above = np.where(k < n, special.betainc(k + 1, rest, middle), 0.0)
        under = (special.betainc(some, n - some + 1, middle) + above) / 2 < tail
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return np.where(k > 0, low, 0.0)


def proportion(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """A proportion with its mid-P interval.

    Raises:
        ValueError: no rows, or more successes than rows.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"a proportion needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    low, high = proportion_bounds(successes, n, normal_quantile(confidence))
    return enclosing(float(low), successes / n, float(high), "mid-P interval", _MID_P, n)


def mean(values: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """A mean with a t interval whose centre is corrected for skewness (losses are skewed).

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    x = _finite(values)
    n, centre, spread = x.size, float(x.mean()), float(x.std(ddof=1))
    third = float(((x - centre) ** 3).mean())
    shift = third / (6 * spread**2 * n) if spread > 0 else 0.0
    half = float(special.stdtrit(n - 1, 0.5 + confidence / 2)) * spread / math.sqrt(n)
    return enclosing(centre + shift - half, centre, centre + shift + half, "t interval, centre corrected for skewness", _SKEW, n)


def _finite(values: ArrayLike) -> Floats:
    x = np.asarray(values, float)
    if x.size < 2 or not np.isfinite(x).all():
        raise ValueError(f"a mean needs at least two finite values, got {x.size} with {int((~np.isfinite(x)).sum())} not finite")
    return x


def bounded_mean(values: ArrayLike, least: float, most: float, *, confidence: float = 0.95) -> Interval:
    """A mean of rows that lie between known bounds, by tilting; a constant sample is not taken for certainty.

    Args:
        values: `(rows,)`.
        least: what an unseen row may count at least.
        most: what an unseen row may count at most.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    x = _finite(values)
    low, high = bounded_mean_bounds(x, least, most, normal_quantile(confidence))
    method = "tilted sample, with a quarter of a row at either bound for what was never seen"
    return enclosing(max(float(low), least), float(x.mean()), min(float(high), most), method, tilting.SOURCE, x.size)


def bounded_mean_bounds(values: Floats, least: ArrayLike, most: ArrayLike, quantile: float) -> tuple[Floats, Floats]:
    """Bounds of means of `(…, rows)` that lie between `least` and `most`, each `(…,)`.

    A ghost far above rows that lie close together moves the mean of both by more than the rows spread, and would leave no room below;
    so each bound is also sought with the ghost of its own side alone, and the outer one is taken.
    """
    centre = values.mean(-1)
    both = tilted_bounds([Part.of(values, [least, most], GHOST)], centre, 0.0, quantile)
    low = tilted_bounds([Part.of(values, [least], GHOST)], centre, 0.0, quantile)[0]
    high = tilted_bounds([Part.of(values, [most], GHOST)], centre, 0.0, quantile)[1]
    return np.minimum(low, both[0]), np.maximum(high, both[1])


def mean_of_costs(counts: ArrayLike, costs: ArrayLike, n: int, *, confidence: float = 0.95) -> Interval:
    """Mean cost of `n` rows of which `counts[i]` cost `costs[i]` each and the rest nothing.

    Raises:
        ValueError: more costly rows than rows, no rows, or a cost below zero.
    """
    k, each = np.asarray(counts, float), np.asarray(costs, float)
    if n <= 0 or k.sum() > n or (k < 0).any() or (each < 0).any():
        raise ValueError(
            f"a mean cost needs n > 0, counts of at most n and costs of at least 0, got {k.tolist()} of {n} at {each.tolist()}"
        )
    low, value, high = cost_bounds(k, each, n, normal_quantile(confidence))
    method = "mid-P intervals of each error's share, combined with their multinomial correlation (MOVER)"
    source = f"Zou & Donner (2008), Statist. Med. 27; with correlations: Zou (2007), Psychol. Methods 12; {_MID_P}"
    if (each == each[0]).all():
        method, source = "mid-P interval", _MID_P
    return enclosing(float(low), float(value), float(high), method, source, n)


def cost_bounds(counts: Floats, costs: Floats, n: int, quantile: float) -> tuple[Floats, Floats, Floats]:
    """Low, value and high of a mean cost, from counts `(…, kinds)` out of `n` rows."""
    value = counts @ costs / n
    if (costs == costs[0]).all():  # the kinds need not be told apart: a proportion
        low, high = proportion_bounds(counts.sum(-1), n, quantile)
        return low * costs[0], value, high * costs[0]
    share = counts / n
    low, high = proportion_bounds(counts, n, quantile)
    odds = np.sqrt(np.divide(share, 1 - share, out=np.zeros_like(share), where=share < 1))
    correlation = -odds[..., :, None] * odds[..., None, :]  # of two shares of one multinomial sample
    index = np.arange(share.shape[-1])
    correlation[..., index, index] = 1

    def distance(gap: Floats) -> Floats:
        part = costs * gap
        return np.asarray(np.sqrt(np.maximum(np.einsum("...i,...ij,...j->...", part, correlation, part), 0)))

    return np.maximum(value - distance(share - low), 0), value, np.minimum(value + distance(high - share), costs.max())


def paired_difference(correct: ArrayLike, other: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Difference of two models' accuracies on the same rows, `mean(correct) - mean(other)`.

    Only rows where exactly one of them is right say anything about the difference.

    Args:
        correct: whether the model is right, bool `(rows,)`.
        other: whether the other is right, bool `(rows,)`.

    Raises:
        ValueError: no rows, or unequal numbers of rows.
    """
    a, b = np.asarray(correct, bool), np.asarray(other, bool)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"a paired difference needs the same rows twice, got {a.shape} and {b.shape}")
    won, lost, n = int((a & ~b).sum()), int((b & ~a).sum()), a.size
    low, high = tango_bounds(won, lost, n, normal_quantile(confidence))
    return enclosing(float(low), (won - lost) / n, float(high), "Tango score interval of a paired difference", _TANGO, n)


def tango_bounds(won: ArrayLike, lost: ArrayLike, n: ArrayLike, quantile: float) -> tuple[Floats, Floats]:
    """Bounds of a paired difference by inverting Tango's score test, element by element.

    Source: Tango (1998), section 2; the root is found by bisection, as the test is monotone in the difference.
    """
    b, c, rows = np.broadcast_arrays(np.asarray(won, float), np.asarray(lost, float), np.asarray(n, float))
    value = (b - c) / rows

    def score(delta: Floats) -> Floats:
        # q21 is the maximum-likelihood P(only the other is right) when the difference is `delta`
        linear = (2 * rows - b + c) * delta - b - c
        q21 = (np.sqrt(np.maximum(linear**2 + 8 * rows * c * delta * (1 - delta), 0)) - linear) / (4 * rows)
        variance = rows * np.maximum(2 * q21 + delta * (1 - delta), 1e-300)
        result: Floats = (b - c - rows * delta) / np.sqrt(variance)
        return result

    inside_low, outside_low = value.copy(), np.full_like(value, -1.0)
    inside_high, outside_high = value.copy(), np.full_like(value, 1.0)
    for _ in range(50):
        middle = (inside_low + outside_low) / 2
        inside = score(middle) <= quantile
        inside_low, outside_low = np.where(inside, middle, inside_low), np.where(inside, outside_low, middle)
        middle = (inside_high + outside_high) / 2
        inside = score(middle) >= -quantile
        inside_high, outside_high = np.where(inside, middle, inside_high), np.where(inside, outside_high, middle)
    return inside_low, inside_high


def bootstrap(
    statistic: Callable[[Floats], Floats], rows: int, *, replicates: int, rng: np.random.Generator, strata: NDArray[np.int64] | None = None
) -> Floats:
    """Values of a statistic on resampled rows, in chunks of bounded memory.

    Args:
        statistic: from weights `(chunk, rows)` (how often each row was drawn) to values `(chunk, …)`.
        rows: number of rows.
        strata: stratum of each row `(rows,)`; each stratum keeps its size (for statistics that condition on the label).

    Returns:
        Values `(replicates, …)`.
    """
    chunk = max(1, min(replicates, _CHUNK_BYTES // max(8 * rows, 1)))
    members = [np.arange(rows)] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    parts = []
    for start in range(0, replicates, chunk):
        count = min(chunk, replicates - start)
        weights = np.empty((count, rows))
        for index in members:
            drawn = rng.integers(0, index.size, (count, index.size)) + index.size * np.arange(count)[:, None]
            weights[:, index] = np.bincount(drawn.ravel(), minlength=count * index.size).reshape(count, index.size)
        parts.append(np.asarray(statistic(weights), float))
    return np.concatenate(parts)
