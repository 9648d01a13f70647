"""How well questions of different groups are answered: exact answers and F1 over words of each group, and the largest gaps."""

from __future__ import annotations

from trustbase.audit.by_group import GroupMeasure, Rows, audit_groups
from trustbase.audit.context import AuditContext
from trustbase.audit.quality_span import mean_interval
from trustbase.audit.resampled import LEAST_UNITS
from trustbase.audit.spans import fits
from trustbase.audit.stats import Interval
from trustbase.records import Finding

ABOUT = "a group is that of the row, which asks, and not of who is named in its text"


def audit_span(context: AuditContext) -> list[Finding]:
    """All fairness findings of answers that are parts of a text."""
    return audit_groups(context, [_measure(context, "token_f1", 1), _measure(context, "exact_match", 0)], about=ABOUT)


def _measure(context: AuditContext, name: str, column: int) -> GroupMeasure:
    values = fits(context.answers.predicted, context.test)[:, column]

    def on(rows: Rows, confidence: float) -> Interval:
        return mean_interval(values[rows], confidence=confidence, binary=column == 0)

    return GroupMeasure(name, on, "higher", "share", least=LEAST_UNITS)
