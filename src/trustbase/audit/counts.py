"""Everything that a confusion matrix knows, with intervals, from its cells alone (no rows needed)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.stats import Floats, Interval, percentile, proportion

_METHOD = "multinomial resampling of the confusion cells, smoothed with Jeffreys' prior"
_SOURCE = "Goutte & Gaussier (2005), ECIR, section 3 (posterior of precision, recall and F1)"


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


def classification_bootstrap(
    confusion: NDArray[np.int64], *, replicates: int, rng: np.random.Generator, confidence: float = 0.95
) -> ClassificationIntervals:
    """All count metrics of a classification report with their intervals.

    Accuracy and micro-F1 (equal for single labels), precision and recall are proportions and get Wilson intervals; F1
    is not and gets replicates of the confusion cells.

    Args:
        confusion: counts `(classes, classes)`, true label by row.

    Raises:
        ValueError: the matrix is empty.
    """
    counts = np.asarray(confusion, np.int64)
    n, classes = int(counts.sum()), counts.shape[0]
    if n == 0:
        raise ValueError("a confusion matrix without rows has no metrics")
    hit, support, answered = np.diagonal(counts), counts.sum(1), counts.sum(0)
    value = f1_scores(counts.astype(float))
    # Jeffreys' prior, its one half spread over the cells of a row's errors, so that many classes are not smoothed away
    prior = np.full((classes, classes), 0.5 / max(classes - 1, 1))
    np.fill_diagonal(prior, 0.5)
    cells = rng.standard_gamma(counts + prior, (replicates, classes, classes))
    drawn = f1_scores(cells)

    def interval(name: str) -> Interval:
        return percentile(float(value[name]), drawn[name], n=n, confidence=confidence, method=_METHOD, source=_SOURCE)

    return ClassificationIntervals(
        accuracy=proportion(int(hit.sum()), n, confidence=confidence),
        micro_f1=proportion(int(hit.sum()), n, confidence=confidence),
        macro_f1=interval("macro_f1"),
        weighted_f1=interval("weighted_f1"),
        precision=tuple(_rate(h, a, confidence) for h, a in zip(hit, answered, strict=True)),
        recall=tuple(_rate(h, s, confidence) for h, s in zip(hit, support, strict=True)),
        f1=tuple(
            percentile(float(v), drawn["f1"][:, i], n=int(support[i]), confidence=confidence, method=_METHOD, source=_SOURCE)
            for i, v in enumerate(value["f1"])
        ),
    )


def _rate(successes: int, n: int, confidence: float) -> Interval:
    if n == 0:  # zero_division=0, as the point value in scikit-learn; the data say nothing
        return Interval(0.0, 1.0, "no rows: nothing is known", "", 0.0, 0)
    return proportion(int(successes), int(n), confidence=confidence)
