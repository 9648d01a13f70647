"""Everything that a confusion matrix knows, with intervals, from its cells alone (no rows, no resampling).

A class's F1 is a function of one proportion, J = TP / (TP + FP + FN), F1 = 2J / (1 + J), so Wilson's interval of J gives one of F1.
Macro and weighted F1 are sums over classes; the distances from each F1 to its bounds are combined with the correlations of the
delta method (MOVER), which keeps the skewness of rare classes that a bootstrap of few rows cannot know.

Source: Lam, Gopal & Qian (2023), arXiv 2309.14621, section 3 (Wilson intervals of F1 by J); Zou & Donner (2008), Statist. Med. 27
(MOVER), with correlations as in Zou (2007), Psychol. Methods 12;
Takahashi et al. (2022), Appl. Intell. 52, section 3 (delta-method variance of F1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.stats import Floats, Interval, enclosing, normal_quantile, proportion, wilson_bounds

_F1 = "Wilson interval of TP / (TP + FP + FN), as F1"
_F1_SOURCE = "Lam, Gopal & Qian (2023), arXiv 2309.14621, section 3"
_SUM = "Wilson intervals of each F1, combined with delta-method correlations (MOVER), small-sample bias removed"
_SUM_SOURCE = "Zou & Donner (2008), Statist. Med. 27; Zou (2007), Psychol. Methods 12; Takahashi et al. (2022), Appl. Intell. 52, section 3"


@dataclass(frozen=True)
class ClassificationIntervals:
    """Count metrics with their intervals; the per-class tuples are in label order."""

    accuracy: Interval
    macro_f1: Interval
    micro_f1: Interval
    weighted_f1: Interval
    precision: tuple[Interval, ...]
    recall: tuple[Interval, ...]
    f1: tuple[Interval, ...]


@dataclass(frozen=True, eq=False)
class F1Bounds:
    """F1 of classes and their means, with bounds; leading axes as in the counts, `(…, classes)` and `(…,)`."""

    f1: tuple[Floats, Floats, Floats]  # low, value, high
    macro: tuple[Floats, Floats, Floats]
    weighted: tuple[Floats, Floats, Floats]


def confusion_counts(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Confusion matrix `(classes, classes)`: true label by row, answer by column."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def f1_scores(confusion: Floats) -> dict[str, Floats]:
    """Macro, micro and weighted F1, and per-class F1, of confusion matrices `(…, classes, classes)`.

    As in scikit-learn with `labels=all, zero_division=0`: a class that is never seen nor answered counts 0.
    """
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    support, answered = confusion.sum(-1), confusion.sum(-2)
    per_class = np.divide(2 * hit, support + answered, out=np.zeros(hit.shape), where=support + answered > 0)
    total = confusion.sum((-2, -1))
    return {
        "f1": per_class,
        "macro_f1": per_class.mean(-1),
        "micro_f1": hit.sum(-1) / total,
        "weighted_f1": (per_class * support).sum(-1) / total,
    }


def f1_bounds(confusion: Floats, quantile: float) -> F1Bounds:
    """Bounds of per-class, macro and weighted F1 of confusion matrices `(…, classes, classes)`.

    Args:
        confusion: counts; any leading axes (simulations use one for draws).
        quantile: two-sided normal quantile.
    """
    scores = f1_scores(confusion)
    f1 = scores["f1"]
    hit, support = np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1)
    both = support + confusion.sum(-2)  # 2 TP + FP + FN
    union = both - hit  # TP + FP + FN
    j_low, j_high = wilson_bounds(hit, union, quantile)
    low, high = 2 * j_low / (1 + j_low), 2 * j_high / (1 + j_high)  # [0, 1] where the class never occurred
    covariance = _covariance(confusion, f1, both)
    error = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    scale = np.where(error > 0, error, np.inf)
    correlation = covariance / (scale[..., :, None] * scale[..., None, :])
    index = np.arange(f1.shape[-1])
    correlation[..., index, index] = 1
    # J is unbiased but F1 is concave in it: E[F1] falls short of the truth by 2 J (1 - J) / ((1 + J)³ (TP + FP + FN)) (Taylor)
    j = np.divide(hit, union, out=np.zeros(f1.shape), where=union > 0)
    bias = 2 * j * (1 - j) / ((1 + j) ** 3 * np.maximum(union, 1))
    total = confusion.sum((-2, -1))[..., None]

    def combined(weights: Floats, value: Floats, extra: Floats) -> tuple[Floats, Floats, Floats]:
        centre = value + (weights * bias).sum(-1)
        down, up = weights * (f1 - low), weights * (high - f1)
        below = np.einsum("...i,...ij,...j->...", down, correlation, down) + extra
        above = np.einsum("...i,...ij,...j->...", up, correlation, up) + extra
        under = np.clip(centre - np.sqrt(np.maximum(below, 0)), 0, None)
        over = np.clip(centre + np.sqrt(np.maximum(above, 0)), None, 1)
        return np.minimum(under, value), value, np.maximum(over, value)

    shares = support / total
    drift = quantile**2 * _share_variance(confusion, f1, both, covariance)
    equal = np.full(f1.shape, 1 / f1.shape[-1])
    return F1Bounds(
        f1=(low, f1, high),
        macro=combined(equal, scores["macro_f1"], np.zeros(f1.shape[:-1])),
        weighted=combined(shares, scores["weighted_f1"], drift),
    )


def _covariance(confusion: Floats, f1: Floats, both: Floats) -> Floats:
    """Delta-method covariance of the classes' F1, `(…, classes, classes)`: two classes share only the errors between them."""
    slope = f1 / np.maximum(both, 1)  # F1 falls by this for each error that touches the class
    result = (confusion + np.swapaxes(confusion, -1, -2)) * slope[..., :, None] * slope[..., None, :]
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    index = np.arange(f1.shape[-1])
    result[..., index, index] = hit * (2 * (1 - f1) / np.maximum(both, 1)) ** 2 + (both - 2 * hit) * slope**2
    return result


def _share_variance(confusion: Floats, f1: Floats, both: Floats, covariance: Floats) -> Floats:
    """What the random class shares add to the variance of weighted F1, `(…,)`."""
    n = confusion.sum((-2, -1))
    shares = confusion.sum(-1) / n[..., None]
    slope = shares * f1 / np.maximum(both, 1)
    gradient = -(slope[..., :, None] + slope[..., None, :])
    index = np.arange(f1.shape[-1])
    gradient[..., index, index] = shares * 2 * (1 - f1) / np.maximum(both, 1)
    gradient += (f1 - (shares * f1).sum(-1)[..., None])[..., :, None] / n[..., None, None]
    fixed = np.einsum("...i,...ij,...j->...", shares, covariance, shares)
    result: Floats = (confusion * gradient**2).sum((-2, -1)) - fixed
    return result


def classification_intervals(confusion: NDArray[np.int64], *, confidence: float = 0.95) -> ClassificationIntervals:
    """All count metrics of a classification report with their intervals, in closed form.

    Args:
        confusion: counts `(classes, classes)`, true label by row.

    Raises:
        ValueError: the matrix is empty.
    """
    counts = np.asarray(confusion, np.int64)
    n = int(counts.sum())
    if n == 0:
        raise ValueError("a confusion matrix without rows has no metrics")
    hit, support, answered = np.diagonal(counts), counts.sum(1), counts.sum(0)
    bounds = f1_bounds(counts.astype(float), normal_quantile(confidence))
    accuracy = proportion(int(hit.sum()), n, confidence=confidence)
    return ClassificationIntervals(
        accuracy=accuracy,
        micro_f1=accuracy,  # each row has one label and one answer, so micro-F1 is accuracy
        macro_f1=_summed(bounds.macro, n),
        weighted_f1=_summed(bounds.weighted, n),
        precision=tuple(_rate(h, a, confidence) for h, a in zip(hit, answered, strict=True)),
        recall=tuple(_rate(h, s, confidence) for h, s in zip(hit, support, strict=True)),
        f1=tuple(
            enclosing(low, value, high, _F1, _F1_SOURCE, int(s)) for low, value, high, s in zip(*bounds.f1, support, strict=True)
        ),
    )  # fmt: skip


def _summed(bounds: tuple[Floats, Floats, Floats], n: int) -> Interval:
    low, value, high = bounds
    return enclosing(float(low), float(value), float(high), _SUM, _SUM_SOURCE, n)


def _rate(successes: int, n: int, confidence: float) -> Interval:
    if n == 0:  # zero_division=0, as the point value in scikit-learn; the data say nothing
        return Interval(0.0, 1.0, "no rows: nothing is known", "", 0.0, 0)
    return proportion(int(successes), int(n), confidence=confidence)
