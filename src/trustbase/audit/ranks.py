"""Metrics of a ranking (AUROC, average precision, KS, recall at a false positive rate) with intervals.

All of them know rows only through the order of scores: rows are sorted once, tied scores form one step, and resampling
means weights on the sorted rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trustbase.audit.stats import Floats, Interval, bootstrap, enclosing, normal_quantile, percentile

_DELONG = "DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44; logit scale: Pepe (2003), section 5.2.4"


@dataclass(frozen=True)
class Ranked:
    """Rows sorted by falling score.

    Attributes:
        positive: whether each sorted row is positive, float `(rows,)`.
        last: index of the last row tied with each row, `(rows,)`.
    """

    positive: Floats
    last: NDArray[np.int64]

    @property
    def steps(self) -> NDArray[np.int64]:
        """Index of the last row of every distinct score, `(steps,)`."""
        return np.unique(self.last)


def rank(positive: ArrayLike, scores: ArrayLike) -> Ranked:
    """Sort rows by falling score.

    Raises:
        ValueError: one of the two classes is missing, or a score is not finite.
    """
    truth, score = np.asarray(positive, bool), np.asarray(scores, float)
    if truth.all() or not truth.any():
        raise ValueError(f"a ranking needs both classes, got {int(truth.sum())} positive of {truth.size} rows")
    if not np.isfinite(score).all():
        raise ValueError(f"{int((~np.isfinite(score)).sum())} of {score.size} scores are not finite")
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    last = ends[np.searchsorted(ends, np.arange(score.size))]
    return Ranked(truth[order].astype(float), last)


def auroc(positive: ArrayLike, scores: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Area under the ROC curve with DeLong's interval on the logit scale.

    Raises:
        ValueError: one of the two classes is missing, or a score is not finite.
    """
    ranked = rank(positive, scores)
    value, variance = _delong(ranked)
    n1 = int(ranked.positive.sum())
    n0 = ranked.positive.size - n1
    if not 0 < value < 1 or variance <= 0:
        low = 0.5 ** (1 / min(n0, n1)) if value >= 0.5 else 0.0
        high = 1.0 if value >= 0.5 else 1 - 0.5 ** (1 / min(n0, n1))
        return enclosing(low, value, high, "no overlap of the classes", _DELONG, n0 + n1)
    low, high = logit_bounds(value, math.sqrt(variance), normal_quantile(confidence))
    return enclosing(low, value, high, "DeLong on the logit scale", _DELONG, n0 + n1)


def _delong(ranked: Ranked) -> tuple[float, float]:
    """AUROC and DeLong's variance in O(rows), from the placement of each row among the other class."""
    positive = ranked.positive
    n1, n0 = positive.sum(), (1 - positive).sum()
    above = np.cumsum(positive)[ranked.last]  # positives at or above this row's score
    below_or_tied = np.cumsum(1 - positive)[ranked.last]
    first = np.searchsorted(ranked.last, ranked.last)  # first row of each tie
    tied_positive = above - np.concatenate(([0.0], np.cumsum(positive)))[first]
    tied_negative = below_or_tied - np.concatenate(([0.0], np.cumsum(1 - positive)))[first]
    placed_positive = (n0 - below_or_tied + tied_negative / 2) / n0  # share of negatives below each row
    placed_negative = (above - tied_positive / 2) / n1  # share of positives above each row
    value = float(placed_positive @ positive / n1)
    variance1 = float(((placed_positive - value) ** 2) @ positive / max(n1 - 1, 1))
    variance0 = float(((placed_negative - value) ** 2) @ (1 - positive) / max(n0 - 1, 1))
    return value, variance1 / n1 + variance0 / n0


def logit_bounds(value: float, error: float, quantile: float) -> tuple[float, float]:
    """Normal bounds on the logit scale, brought back to [0, 1]."""
    logit = math.log(value / (1 - value))
    half = quantile * error / (value * (1 - value))
    return 1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit))


def average_precision(ranked: Ranked, weights: Floats) -> Floats:
    """Average precision (step-wise, as in scikit-learn) of weighted rows, `(chunk, rows)` → `(chunk,)`."""
    hit = weights * ranked.positive
    precision = np.cumsum(hit, -1)[:, ranked.last] / np.maximum(np.cumsum(weights, -1)[:, ranked.last], 1e-300)
    result: Floats = (hit * precision).sum(-1) / hit.sum(-1)
    return result


def auprc(
    positive: ArrayLike, scores: ArrayLike, *, rng: np.random.Generator | None = None, replicates: int = 1000, confidence: float = 0.95
) -> Interval:
    """Average precision with its interval."""
    ranked = rank(positive, scores)
    value = float(average_precision(ranked, np.ones((1, ranked.positive.size)))[0])
    drawn = _replicates(average_precision, ranked, replicates, rng)
    return percentile(value, drawn, n=ranked.positive.size, confidence=confidence, method="bootstrap", source="Efron & Tibshirani (1993)")


def ks_statistic(ranked: Ranked, weights: Floats) -> Floats:
    """Largest distance between the score distributions of positives and negatives, `(chunk, rows)` → `(chunk,)`."""
    hit = weights * ranked.positive
    miss = weights - hit
    steps = ranked.steps
    recall = np.cumsum(hit, -1)[:, steps] / hit.sum(-1, keepdims=True)
    alarm = np.cumsum(miss, -1)[:, steps] / miss.sum(-1, keepdims=True)
    result: Floats = np.abs(recall - alarm).max(-1)
    return result


def ks(
    positive: ArrayLike, scores: ArrayLike, *, rng: np.random.Generator | None = None, replicates: int = 1000, confidence: float = 0.95
) -> Interval:
    """Kolmogorov-Smirnov distance between positives' and negatives' scores with its interval."""
    ranked = rank(positive, scores)
    value = float(ks_statistic(ranked, np.ones((1, ranked.positive.size)))[0])
    drawn = _replicates(ks_statistic, ranked, replicates, rng)
    return percentile(value, drawn, n=ranked.positive.size, confidence=confidence, method="bootstrap", source="Efron & Tibshirani (1993)")


def recall_at_fpr(
    positive: ArrayLike,
    scores: ArrayLike,
    fpr: float,
    *,
    rng: np.random.Generator | None = None,
    replicates: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Highest recall that a threshold reaches with a false positive rate of at most `fpr`."""
    ranked = rank(positive, scores)

    def statistic(ranked: Ranked, weights: Floats) -> Floats:
        hit = weights * ranked.positive
        miss = weights - hit
        steps = ranked.steps
        alarm = np.cumsum(miss, -1)[:, steps] / miss.sum(-1, keepdims=True)
        recall = np.cumsum(hit, -1)[:, steps] / hit.sum(-1, keepdims=True)
        result: Floats = np.where(alarm <= fpr, recall, 0).max(-1)
        return result

    value = float(statistic(ranked, np.ones((1, ranked.positive.size)))[0])
    drawn = _replicates(statistic, ranked, replicates, rng)
    return percentile(value, drawn, n=ranked.positive.size, confidence=confidence, method="bootstrap", source="Efron & Tibshirani (1993)")


def _replicates(statistic: Callable[[Ranked, Floats], Floats], ranked: Ranked, replicates: int, rng: np.random.Generator | None) -> Floats:
    rng = np.random.default_rng(0) if rng is None else rng
    strata = ranked.positive.astype(np.int64)
    return bootstrap(lambda w: statistic(ranked, w), ranked.positive.size, replicates=replicates, rng=rng, strata=strata)
