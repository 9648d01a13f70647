"""The quality audit of any number of labels: whole sets, all labels together, and each label by itself.

Findings are `quality.exact_match`, `.micro_f1`, `.macro_f1`, `.hamming_loss`, `.log_loss`, `.gain_over_…`, and precision, recall and F1 of
each label. `evidence/quality.json` holds the table of labels and the rivals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.counts import ClassificationIntervals, classification_intervals
from trustbase.audit.guard import LEAST_ROWS, guarded
from trustbase.audit.quality import slice_id
from trustbase.audit.resampled import LEAST_UNITS, of_shares
from trustbase.audit.rivals import no_gain
from trustbase.audit.seeds import over_seeds
from trustbase.audit.stats import Floats, Interval, bounded_mean, paired_difference, proportion
from trustbase.audit.unknown_tokens import unknown_tokens
from trustbase.audit.weak_slices import weak_slice_findings
from trustbase.recipe.lookup import rivals_of
from trustbase.records import Finding

_LEAST_SCORE = float(np.finfo(np.float64).eps)


def audit_labels(context: AuditContext) -> list[Finding]:
    """All quality findings of sets of labels.

    Raises:
        ValueError: scores that are no probabilities; nothing that was made from them would mean anything.
    """
    scores = context.answers.scores
    if scores is not None and not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("some scores are no probabilities: they must lie in [0, 1]")
    each = [_intervals(context, place) for place in range(len(context.labels.names))]
    gains = {name: guarded(context, f"quality.gain_over_{name}", "higher", partial(_gain, context, name)) for name in rivals_of("labels")}
    rows = [_row(context, place, found) for place, found in enumerate(each)]
    evidence = {"labels": list(context.labels.names), "decision": context.decision.to_json(), "classes": rows}
    context.evidence.write("quality", {**evidence, "rivals": _rival_rows(context, gains)})
    return [
        guarded(context, "quality.exact_match", "higher", lambda: _exact(context)),
        *over_seeds(context, {"exact_match": lambda answers: float(exact(answers, context.test.labels).mean())}, "higher", "share"),
        guarded(context, "quality.micro_f1", "higher", lambda: _f1(context, "micro_f1")),
        guarded(context, "quality.macro_f1", "higher", lambda: _f1(context, "macro_f1")),
        guarded(context, "quality.hamming_loss", "lower", lambda: _mean(context, "hamming_loss", _wrong(context.answers, context))),
        guarded(context, "quality.log_loss", "lower", lambda: _log_loss(context)),
        *gains.values(),
        guarded(context, "quality.unknown_tokens", "lower", lambda: unknown_tokens(context)),
        *weak_slice_findings(context),
        *_per_label(context, each),
    ]


def exact(answers: Answers, truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a row's whole set is right, bool `(rows,)`."""
    return np.asarray((answers.predicted == truth).all(axis=1), dtype=bool)


def f1_sums(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Floats:
    """Hits, answered and true labels of each row and label, `(rows, 3 * labels)`."""
    return np.concatenate([predicted & truth, predicted, truth], axis=1).astype(np.float64)


def f1_of_sums(sums: Floats, *, micro: bool) -> Floats:
    """F1 over all labels together, or its mean over the labels that occur among truths or answers, as in scikit-learn."""
    hits, answered, actual = np.split(sums, 3, axis=-1)
    if micro:
        hits, answered, actual = (part.sum(axis=-1, keepdims=True) for part in (hits, answered, actual))
    total = answered + actual
    f1 = np.divide(2 * hits, total, out=np.full(total.shape, np.nan), where=total > 0)
    seen = np.isfinite(f1)
    return np.asarray(np.where(seen, f1, 0.0).sum(-1) / np.where(seen.any(-1), seen.sum(-1), np.nan))


def _exact(context: AuditContext) -> Finding:
    right = int(exact(context.answers, context.test.labels).sum())
    interval = proportion(right, len(context.test), confidence=context.confidence)
    return interval.finding("quality.exact_match", direction="higher", confidence=context.confidence, unit="share")


def _f1(context: AuditContext, metric: str) -> Finding:
    id, n = f"quality.{metric}", len(context.test)
    shared: dict[str, Any] = {"direction": "higher", "confidence": context.confidence, "unit": "share"}
    support = context.test.labels.sum(axis=0)
    if metric == "macro_f1" and int(support.min()) < LEAST_ROWS:
        rare = context.labels.names[int(support.argmin())]
        few = f"only {int(support.min())} rows of label '{rare}', fewer than {LEAST_ROWS}"
        return Finding.without_value(id, "insufficient", few, **shared)
    if n < LEAST_UNITS:
        return Finding.without_value(id, "insufficient", f"{n} rows, fewer than the minimum of {LEAST_UNITS}", n=n, **shared)
    statistic: Callable[[Floats], Floats] = partial(f1_of_sums, micro=metric == "micro_f1")
    rng = seeds.generator(context.seed, "quality", metric)
    sums = f1_sums(context.answers.predicted, context.test.labels)
    rarest = context.test.labels[:, int(support.argmin())]
    told, what = (rarest, "the rarest label") if metric == "macro_f1" else ((sums > 0).any(axis=1), "a label")
    found = of_shares(sums, statistic, np.asarray(told), rng=rng, confidence=context.confidence, what=what)
    return found.finding(id, seed=context.seed, **shared)


def _wrong(answers: Answers, context: AuditContext) -> Floats:
    """Share of labels that are wrong in each row, `(rows,)`."""
    return np.asarray((answers.predicted != context.test.labels).mean(axis=1), dtype=np.float64)


def _mean(context: AuditContext, metric: str, values: Floats) -> Finding:
    interval = bounded_mean(values, 0.0, 1.0, confidence=context.confidence)
    return interval.finding(f"quality.{metric}", direction="lower", confidence=context.confidence, unit="share of labels")


def _log_loss(context: AuditContext) -> Finding:
    shared: dict[str, Any] = {"direction": "lower", "confidence": context.confidence, "unit": "nats a label"}
    scores = context.answers.scores
    if scores is None:
        return Finding.without_value("quality.log_loss", "not_applicable", "only answers were given, no scores", **shared)
    kept = np.clip(scores, _LEAST_SCORE, 1 - _LEAST_SCORE)
    losses = -np.where(context.test.labels, np.log(kept), np.log1p(-kept)).mean(axis=1)
    most = float(-np.log(max(min(kept.min(), 1 - kept.max()), _LEAST_SCORE)))
    return bounded_mean(losses, 0.0, most, confidence=context.confidence).finding("quality.log_loss", **shared)


def _intervals(context: AuditContext, place: int) -> ClassificationIntervals:
    """Those of one label, as a task of two: it has the label, or not."""
    truth, told = context.test.labels[:, place].astype(np.int64), context.answers.predicted[:, place].astype(np.int64)
    confusion = np.bincount(truth * 2 + told, minlength=4).reshape(2, 2)
    return classification_intervals(confusion, confidence=context.confidence)


def _of(found: ClassificationIntervals) -> dict[str, Interval]:
    return {"precision": found.precision[1], "recall": found.recall[1], "f1": found.f1[1]}


def _row(context: AuditContext, place: int, found: ClassificationIntervals) -> dict[str, Any]:
    row: dict[str, Any] = {"label": context.labels.names[place], "n": int(context.test.labels[:, place].sum())}
    for name, interval in _of(found).items():
        row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row


def _per_label(context: AuditContext, each: list[ClassificationIntervals]) -> Iterable[Finding]:
    """Precision, recall and F1 of every label; a cell under the minimum is `insufficient`."""
    for place, found in enumerate(each):
        label = context.labels.names[place]
        truth, told = int(context.test.labels[:, place].sum()), int(context.answers.predicted[:, place].sum())
        rows = {
            "precision": (told, "answered"),
            "recall": (truth, "whose true label is"),
            "f1": (min(truth, told), "with true label, or answered,"),
        }
        for metric, interval in _of(found).items():
            id = slice_id("quality", metric, (("label", label),))
            shared: dict[str, Any] = {"direction": "higher", "confidence": context.confidence, "unit": "share"}
            n, which = rows[metric]
            if id is None:
                continue  # a label that the id grammar cannot hold stands in the evidence alone
            if n < context.minimum_cell:
                reason = f"only {n} rows {which} '{label}', fewer than {context.minimum_cell}"
                yield Finding.without_value(id, "insufficient", reason, n=n, **shared)
            else:
                yield interval.finding(id, **shared)


def _gain(context: AuditContext, name: str) -> Finding:
    """How many more rows are wholly right than with a rival, paired; or why there is none."""
    id, rival = f"quality.gain_over_{name}", context.rivals.get(name)
    shared: dict[str, Any] = {"direction": "higher", "confidence": context.confidence, "unit": "exact match"}
    if rival is not None:
        ours, theirs = exact(context.answers, context.test.labels), exact(rival, context.test.labels)
        return paired_difference(ours, theirs, confidence=context.confidence).finding(id, **shared)
    return no_gain(context, name, id, shared)


def _rival_rows(context: AuditContext, gains: dict[str, Finding]) -> list[dict[str, Any]]:
    rows = []
    truth = context.test.labels
    for name, answers in (("model", context.answers), *context.rivals.items()):
        share = proportion(int(exact(answers, truth).sum()), len(truth), confidence=context.confidence)
        micro = f1_of_sums(f1_sums(answers.predicted, truth).sum(axis=0), micro=True)
        row: dict[str, Any] = {"name": name, "exact_match": share.value, "low": share.low, "high": share.high}
        row["micro_f1"] = float(micro) if np.isfinite(micro) else None
        gain = gains.get(name)
        rows.append(row if gain is None else row | {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high})
    return rows
