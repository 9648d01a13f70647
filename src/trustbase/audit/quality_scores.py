"""What scores say beyond the answer: ranking, calibration and losses, each with its interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit import ranks
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.counts import f1_scores
from trustbase.audit.guard import LEAST_ALARMS, LEAST_ROWS, guarded
from trustbase.audit.reliability import expected_calibration_error, reliability_curve
from trustbase.audit.stats import Interval, bounded_mean, enclosing, normal_quantile
from trustbase.records import Direction, Finding, Status

LEAST_RANKED = 30  # rows of each label, under which intervals of rankings were seen to cover less than 93 %
LEAST_DISTANCE = 50  # rows of each label, likewise for KS, whose threshold is searched
LEAST_CALIBRATION = 300  # rows, under which the interval of the calibration error was seen to cover more than 97 %
RECALL_AT = (0.01, 0.05)  # false positive rates
_BINARY = ("auprc", "ks", *(f"recall_at_fpr#{rate:.2f}" for rate in RECALL_AT))
_DIRECTION: dict[str, Direction] = {"log_loss": "lower", "brier": "lower", "expected_calibration_error": "lower"}
_CURVE_POINTS = 101


@dataclass(frozen=True)
class Scored:
    """Findings out of scores, and the curves behind them."""

    findings: list[Finding]
    reliability: list[dict[str, float]] = field(default_factory=list)
    curves: dict[str, Any] = field(default_factory=dict)


def measure(context: AuditContext) -> Scored:
    """Every finding that needs scores; `not_applicable` where only labels were given.

    Raises:
        ValueError: scores that are no probabilities, so that answers made from them mean nothing either.
    """
    if context.answers.scores is None:
        reason = "only answers were given, no scores"
        names = ("auroc", *_BINARY, "log_loss", "brier", "expected_calibration_error")
        return Scored([_without(context, name, "not_applicable", reason) for name in names])
    scores, options = checked(context.answers.scores), context.options
    # Calibration speaks about the score of the highest-scored label, whatever threshold then decides.
    sure, right = scores.max(axis=1), scores.argmax(axis=1) == context.test.labels
    few = few_rows(context)

    def calibration() -> Finding:
        rng = seeds.generator(context.seed, "quality", "calibration")
        error = expected_calibration_error(
            sure, right, bins=options.bins, rng=rng, confidence=context.confidence, draws=options.replicates
        )  # fmt: skip
        return _finding(context, "expected_calibration_error", error, unit="share", seed=context.seed)

    def loss(name: str, of: Callable[..., NDArray[np.float64]], unit: str) -> Callable[[], Finding]:
        return lambda: _finding(context, name, mean_loss(of, scores, context.test.labels, context.confidence), unit=unit)

    tasks: list[tuple[str, str, Callable[[], Finding]]] = [
        ("log_loss", few, loss("log_loss", log_losses, "nats")),
        ("brier", few, loss("brier", brier_scores, "squared error")),
        ("expected_calibration_error", _few_calibration(len(scores)), calibration),
    ]
    findings = [*_ranking(context, scores, few_rows(context, LEAST_RANKED)), *(_task(context, *task) for task in tasks)]
    reliability = reliability_curve(sure, right, bins=options.bins, confidence=context.confidence)
    return Scored(findings, reliability, _curves(context, scores))


def few_rows(context: AuditContext, fewest: int = LEAST_ROWS) -> str:
    """Why the smallest label's rows are too few for an interval that covers what it claims; empty where they are enough."""
    n = np.bincount(context.test.labels, minlength=len(context.labels.names))
    least = int(n.argmin())
    if n[least] >= fewest:
        return ""
    return f"only {n[least]} rows of label '{context.labels.names[least]}', fewer than {fewest}"


def _few_calibration(rows: int) -> str:
    if rows >= LEAST_CALIBRATION:
        return ""
    return f"{rows} rows: under {LEAST_CALIBRATION}, an interval of the calibration error was seen to cover more than it claims"


def mean_loss(
    of: Callable[..., NDArray[np.float64]], scores: NDArray[np.float64], truth: NDArray[np.int64], confidence: float = 0.95
) -> Interval:
    """Mean of a loss, with bounds that know what a confident error would cost that these rows may not show.

    An unseen row costs at most the mean over the rows of their loss if another label, drawn evenly, were true; at least the smallest.
    """
    values = of(scores, truth)
    classes = scores.shape[1]
    every = np.stack([of(scores, np.full(len(truth), label)) for label in range(classes)])
    told = scores.argmax(axis=1)
    wrong = (every.sum(axis=0) - every[told, np.arange(len(truth))]) / (classes - 1)
    return bounded_mean(values, float(every.min(axis=0).mean()), float(wrong.mean()), confidence=confidence)


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

    A row is placed in its own label's area and, as one of the rest, in every other's; summing its placements over the labels before
    tilting keeps the dependence between the labels' areas.

    Args:
        truth: label index `(rows,)`; every label must occur.
        scores: `(rows, classes)`.
    """
    rows, classes = scores.shape
    n = np.bincount(truth, minlength=classes)
    placed = np.empty((classes, rows))
    for label in range(classes):
        placed[label] = ranks.row_placements(truth == label, scores[:, label])
    own = truth == np.arange(classes)[:, None]
    areas = (placed * own).sum(axis=1) / n
    value = float(areas.mean())
    parts, mix = [], 0.0
    for label in range(classes):
        # what a row of this label adds: its place in its own label's area, and as one of the rest in every other label's
        shares = n[label] / (rows - n) / classes
        shares[label] = 1 / classes
        inside = placed[:, truth == label]
        parts.append((shares @ inside, float(shares.sum())))
        apart = (inside.mean(axis=1) - areas) * rows / (rows - n) / classes
        apart[label] = 0.0
        mix += n[label] / rows**2 * float(apart.sum()) ** 2  # another sample has the rest in another mix of labels
    low, high = ranks.area_bounds(parts, value, normal_quantile(confidence), mix)
    method = f"mean of one-against-rest areas; {ranks.AREA_METHOD}"
    return enclosing(low, value, high, method, ranks.AREA_SOURCE, rows)


def _ranking(context: AuditContext, scores: NDArray[np.float64], few: str) -> list[Finding]:
    """AUROC, and for two labels average precision, KS and recall at low false positive rates."""

    def area() -> Finding:
        made = area_under_roc(context, context.answers)
        assert made is not None  # every label has rows
        return _finding(context, "auroc", made)

    findings = [_task(context, "auroc", few, area)]
    if not context.labels.binary:
        reason = f"speaks about one label against another; this task has {len(context.labels.names)}"
        return [*findings, *(_without(context, name, "not_applicable", reason) for name in _BINARY)]
    index = context.labels.index(context.labels.positive)
    positive, score = context.test.labels == index, scores[:, index]
    sampled: dict[str, Any] = {"replicates": context.options.replicates, "confidence": context.confidence}

    def distance() -> Finding:
        rng = seeds.generator(context.seed, "quality", "ks")
        return _finding(context, "ks", ranks.ks(positive, score, rng=rng, **sampled), seed=context.seed)

    def recall(name: str, rate: float) -> Finding:
        rng = seeds.generator(context.seed, "quality", name)
        return _finding(context, name, ranks.recall_at_fpr(positive, score, rate, rng=rng, **sampled), unit="share", seed=context.seed)

    findings.append(
        _task(context, "auprc", few, lambda: _finding(context, "auprc", ranks.auprc(positive, score, confidence=context.confidence)))
    )
    findings.append(_task(context, "ks", few_rows(context, LEAST_DISTANCE), distance))
    for rate, name in zip(RECALL_AT, _BINARY[2:], strict=True):
        findings.append(_task(context, name, few or _few_alarms(positive, rate), partial(recall, name, rate)))
    return findings


def _few_alarms(positive: NDArray[np.bool_], rate: float) -> str:
    negatives = int((~positive).sum())
    if negatives * rate >= LEAST_ALARMS:
        return ""
    return f"{negatives} rows of the other label: a false positive rate of {rate:.0%} allows fewer than {LEAST_ALARMS} of them"


def _task(context: AuditContext, name: str, few: str, measure: Callable[[], Finding]) -> Finding:
    """One number: `insufficient` where rows are too few, `failed` where it breaks, and saying from where on it holds."""
    if few:
        return _without(context, name, "insufficient", few)
    made = guarded(context, f"quality.{name}", _DIRECTION.get(name, "higher"), measure)
    if made.status != "ok" or name == "expected_calibration_error":
        return made
    fewest = {"log_loss": LEAST_ROWS, "brier": LEAST_ROWS, "ks": LEAST_DISTANCE}.get(name, LEAST_RANKED)
    limit = f" and {LEAST_ALARMS} allowed false alarms" if name.startswith("recall_at_fpr") else ""
    return replace(made, method=f"{made.method}; simulated to hold from {fewest} rows of each label{limit}")


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


def checked(scores: NDArray[np.float64]) -> NDArray[np.float64]:
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
    return interval.finding(f"quality.{name}", direction=direction, confidence=context.confidence, **fields)


def _without(context: AuditContext, name: str, status: Status, reason: str) -> Finding:
    return Finding.without_value(f"quality.{name}", status, reason, direction=_DIRECTION.get(name, "higher"), confidence=context.confidence)
