"""Calibration: the reliability curve and the expected calibration error, with honest intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trustbase.audit.stats import Floats, Interval, enclosing, normal_quantile, wilson_bounds

_METHOD = "inverted simulation of the binned error, its upward bias allowed for; coverage simulated for six patterns of miscalibration"
_SOURCE = "Naeini, Cooper & Hauskrecht (2015), AAAI, sec. 4; Roelofs et al. (2022), AISTATS, sec. 3; Carpenter (1999), JRSS B 61, sec. 2"


def reliability_curve(
    confidence_scores: ArrayLike, correct: ArrayLike, *, bins: int = 15, confidence: float = 0.95
) -> list[dict[str, float]]:
    """Rows of the reliability curve, one per filled bin: n, mean confidence, accuracy with Wilson bounds."""
    sure, right = np.asarray(confidence_scores, float), np.asarray(correct, float)
    index = _bins(sure, bins)
    n = np.bincount(index, minlength=bins)
    total, hits = np.bincount(index, sure, bins), np.bincount(index, right, bins)
    low, high = wilson_bounds(hits, n, normal_quantile(confidence))
    return [
        {"from": b / bins, "to": (b + 1) / bins, "n": int(n[b]), "confidence": float(total[b] / n[b]), "accuracy": float(hits[b] / n[b]),
         "low": float(low[b]), "high": float(high[b])}
        for b in range(bins) if n[b]
    ]  # fmt: skip


def expected_calibration_error(
    confidence_scores: ArrayLike,
    correct: ArrayLike,
    *,
    bins: int = 15,
    rng: np.random.Generator,
    confidence: float = 0.95,
    draws: int = 1000,
) -> Interval:
    """Expected calibration error over equal-width bins, with an interval for the error of these bins in the population.

    The estimate sums absolute gaps, each of which is above zero by chance alone, so it is biased upward: 300 rows of a perfectly
    calibrated model give about 0.04. The value is the usual one; the interval inverts its distribution. How the true gaps lie over the
    bins must be assumed for that: below as they are clearly seen, above more evenly (which leaves less to chance). Where true gaps are
    zero the estimate has an edge, and no interval can cover exactly what it claims (Hirano & Porter 2012, Econometrica 80): there it
    covers more. Coverage was simulated for six patterns of miscalibration (`benchmarks/interval_coverage.py`); for others it is not known.
    What bins cannot see (gaps that cancel within one) is not part of the claim.

    Args:
        confidence_scores: score of the answered label `(rows,)`.
        correct: whether that label is right `(rows,)`.
        bins: number of equal-width bins on [0, 1].
        draws: simulated samples.

    Source: Naeini, Cooper & Hauskrecht (2015), AAAI, section 4 (the metric); Roelofs et al. (2022), AISTATS, section 3 (its bias);
    Carpenter (1999), JRSS B 61, section 2 (bounds by inverting simulated tests).

    Raises:
        ValueError: no rows, unequal numbers of rows, or a score outside [0, 1].
    """
    sure, right = np.asarray(confidence_scores, float), np.asarray(correct, float)
    if sure.size == 0 or sure.shape != right.shape or not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError(f"a calibration error needs scores in [0, 1] and as many answers, got {sure.shape} and {right.shape}")
    gap, error = _bin_gaps(sure, right, bins)
    value = float(np.abs(gap).sum())
    tail = (1 - confidence) / 2
    gap, error = gap[error > 0], error[error > 0]
    noise = rng.standard_normal((draws, gap.size)) * error
    clear, spread = _patterns(np.abs(gap), error)

    def share_below(total: float, pattern: Floats) -> float:
        return float((np.abs(total * pattern / pattern.sum() + noise).sum(1) <= value).mean())

    low = _root(lambda total: share_below(total, clear) > 1 - tail, 0.0, value)
    high = _root(lambda total: share_below(total, spread) > tail, 0.0, value + 8 * float(np.sqrt((error**2).sum())))
    return enclosing(low, value, min(high, 1.0), _METHOD, _SOURCE, sure.size)


def _bin_gaps(sure: Floats, right: Floats, bins: int) -> tuple[Floats, Floats]:
    """Each bin's share of rows times its gap (accuracy less confidence), and its standard error (0 for an empty bin), `(bins,)`."""
    index, n = _bins(sure, bins), sure.size
    count = np.bincount(index, minlength=bins)
    gap = np.bincount(index, right - sure, bins) / n
    variance = (np.bincount(index, (right - sure) ** 2, bins) / n - gap**2) / n
    chance = np.bincount(index, sure * (1 - sure), bins) / n**2  # the variance if the scores were calibrated
    # a bin of few rows knows its own variance badly: one row's weight is given to the calibrated one
    error = np.sqrt(np.maximum((variance * count + chance) / (count + 1), 0)) + 1e-12
    return gap, np.where(count > 0, error, 0.0)


def _patterns(gap: Floats, error: Floats) -> tuple[Floats, Floats]:
    """How the true gaps may lie over the bins, for the lower and the upper bound; only their proportions count.

    A squared gap overstates the true one by the squared error. For the lower bound it is taken off twice, which leaves the gaps that are
    clearly seen; for the upper bound once, and every bin keeps three quarters of its error (chosen by simulation: with a half, misses
    above were too many; with all of it, too few).
    """
    clear = np.maximum(gap - 2 * error**2 / np.maximum(gap, error), 0)
    if not clear.any():
        clear[np.argmax(gap / error)] = 1
    return clear, np.sqrt(np.maximum(gap**2 - error**2, 0)) + 0.75 * error


def _root(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where a condition that holds from `low` on stops to hold; `low` where it never holds."""
    if not holds(low):
        return low
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _bins(sure: Floats, bins: int) -> NDArray[np.int64]:
    return np.minimum((sure * bins).astype(np.int64), bins - 1)
