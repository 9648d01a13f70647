"""Numbers over explained rows as findings: means and shares with their intervals, and what is said of too few rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trustbase.audit import stats
from trustbase.audit.context import AuditContext
from trustbase.audit.guard import LEAST_ROWS
from trustbase.records import Direction, Finding

SPREAD = "standard deviations of the training rows"  # unit of what is told of a number


def mean_finding(
    context: AuditContext,
    id: str,
    values: Sequence[float],
    *,
    direction: Direction,
    said: str,
    source: str,
    least: float = -1.0,
    bounded: bool | None = None,
    unit: str = "",
) -> Finding:
    """A mean over rows with its interval; of numbers, which have no bounds, in standard deviations of the training rows.

    Args:
        context: what is audited.
        id: of the finding.
        values: of each row.
        direction: which way is better.
        said: how it was measured, put before how the interval was.
        source: of the formula.
        least: what a row may have at least; at most 1.
        bounded: whether no row can lie outside; by default of every kind of answer but numbers.
        unit: of what is bounded.
    """
    assert context.artifact is not None
    known = context.artifact.answer_kind != "number" if bounded is None else bounded
    unit = unit if known else SPREAD
    if len(values) < LEAST_ROWS:
        return too_few(context, id, len(values), direction, unit)
    if known:
        interval = stats.bounded_mean(values, least, 1.0, confidence=context.confidence)
    else:
        interval = stats.mean(values, confidence=context.confidence)
    return _told(context, interval, id, direction, unit, said, source)


def share_finding(context: AuditContext, id: str, hits: int, rows: int, *, direction: Direction, said: str, source: str) -> Finding:
    """A share of rows with its interval."""
    if rows < LEAST_ROWS:
        return too_few(context, id, rows, direction, "share")
    return _told(context, stats.proportion(hits, rows, confidence=context.confidence), id, direction, "share", said, source)


def too_few(context: AuditContext, id: str, rows: int, direction: Direction, unit: str = "") -> Finding:
    """Of too few rows no interval means anything."""
    reason = f"{rows} rows could be used, and {LEAST_ROWS} are the least"
    return Finding.without_value(id, "insufficient", reason, n=rows, direction=direction, confidence=context.confidence, unit=unit)


def _told(context: AuditContext, interval: stats.Interval, id: str, direction: Direction, unit: str, said: str, source: str) -> Finding:
    made = interval.finding(id, direction=direction, confidence=context.confidence, seed=context.seed, unit=unit)
    return replace(made, method=f"{said}; {made.method}", source=f"{source}; {made.source}")
