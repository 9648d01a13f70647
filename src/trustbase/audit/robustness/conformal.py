"""Prediction sets: all labels that may be right, so many that the right one is among them as often as was asked for.

The threshold is a quantile of calibration rows' scores, so that coverage holds for any model, well calibrated or not, as long as rows are
of the same kind; it is measured on other rows, also of each group, for which nothing of the sort is promised.

Source: Sadinle, Lei & Wasserman (2019), JASA 114, section 2 (least ambiguous sets: labels above one threshold); Vovk, Gammerman & Shafer
(2005), section 4.2 (split conformal prediction); Vovk (2012), ACML, section 3 (coverage given the calibration rows is a beta variable).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trustbase import finding_id
from trustbase.audit import contrasts, stats
from trustbase.audit.by_group import Slice, slices_of
from trustbase.audit.calibrated import calibrated, calibration_scores
from trustbase.audit.context import AuditContext
from trustbase.audit.robustness.guardrails import write_guardrail
from trustbase.records import Finding

METRICS = ("robustness.conformal_coverage", "robustness.conformal_set_size")
SOURCE = "Sadinle, Lei & Wasserman (2019), JASA 114, section 2; Vovk (2012), ACML, section 3"


def conformal_threshold(scores: NDArray[np.float64], coverage: float) -> float | None:
    """The score that so large a share of further rows will not exceed, `(rows,)` → number; None where there are too few for one."""
    place = math.ceil((len(scores) + 1) * coverage)
    return float(np.sort(scores)[place - 1]) if place <= len(scores) else None


def prediction_sets(scores: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Which labels belong to each row's set, probabilities `(rows, classes)` → `(rows, classes)`."""
    return np.asarray(1 - scores <= threshold)


def expected_coverage(rows: int, coverage: float, confidence: float) -> tuple[float, float]:
    """Between which bounds the coverage of sets fitted on so many rows lies, by the luck of these rows alone."""
    place = math.ceil((rows + 1) * coverage)
    tail = (1 - confidence) / 2
    low, high = (float(special.betaincinv(place, rows + 1 - place, share)) for share in (tail, 1 - tail))
    return low, high


@dataclass(frozen=True, eq=False)
class _Sets:
    """Prediction sets of the measured rows.

    Attributes:
        rows: test rows, rising.
        held: whether each set holds the right label, of all test rows; false where a row was not measured.
        sizes: labels in each set, of the measured rows.
        note: where thresholds and rows come from.
    """

    rows: NDArray[np.int64]
    held: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    note: str


def measure_conformal(context: AuditContext) -> list[Finding]:
    """Coverage overall, of groups and between them, and mean size of sets; writes `evidence/robustness.conformal.json`."""
    level = context.options.robustness.coverage
    rows = calibrated(context)
    scores = context.answers.scores
    if isinstance(rows, str) or scores is None:
        reason = rows if isinstance(rows, str) else "only answers were given, no scores"
        return [_without(context, id, reason) for id in METRICS]
    known = calibration_scores(context, rows)
    odd = 1 - known[np.arange(len(known)), rows.labels]
    threshold = conformal_threshold(odd, level)
    least = context.minimum_cell
    if threshold is None or min(len(odd), len(rows.measured)) < least:
        reason = f"{min(len(odd), len(rows.measured))} rows to fit or to measure on, fewer than the minimum of {least}"
        return [_without(context, id, reason) for id in METRICS]
    sets = prediction_sets(scores[rows.measured], threshold)
    held = np.zeros(len(context.test), dtype=bool)
    held[rows.measured] = sets[np.arange(len(sets)), context.test.labels[rows.measured]]
    found = _Sets(rows.measured, held, sets.sum(1), f"prediction sets for {level:g} of rows; {rows.note}")
    of_groups = _of_groups(context, found)
    kept = {"coverage": level, "threshold": threshold, "rows": len(odd)}
    write_guardrail(context, "prediction_sets", {**kept, "score": "1 - probability", "labels": list(context.labels.names)})
    low, high = expected_coverage(len(odd), level, context.confidence)
    sizes = np.bincount(found.sizes, minlength=len(context.labels.names) + 1)
    context.evidence.write(
        "robustness.conformal",
        {
            **kept,
            "measured": len(found.rows),
            "expected": {"low": low, "high": high},
            "sizes": sizes.tolist(),
            "groups": _evidence_of(of_groups),
        },
    )
    return [*_overall(context, found), *of_groups]


def _overall(context: AuditContext, found: _Sets) -> list[Finding]:
    shared: dict[str, Any] = {"confidence": context.confidence}
    share = stats.proportion(int(found.held[found.rows].sum()), len(found.rows), confidence=context.confidence)
    size = stats.bounded_mean(found.sizes.astype(float), 0, len(context.labels.names), confidence=context.confidence)
    return [
        _told(share.finding("robustness.conformal_coverage", direction="higher", unit="share", **shared), found),
        _told(size.finding("robustness.conformal_set_size", direction="lower", unit="labels", **shared), found),
    ]


def _told(finding: Finding, found: _Sets) -> Finding:
    return replace(finding, method=f"{finding.method}; {found.note}", source=f"{finding.source}; {SOURCE}")


def _of_groups(context: AuditContext, found: _Sets) -> list[Finding]:
    findings: list[Finding] = []
    for part in slices_of(context) if context.test.groups else ():
        findings += [_gap(context, found, part), *(_of_group(context, found, part, i) for i in range(len(part.members)))]
    return findings


def _rows_of(found: _Sets, part: Slice, i: int) -> NDArray[np.int64]:
    return np.intersect1d(part.rows[i], found.rows, assume_unique=True)


def _of_group(context: AuditContext, found: _Sets, part: Slice, i: int) -> Finding:
    id = finding_id.make("robustness", "conformal_coverage", tuple(zip(part.columns, part.members[i], strict=True)))
    rows = _rows_of(found, part, i)
    if len(rows) < context.minimum_cell:
        return _without(context, id, f"{len(rows)} rows, fewer than the minimum of {context.minimum_cell}", n=len(rows))
    share = stats.proportion(int(found.held[rows].sum()), len(rows), confidence=context.confidence)
    return _told(share.finding(id, direction="higher", unit="share", confidence=context.confidence), found)


def _gap(context: AuditContext, found: _Sets, part: Slice) -> Finding:
    id = finding_id.make("robustness", "conformal_coverage_difference", tuple((column, None) for column in part.columns))
    rows = [_rows_of(found, part, i) for i in range(len(part.members))]
    small = [f"{', '.join(part.members[i])} ({len(own)} rows)" for i, own in enumerate(rows) if len(own) < context.minimum_cell]
    kept = [own for own in rows if len(own) >= context.minimum_cell]
    left = f"left out, as fewer than {context.minimum_cell}: {', '.join(small)}" if small else ""
    if len(kept) < 2:
        told = f"a gap needs two groups of at least {context.minimum_cell} rows"
        return _without(context, id, f"{told}; {left}" if left else told, direction="lower")
    rates = contrasts.Rates.of([int(found.held[own].sum()) for own in kept], [len(own) for own in kept])
    bounds = contrasts.gap_bounds(rates, confidence=context.confidence)
    gap = bounds.interval(contrasts.GAP_METHOD, sum(map(len, kept)))
    return _told(gap.finding(id, direction="lower", unit="share", confidence=context.confidence, reason=left), found)


def _evidence_of(findings: Sequence[Finding]) -> dict[str, Any]:
    """Coverage of each group that is large enough, by column and group."""
    groups: dict[str, Any] = {}
    for finding in findings:
        parts = finding.parts
        if finding.status == "ok" and parts.metric == "conformal_coverage":
            column = ",".join(name for name, _ in parts.slice)
            row = {"group": ",".join(str(value) for _, value in parts.slice), "n": finding.n}
            groups.setdefault(column, []).append({**row, "value": finding.value, "low": finding.low, "high": finding.high})
    return groups


def _without(context: AuditContext, id: str, reason: str, **fields: Any) -> Finding:
    return Finding.without_value(id, "insufficient", reason, **{"direction": "higher", "confidence": context.confidence, **fields})
