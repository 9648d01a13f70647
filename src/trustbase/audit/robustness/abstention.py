"""What is left wrong where a model answers only what it is sure of: risk against coverage, and thresholds that a server can keep.

Rows are answered from the surest on, by the probability of the answer that is given: under the shipped decision (a threshold, costs) that
need not be the highest class probability. The curve is of measured rows alone; the threshold of each coverage is fitted on calibration
rows, and its coverage and risk are measured on the others.

Source: El-Yaniv & Wiener (2010), JMLR 11, section 2 (risk and coverage); Geifman & El-Yaniv (2017), NeurIPS, section 2 (selection by the
probability of the answer); Geifman, Uziel & El-Yaniv (2019), ICLR, section 3 (area under the curve).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit import stats, tilting
from trustbase.audit.calibrated import calibrated, calibration_scores
from trustbase.audit.catalogue import ANSWERED_SHARES
from trustbase.audit.context import AuditContext
from trustbase.audit.robustness.guardrails import write_guardrail
from trustbase.outputs.answers.base import decided
from trustbase.outputs.decision import told_probability
from trustbase.records import Finding

Floats = NDArray[np.float64]

METRICS = ("robustness.aurc", *(f"robustness.selective_{name}#{level}" for level in ANSWERED_SHARES for name in ("risk", "coverage")))
SOURCE = "Geifman & El-Yaniv (2017), NeurIPS, section 2; Geifman, Uziel & El-Yaniv (2019), ICLR, section 3"
_POINTS = 20
_AREA_METHOD = (
    "tilted contributions of rows in the order of the probability of their answer, with a quarter of a wrong row for what was never seen"
)
_SCORE = "probability of the answer given"


def risks(sure: Floats, wrong: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Coverage and risk as rows are answered from the surest on; rows that are equally sure are answered in no order.

    Args:
        sure: `(rows,)`.
        wrong: 1 where the answer is wrong, `(rows,)`.
        weights: how often each row counts, `(draws, rows)`.

    Returns:
        both `(draws, distinct values of sure)`.
    """
    order = np.argsort(-sure, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(sure[order]) != 0))
    count = np.cumsum(np.add.reduceat(weights[:, order], starts, axis=1), axis=1)
    failed = np.cumsum(np.add.reduceat((weights * wrong)[:, order], starts, axis=1), axis=1)
    share = np.divide(failed, count, out=np.zeros_like(failed), where=count > 0)
    return count / count[:, -1:], share


def area(sure: Floats, wrong: Floats, weights: Floats) -> Floats:
    """Area under risk against coverage, the mean risk over all coverages, `(draws,)`.

    Within rows that are equally sure, the risk at a coverage is what answering a random part of them gives.
    """
    covered, risk = risks(sure, wrong, weights)
    before = np.concatenate([np.zeros((len(covered), 1)), covered[:, :-1]], axis=1)
    failed_before = np.concatenate([np.zeros((len(risk), 1)), (risk * covered)[:, :-1]], axis=1)
    step = covered - before
    rate = np.divide(risk * covered - failed_before, step, out=np.zeros_like(step), where=step > 1e-15)
    # integral of (failed_before + rate (c - before)) / c over c from `before` to `covered`
    ratio = np.divide(covered, before, out=np.ones_like(covered), where=before > 0)
    inner = np.where(before > 0, rate * step + (failed_before - rate * before) * np.log(ratio), rate * step)
    return np.asarray(inner.sum(axis=1))


def threshold_of(sure: Floats, answered: float) -> float:
    """The score from which on so large a share of rows is answered, at least."""
    ordered = np.sort(sure)
    return float(ordered[int(np.floor((1 - answered) * len(ordered) + 1e-9))])


def measure_abstention(context: AuditContext) -> list[Finding]:
    """Area under the curve, and risk and coverage at each threshold; writes `evidence/robustness.abstention.json`."""
    rows, scores = calibrated(context), context.answers.scores
    if isinstance(rows, str) or scores is None:
        reason = rows if isinstance(rows, str) else "only answers were given, no scores"
        return [_without(context, id, reason) for id in METRICS]
    fitted = calibration_scores(context, rows)
    known = told_probability(fitted, decided(fitted, context.labels, context.decision, "classes"))
    least = context.minimum_cell
    if min(len(known), len(rows.measured)) < least:
        reason = f"{min(len(known), len(rows.measured))} rows to fit or to measure on, fewer than the minimum of {least}"
        return [_without(context, id, reason) for id in METRICS]
    answers = context.answers.predicted[rows.measured]
    sure = told_probability(scores[rows.measured], answers)
    wrong = (answers != context.test.labels[rows.measured]).astype(float)
    findings = [_area(context, sure, wrong)]
    thresholds = []
    for level in ANSWERED_SHARES:
        threshold = threshold_of(known, float(level))
        both = _at(context, level, threshold, sure, wrong, rows.note)
        findings += both
        thresholds.append(_guardrail(float((known >= threshold).mean()), threshold, both[0]))
    write_guardrail(context, "abstention", {"score": _SCORE, "rows": len(known), "thresholds": thresholds})
    kept = {"score": _SCORE, "fitted_on": len(known), "rows": len(sure), "curve": _curve(context, sure, wrong)}
    context.evidence.write("robustness.abstention", {**kept, "thresholds": thresholds})
    return findings


def contributions(sure: Floats, wrong: Floats) -> Floats:
    """What each row adds to the area, `(rows,)`: their mean is the area, and their spread is that of the area over other rows.

    The area is the mean of `wrong * -log(coverage at which the row is answered)`; one more row also moves the coverages of those that are
    less sure (the influence function of both). Rows that are equally sure share their places.
    """
    rows = len(sure)
    order = np.argsort(-sure, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(sure[order]) != 0))
    place, failed = (np.arange(rows) + 0.5) / rows, wrong[order]
    sizes = np.diff(np.append(starts, rows))

    def shared(part: Floats) -> Floats:
        return np.repeat(np.add.reduceat(part, starts) / sizes, sizes)

    share = shared(failed) / place
    late, behind = shared(-np.log(place)), shared((np.cumsum(share[::-1])[::-1] - share / 2) / rows)
    found = np.empty(rows)
    found[order] = failed * late - behind + wrong.mean()
    return np.asarray(found - found.mean() + float(area(sure, wrong, np.ones((1, rows)))[0]), dtype=np.float64)


def area_interval(sure: Floats, wrong: Floats, confidence: float) -> stats.Interval:
    """The area with its interval; a wrong row that was not seen is as likely to be sure as not, and counts 1 on the average."""
    each = contributions(sure, wrong)
    value = float(each.mean())
    low, high = stats.bounded_mean_bounds(each, min(float(each.min()), 0.0), 1.0 + value, stats.normal_quantile(confidence))
    return stats.enclosing(max(float(low), 0.0), value, min(float(high), 1.0), _AREA_METHOD, f"{SOURCE}; {tilting.SOURCE}", len(sure))


def _area(context: AuditContext, sure: Floats, wrong: Floats) -> Finding:
    found = area_interval(sure, wrong, context.confidence)
    return found.finding("robustness.aurc", direction="lower", confidence=context.confidence, unit="share")


def _at(context: AuditContext, level: str, threshold: float, sure: Floats, wrong: Floats, note: str) -> list[Finding]:
    """Risk and coverage at one threshold."""
    given = sure >= threshold
    method = f"answered where the probability of the answer is at least {threshold:.4g}, for {float(level):g} of rows; {note}"
    covered = stats.proportion(int(given.sum()), len(given), confidence=context.confidence)
    shared: dict[str, Any] = {"confidence": context.confidence, "unit": "share"}
    coverage = covered.finding(f"robustness.selective_coverage#{level}", direction="none", **shared)
    id, count = f"robustness.selective_risk#{level}", int(given.sum())
    if count < context.minimum_cell:
        risk = _without(context, id, f"{count} rows, fewer than the minimum of {context.minimum_cell}", n=count)
    else:
        share = stats.proportion(int(wrong[given].sum()), count, confidence=context.confidence)
        risk = share.finding(id, direction="lower", **shared)
    return [replace(item, method=f"{item.method}; {method}", source=SOURCE) if item.status == "ok" else item for item in (risk, coverage)]


def _guardrail(answered: float, threshold: float, risk: Finding) -> dict[str, Any]:
    return {"answered": answered, "threshold": threshold, "risk": risk.value, "low": risk.low, "high": risk.high, "n": risk.n}


def _curve(context: AuditContext, sure: Floats, wrong: Floats) -> list[dict[str, float]]:
    """Risk at even steps of coverage, with its interval at that very coverage."""
    order = np.argsort(-sure, kind="stable")
    failed = np.cumsum(wrong[order])
    points = []
    for count in _counts(len(sure), context.minimum_cell):
        share = stats.proportion(int(failed[count - 1]), count, confidence=context.confidence)
        points.append({"coverage": count / len(sure), "risk": share.value, "low": share.low, "high": share.high})
    return points


def _counts(rows: int, least: int) -> Sequence[int]:
    return sorted({max(least, round(rows * step / _POINTS)) for step in range(1, _POINTS + 1)} | {rows})


def _without(context: AuditContext, id: str, reason: str, **fields: Any) -> Finding:
    direction = "none" if "coverage" in id else "lower"
    return Finding.without_value(id, "insufficient", reason, direction=direction, confidence=context.confidence, **fields)
