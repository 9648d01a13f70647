"""The threshold on the positive label, chosen on validation rows and never on test rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trustbase.errors import DataError, RecipeError
from trustbase.outputs.options import DecisionOptions
from trustbase.records import Decision, LabelSchema


def choose_decision(scores: NDArray[np.floating], truth: NDArray[np.integer], labels: LabelSchema, options: DecisionOptions) -> Decision:
    """The decision rule that the recipe asks for.

    Args:
        scores: class probabilities on the *validation* rows `(rows, classes)`.
        truth: label index of the same rows `(rows,)`.
        labels: the label schema; a threshold needs exactly two labels.
        options: the recipe's `decision:` section.

    Raises:
        RecipeError: a threshold or costs for a task that has not two labels.
        DataError: `auto` on validation rows of one label only, or on scores that are no numbers.
    """
    cost = options.costs()
    if options.threshold is None:
        return Decision(None, "highest score", cost)
    if not labels.binary:
        raise RecipeError(
            f"decision.threshold needs a task of two labels, got {len(labels.names)}: a threshold speaks about one label against the other",
            hint="leave decision.threshold out; the highest score answers",
        )
    if options.threshold != "auto":
        return Decision(float(options.threshold), "threshold given in the recipe", cost)
    positive = scores[:, labels.index(labels.positive)]
    is_positive = truth == labels.index(labels.positive)
    _check(positive, is_positive, labels)
    if cost:
        threshold = cheapest_threshold(positive, is_positive, **cost)
        aim = f"minimises the expected cost (false negative {cost['false_negative']:g}, false positive {cost['false_positive']:g})"
    else:
        threshold = best_macro_f1_threshold(positive, is_positive)
        aim = "maximises macro F1 (no cost was given)"
    return Decision(threshold, f"threshold that {aim} on {len(positive)} validation rows", cost)


def cheapest_threshold(
    positive: NDArray[np.floating], is_positive: NDArray[np.bool_], *, false_negative: float, false_positive: float
) -> float:
    """The threshold of least expected cost; among equals the one nearest Bayes' rule for calibrated scores.

    Source: Elkan, "The foundations of cost-sensitive learning" (2001), section 1: fp / (fp + fn).
    """
    thresholds, true_positives, false_positives = _counts(positive, is_positive)
    misses = is_positive.sum() - true_positives
    cost = false_negative * misses + false_positive * false_positives
    return _nearest(thresholds, cost == cost.min(), false_positive / (false_positive + false_negative))


def best_macro_f1_threshold(positive: NDArray[np.floating], is_positive: NDArray[np.bool_]) -> float:
    """The threshold of highest macro F1; among equals the one nearest one half."""
    thresholds, tp, fp = _counts(positive, is_positive)
    fn = is_positive.sum() - tp
    tn = len(positive) - tp - fp - fn
    # F1 = 2 tp / (2 tp + fp + fn), for each of the two labels in turn; both denominators are positive as both labels occur
    score = tp / (2 * tp + fp + fn) + tn / (2 * tn + fp + fn)
    return _nearest(thresholds, score >= score.max() - 1e-12, 0.5)


def _counts(
    positive: NDArray[np.floating], is_positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Every threshold that matters, with its true and false positives, each `(thresholds,)`.

    The thresholds are 0, the midpoints between neighbouring distinct scores, and 1 or just above the highest score.
    """
    values, inverse = np.unique(positive.astype(np.float64), return_inverse=True)
    hits = np.bincount(inverse, weights=is_positive, minlength=len(values)).astype(np.int64)
    rows = np.bincount(inverse, minlength=len(values))
    # Midpoints of neighbours that differ by one bit can round to the lower one, which would change the answer: take the upper then.
    middle = (values[:-1] + values[1:]) / 2
    middle = np.where(middle > values[:-1], middle, values[1:])
    if values[-1] < 1.0:  # "never positive" can be said only when no score is exactly 1
        thresholds = np.concatenate([[0.0], middle, [(values[-1] + 1.0) / 2 if (values[-1] + 1.0) / 2 > values[-1] else 1.0]])
        start = np.arange(len(values) + 1)
    else:
        thresholds, start = np.concatenate([[0.0], middle]), np.arange(len(values))
    above_hits = np.concatenate([np.cumsum(hits[::-1])[::-1], [0]])[start]
    above_rows = np.concatenate([np.cumsum(rows[::-1])[::-1], [0]])[start]
    return thresholds, above_hits, above_rows - above_hits


def _nearest(thresholds: NDArray[np.float64], good: NDArray[np.bool_], target: float) -> float:
    candidates = thresholds[good]
    return float(candidates[np.abs(candidates - target).argmin()])


def _check(positive: NDArray[np.floating], is_positive: NDArray[np.bool_], labels: LabelSchema) -> None:
    if not np.isfinite(positive).all():
        bad = int((~np.isfinite(positive)).sum())
        raise DataError(f"{bad} of {len(positive)} validation scores are not finite, so no threshold can be chosen on them")
    if is_positive.all() or not is_positive.any():
        raise DataError(
            f"decision.threshold: auto needs validation rows of both labels ({labels.names[0]!r}, {labels.names[1]!r}); "
            f"of {len(positive)} rows {int(is_positive.sum())} are {labels.positive!r}",
            hint="use more validation rows, or give the threshold as a number",
        )
