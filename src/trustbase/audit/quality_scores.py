"""What scores say beyond the answer: ranking, calibration and losses, each with its interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit import ranks
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.counts import f1_scores
from trustbase.audit.options import AuditOptions
from trustbase.audit.reliability import expected_calibration_error, reliability_curve
from trustbase.audit.stats import Interval, enclosing, mean, normal_quantile
from trustbase.records import Direction, Finding, Status

RECALL_AT = (0.01, 0.05)  # false positive rates
_BINARY = ("auprc", "ks", *(f"recall_at_fpr#{rate:.2f}" for rate in RECALL_AT))
_DIRECTION: dict[str, Direction] = {"log_loss": "lower", "brier": "lower", "expected_calibration_error": "lower"}
_HAND_TILL = (
    "DeLong et al. (1988), Biometrics 44, for each label against the rest; mean and variance through the rows' influences, logit scale"
)
_CURVE_POINTS = 101
_RESAMPLED = 20_000  # rows from which a part is resampled in place of all: 1,000 replicates of a million rows would take minutes
_ALARMS = 3  # fewer false positives than these carry no interval that covers what it claims


@dataclass(frozen=True)
class Scored:
    """Findings out of scores, and the curves behind them."""

    findings: list[Finding]
    reliability: list[dict[str, float]] = field(default_factory=list)
    curves: dict[str, Any] = field(default_factory=dict)


def measure(context: AuditContext, options: AuditOptions) -> Scored:
    """Every finding that needs scores; `not_applicable` where only labels were given."""
    if context.answers.scores is None:
        reason = "only answers were given, no scores"
        names = ("auroc", *_BINARY, "log_loss", "brier", "expected_calibration_error")
        return Scored([_without(context, name, "not_applicable", reason) for name in names])
    scores = _checked(context.answers.scores)
    # Calibration speaks about the score of the highest-scored label, whatever threshold then decides.
    sure, right = scores.max(axis=1), scores.argmax(axis=1) == context.test.labels
    rng = seeds.generator(context.seed, "quality", "calibration")
    error = expected_calibration_error(sure, right, bins=options.bins, rng=rng, confidence=context.confidence)
    findings = [
        *_ranking(context, options, scores),
        _finding(context, "log_loss", mean(log_losses(scores, context.test.labels), confidence=context.confidence), unit="nats"),
        _finding(context, "brier", mean(brier_scores(scores, context.test.labels), confidence=context.confidence), unit="squared error"),
        _finding(context, "expected_calibration_error", error, unit="share"),
    ]
    reliability = reliability_curve(sure, right, bins=options.bins, confidence=context.confidence)
    return Scored(findings, reliability, _curves(context, scores))


def log_losses(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """−log of the score of the true label, nats `(rows,)`; scores are clipped at the smallest step of a float, as in scikit-learn."""
    given = scores[np.arange(len(truth)), truth]
    tiny = float(np.finfo(np.float64).eps)
    return np.asarray(-np.log(np.clip(given, tiny, 1 - tiny)), dtype=np.float64)


def brier_scores(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared error of the scores `(rows,)`: of the positive label for two labels, summed over labels for more.

    Source: Brier (1950), Monthly Weather Review 78, equation 2; halved for two labels, as is usual and as in scikit-learn.
    """
    target = np.zeros_like(scores)
    target[np.arange(len(truth)), truth] = 1.0
    squares = ((scores - target) ** 2).sum(axis=1)
    return np.asarray(squares / 2 if scores.shape[1] == 2 else squares, dtype=np.float64)


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Macro F1 of a confusion matrix `(classes, classes)`."""
    return float(f1_scores(confusion.astype(float))["macro_f1"])


def area_under_roc(context: AuditContext, answers: Answers) -> Interval | None:
    """AUROC (for more than two labels the mean of each against the rest); None without scores or where a label has no rows."""
    if answers.scores is None or (np.bincount(context.test.labels, minlength=len(context.labels.names)) == 0).any():
        return None
    if context.labels.binary:
        positive = context.labels.index(context.labels.positive)
        return ranks.auroc(context.test.labels == positive, answers.scores[:, positive], confidence=context.confidence)
    return macro_auroc(context.test.labels, answers.scores, confidence=context.confidence)


def macro_auroc(truth: NDArray[np.int64], scores: NDArray[np.float64], *, confidence: float = 0.95) -> Interval:
    """Mean over labels of the AUROC of each label against the rest, every label counting the same.

    Each row moves each label's area by its DeLong placement; summing a row's moves over labels before taking the
    variance keeps the dependence between the labels' areas.

    Args:
        truth: label index `(rows,)`; every label must occur.
        scores: `(rows, classes)`.
    """
    rows, classes = scores.shape
    influence, areas = np.zeros(rows), np.zeros(classes)
    for label in range(classes):
        positive = truth == label
        placed = _placements(positive, scores[:, label])
        areas[label] = placed[positive].mean()
        share = positive.mean()
        influence += np.where(positive, (placed - areas[label]) / share, (placed - areas[label]) / (1 - share)) / classes
    value = float(areas.mean())
    error = float(np.sqrt((influence**2).sum() / max(rows - 1, 1) / rows))
    if not 0 < value < 1 or error == 0:
        bound = 0.05 ** (1 / int(np.bincount(truth).min()))
        return enclosing(bound * value, value, 1.0, "no overlap of the labels", _HAND_TILL, rows)
    low, high = ranks.logit_bounds(value, error, normal_quantile(confidence))
    return enclosing(low, value, high, "mean of one-against-rest areas, on the logit scale", _HAND_TILL, rows)


def _placements(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the other class that each row is on the right side of, ties counting one half, `(rows,)`."""
    others_of_positive, others_of_negative = np.sort(score[~positive]), np.sort(score[positive])
    below = (
        (np.searchsorted(others_of_positive, score, "left") + np.searchsorted(others_of_positive, score, "right"))
        / 2
        / len(others_of_positive)
    )
    above = (
        (np.searchsorted(others_of_negative, score, "left") + np.searchsorted(others_of_negative, score, "right"))
        / 2
        / len(others_of_negative)
    )
    return np.where(positive, below, 1 - above)


def _ranking(context: AuditContext, options: AuditOptions, scores: NDArray[np.float64]) -> list[Finding]:
    """AUROC, and for two labels average precision, KS and recall at low false positive rates."""
    n = np.bincount(context.test.labels, minlength=len(context.labels.names))
    empty = [name for name, rows in zip(context.labels.names, n, strict=True) if rows == 0]
    area = area_under_roc(context, context.answers)
    if area is None:
        reason = f"no test rows of label {', '.join(repr(name) for name in empty)}: a ranking needs rows on both sides"
        return [_without(context, name, "insufficient", reason) for name in ("auroc", *_BINARY)]
    findings = [_finding(context, "auroc", area)]
    if not context.labels.binary:
        reason = f"speaks about one label against another; this task has {len(n)}"
        return [*findings, *(_without(context, name, "not_applicable", reason) for name in _BINARY)]
    index = context.labels.index(context.labels.positive)
    positive, score = context.test.labels == index, scores[:, index]
    common: dict[str, Any] = {"replicates": options.replicates, "confidence": context.confidence}
    rng = seeds.generator(context.seed, "quality", "ranks")
    findings.append(_finding(context, "auprc", ranks.auprc(positive, score, rng=rng, **common)))
    findings.append(_finding(context, "ks", from_part(ranks.ks, positive, score, rng=rng, **common)))
    negatives = int((~positive).sum())
    for rate, name in zip(RECALL_AT, _BINARY[2:], strict=True):
        if negatives * rate < _ALARMS:
            reason = f"{negatives} rows of the other label: a false positive rate of {rate:.0%} allows fewer than {_ALARMS} of them"
            findings.append(_without(context, name, "insufficient", reason))
        else:
            interval = from_part(partial(ranks.recall_at_fpr, fpr=rate), positive, score, rng=rng, **common)
            findings.append(_finding(context, name, interval, unit="share"))
    return findings


def from_part(
    metric: Callable[..., Interval],
    positive: NDArray[np.bool_],
    score: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    replicates: int,
    confidence: float,
    rows: int = _RESAMPLED,
) -> Interval:
    """A resampled ranking metric; of very many rows, the value of all and the spread of a random part, scaled by the root of the sizes.

    Source: Bickel, Götze & van Zwet (1997), Statistica Sinica 7, section 2 (m out of n).
    """
    n = len(positive)
    if n <= rows:
        return metric(positive, score, rng=rng, replicates=replicates, confidence=confidence)
    part = rng.choice(n, rows, replace=False)
    spread = metric(positive[part], score[part], rng=rng, replicates=replicates, confidence=confidence)
    value = metric(positive, score, rng=rng, replicates=2, confidence=confidence).value
    scale = float(np.sqrt(rows / n))
    low, high = value - (spread.value - spread.low) * scale, value + (spread.high - spread.value) * scale
    method = f"{spread.method}, on {rows} of {n} rows drawn at random and scaled"
    return enclosing(max(low, 0.0), value, min(high, 1.0), method, spread.source, n)


def _curves(context: AuditContext, scores: NDArray[np.float64]) -> dict[str, Any]:
    """ROC and precision-recall curves at evenly spaced points (two labels), thin enough to tell nothing about a row."""
    index = context.labels.index(context.labels.positive)
    positive = context.test.labels == index
    if not context.labels.binary or positive.all() or not positive.any():
        return {}
    order = np.argsort(-scores[:, index], kind="stable")
    hits, last = np.cumsum(positive[order]), np.flatnonzero(np.append(np.diff(scores[order, index]) != 0, True))
    recall = np.concatenate([[0.0], hits[last] / hits[-1]])
    alarms = np.concatenate([[0.0], (last + 1 - hits[last]) / (len(order) - hits[-1])])
    precision = hits[last] / (last + 1)
    grid = np.linspace(0, 1, _CURVE_POINTS)
    best_precision = np.maximum.accumulate(precision[::-1])[::-1]  # highest precision at this recall or above
    at = np.minimum(np.searchsorted(recall[1:], grid, side="left"), len(last) - 1)
    return {
        "roc": {"fpr": grid.round(4).tolist(), "tpr": np.interp(grid, alarms, recall).round(4).tolist()},
        "precision_recall": {"recall": grid.round(4).tolist(), "precision": best_precision[at].round(4).tolist()},
    }


def _checked(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same scores, if they are probabilities.

    Raises:
        ValueError: a score is not finite or outside [0, 1]; a metric of such scores would be a number about nothing.
    """
    bad = ~np.isfinite(scores).all(axis=1) | (scores < 0).any(axis=1) | (scores > 1 + 1e-6).any(axis=1)
    if bad.any():
        raise ValueError(f"{int(bad.sum())} of {len(scores)} rows have scores that are no probabilities (not finite, or outside [0, 1])")
    return np.minimum(scores, 1.0)


def _finding(context: AuditContext, name: str, interval: Interval, **fields: Any) -> Finding:
    direction = _DIRECTION.get(name, "higher")
    return interval.finding(f"quality.{name}", direction=direction, confidence=context.confidence, seed=context.seed, **fields)


def _without(context: AuditContext, name: str, status: Status, reason: str) -> Finding:
    return Finding.without_value(f"quality.{name}", status, reason, direction=_DIRECTION.get(name, "higher"), confidence=context.confidence)
