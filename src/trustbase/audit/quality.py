"""The quality audit for class answers: how often, and how surely, the answers are right, and by how much they beat simple rivals.

Findings are `quality.*`; per-class numbers are slices by label, `quality.recall[label=spam]`. The confusion matrix,
the reliability curve, slices and rivals lie in `evidence/quality.json`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import finding_id
from trustbase.audit import quality_scores
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.counts import ClassificationIntervals, classification_intervals, confusion_counts
from trustbase.audit.guard import LEAST_ROWS, NAMED_ROWS, attempt, failed, guarded
from trustbase.audit.quality_relation import relation_findings
from trustbase.audit.rival_inputs import have_choices
from trustbase.audit.rivals import no_gain, rivals_for
from trustbase.audit.seeds import over_seeds
from trustbase.audit.slices import Slice, SliceTable, slice_accuracies
from trustbase.audit.stats import Interval, mean_of_costs, normal_quantile, paired_difference, proportion, proportion_bounds
from trustbase.audit.unknown_tokens import unknown_tokens
from trustbase.audit.weak_slices import weak_slice_findings
from trustbase.records import Finding, Status

_WORST_SLICES = 5  # as findings of their own; all of them are in the evidence


def audit_classes(context: AuditContext) -> list[Finding]:
    """All quality findings of class answers; writes `evidence/quality.json`.

    A number that breaks is `failed` alone: the others stand.

    Raises:
        ValueError: scores that are no probabilities; nothing that was made from them would mean anything.
    """
    confusion = confusion_counts(context.test.labels, context.answers.predicted, len(context.labels.names))
    scored = quality_scores.measure(context)
    counts = classification_intervals(confusion, confidence=context.confidence)
    slices = attempt(context, "quality.worst_slice_accuracy", lambda: slice_accuracies(context))
    gains = {
        name: guarded(context, f"quality.gain_over_{name}", "higher", partial(_gain, context, name))
        for name in rivals_for("classes", context.test)
    }
    table = slices if isinstance(slices, SliceTable) else None
    context.evidence.write(
        "quality",
        {
            "labels": list(context.labels.names),
            "positive": context.labels.positive,
            "positive_assumed": context.labels.positive_assumed,
            "decision": context.decision.to_json(),
            "confusion": confusion.tolist(),
            "classes": _class_rows(context, confusion, counts),
            "reliability": scored.reliability,
            "curves": scored.curves,
            "slices": [item.to_json() for item in table.slices] if table else [],
            "slices_too_small": table.too_small if table else 0,
            "rivals": _rival_rows(context, gains),
        },
    )
    return [
        *_overall(context, counts),
        *relation_findings(context),
        *over_seeds(context, {"accuracy": lambda answers: float((answers.predicted == context.test.labels).mean())}, "higher", "share"),
        *scored.findings,
        guarded(context, "quality.expected_cost", "lower", lambda: _expected_cost(context)),
        *gains.values(),
        guarded(context, "quality.unknown_tokens", "lower", lambda: unknown_tokens(context)),
        *weak_slice_findings(context),
        *(_worst(context, table) if table else [failed(context, "quality.worst_slice_accuracy", "higher", str(slices))]),
        *_per_class(context, confusion, counts),
    ]


def _overall(context: AuditContext, counts: ClassificationIntervals) -> Iterable[Finding]:
    """Accuracy and the F1 over all labels; a mean over labels says nothing sure where one of them has hardly a row."""
    few = quality_scores.few_rows(context)
    named = {"accuracy": counts.accuracy, "macro_f1": counts.macro_f1, "micro_f1": counts.micro_f1, "weighted_f1": counts.weighted_f1}
    for name, interval in named.items():
        summed = name in ("macro_f1", "weighted_f1")
        if summed and few:
            yield _without(context, f"quality.{name}", "insufficient", few, unit="share")
            continue
        limit = f"; simulated to hold from {LEAST_ROWS} rows of each label" if summed else ""
        yield _finding(context, f"quality.{name}", replace(interval, method=interval.method + limit), unit="share")


def _finding(context: AuditContext, id: str, interval: Interval, **fields: Any) -> Finding:
    fields.setdefault("direction", "higher")
    return interval.finding(id, confidence=context.confidence, **fields)


def _per_class(context: AuditContext, confusion: NDArray[np.int64], counts: ClassificationIntervals) -> list[Finding]:
    """Precision, recall and F1 of every label; a cell under the minimum is `insufficient`. Of choices none: a label is a place there."""
    answered, support = confusion.sum(0), confusion.sum(1)
    rows: list[tuple[str, int, Interval, int, str]] = []
    for index, label in enumerate(() if have_choices(context.test) else context.labels.names):
        rows.append(("precision", index, counts.precision[index], int(answered[index]), f"answered '{label}'"))
        rows.append(("recall", index, counts.recall[index], int(support[index]), f"whose true label is '{label}'"))
        rows.append(("f1", index, counts.f1[index], int(min(answered[index], support[index])), f"with true label, or answered, '{label}'"))
    findings = []
    for metric, index, interval, n, which in rows:
        id = slice_id("quality", metric, (("label", context.labels.names[index]),))
        if id is None:
            continue  # a label that the id grammar cannot hold stands in the evidence alone
        if n < context.minimum_cell:
            reason = f"only {n} rows {which}, fewer than {context.minimum_cell}"
            findings.append(
                Finding.without_value(id, "insufficient", reason, n=n, unit="share", direction="higher", confidence=context.confidence)
            )
        else:
            findings.append(_finding(context, id, interval, unit="share"))
    return findings


def slice_id(dimension: str, metric: str, parts: tuple[tuple[str, str], ...]) -> str | None:
    """The finding id of a slice, or None where the grammar cannot hold it (an empty name)."""
    text = finding_id.make(dimension, metric, parts)
    try:
        return text if finding_id.parse(text).slice == parts else None
    except ValueError:
        return None


def _class_rows(context: AuditContext, confusion: NDArray[np.int64], counts: ClassificationIntervals) -> list[dict[str, Any]]:
    """The rows of a classification report, with intervals; of questions with choices none, as for findings."""
    if have_choices(context.test):
        return []
    support = confusion.sum(1)
    rows = []
    for index, label in enumerate(context.labels.names):
        row: dict[str, Any] = {"label": label, "n": int(support[index])}
        for name, interval in (("precision", counts.precision[index]), ("recall", counts.recall[index]), ("f1", counts.f1[index])):
            row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        rows.append(row)
    return rows


def _expected_cost(context: AuditContext) -> Finding:
    """Mean cost of an answer: the recipe's costs of the two kinds of error, else 1 for any error."""
    truth, predicted = context.test.labels, context.answers.predicted
    if not (context.labels.binary and context.decision.cost):
        interval = proportion(int((truth != predicted).sum()), len(truth), confidence=context.confidence)
        return _finding(context, "quality.expected_cost", interval, unit="cost of one error", direction="lower")
    positive = context.labels.index(context.labels.positive)
    wrong, missed = truth != predicted, truth == positive
    errors = [int((wrong & missed).sum()), int((wrong & ~missed).sum())]
    costs = [context.decision.cost["false_negative"], context.decision.cost["false_positive"]]
    interval = mean_of_costs(errors, costs, len(truth), confidence=context.confidence)
    unit = "cost (false negative {false_negative:g}, false positive {false_positive:g})".format(**context.decision.cost)
    return _finding(context, "quality.expected_cost", interval, unit=unit, direction="lower")


def _gain(context: AuditContext, name: str) -> Finding:
    """Accuracy over that of a rival on the same rows, paired; or why there is none."""
    id = f"quality.gain_over_{name}"
    rival = context.rivals.get(name)
    if rival is not None:
        truth = context.test.labels
        interval = paired_difference(context.answers.predicted == truth, rival.predicted == truth, confidence=context.confidence)
        return _finding(context, id, interval, unit="accuracy")
    return no_gain(context, name, id, {"direction": "higher", "confidence": context.confidence})


def _without(context: AuditContext, id: str, status: Status, reason: str, **fields: Any) -> Finding:
    return Finding.without_value(id, status, reason, direction="higher", confidence=context.confidence, **fields)


def _rival_rows(context: AuditContext, gains: dict[str, Finding]) -> list[dict[str, Any]]:
    """The model and its rivals, side by side, for the report."""
    rows = [_answer_row("model", context, context.answers)]
    for name, answers in context.rivals.items():
        gain = gains.get(name)
        numbers = {} if gain is None else {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
        rows.append(_answer_row(name, context, answers) | numbers)
    return rows


def _answer_row(name: str, context: AuditContext, answers: Answers) -> dict[str, Any]:
    truth = context.test.labels
    interval = proportion(int((answers.predicted == truth).sum()), len(truth), confidence=context.confidence)
    area = attempt(context, f"AUROC of {name}", lambda: quality_scores.area_under_roc(context, answers))
    area = None if isinstance(area, str) or quality_scores.few_rows(context, quality_scores.LEAST_RANKED) else area
    confusion = confusion_counts(truth, answers.predicted, len(context.labels.names))
    return {
        "name": name,
        "accuracy": interval.value,
        "low": interval.low,
        "high": interval.high,
        "macro_f1": float(quality_scores.macro_f1(confusion)),
        "auroc": None if area is None else area.value,
        "auroc_low": None if area is None else area.low,
        "auroc_high": None if area is None else area.high,
    }


def _worst(context: AuditContext, table: SliceTable) -> Iterable[Finding]:
    """The lowest accuracy over the slices, with bounds that allow for having looked at all of them."""
    slices = table.known_beforehand()
    if not slices:
        reason = f"no group, column or length slice has {max(NAMED_ROWS, context.minimum_cell)} rows"
        yield _without(context, "quality.worst_slice_accuracy", "insufficient", reason)
        return
    worst = slices[0]
    # Above, every true accuracy must lie under its own bound, so that the smallest does; below, it is enough that the one that is truly
    # lowest lies over its own bound, as no smallest bound is larger (Berger 1982, intersection-union).
    right, rows = [round(item.accuracy * item.n) for item in slices], [item.n for item in slices]
    low = float(proportion_bounds(right, rows, normal_quantile(context.confidence))[0].min())
    high = min(item.high for item in slices)
    method = f"lowest of {len(slices)} slices by what is known beforehand, at {_say(worst)}; below for that slice alone; {table.method}"
    source = f"{table.source}; Berger (1982), Technometrics 24, section 2"
    interval = Interval(min(low, worst.accuracy), max(high, worst.accuracy), method, source, worst.accuracy, worst.n)
    yield _finding(context, "quality.worst_slice_accuracy", interval, unit="share")
    for item in slices if context.parts is not None else slices[:_WORST_SLICES]:
        id = slice_id("quality", "slice_accuracy", item.name)
        if id is not None:
            yield _finding(context, id, Interval(item.low, item.high, table.method, table.source, item.accuracy, item.n), unit="share")


def _say(item: Slice) -> str:
    return ", ".join(f"{column} = {value}" for column, value in item.name)
