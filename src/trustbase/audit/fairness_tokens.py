"""How well entities are found in the texts of different groups: F1 and recall of each group, and the largest gaps."""

from __future__ import annotations

from trustbase import seeds
from trustbase.audit.by_group import GroupMeasure, Rows, audit_groups
from trustbase.audit.context import AuditContext
from trustbase.audit.entities import STATISTICS, interval, sums_of
from trustbase.audit.resampled import LEAST_UNITS
from trustbase.audit.stats import Interval
from trustbase.records import Finding

ABOUT = "an entity is right where its start, end and type are; a group is that of the text, not of who is named in it"


def audit_tokens(context: AuditContext) -> list[Finding]:
    """All fairness findings of entities."""
    return audit_groups(context, [_measure(context, name) for name in ("f1", "recall")], about=ABOUT)


def _measure(context: AuditContext, name: str) -> GroupMeasure:
    sums = sums_of(context.answers.predicted, context.test.labels)

    def on(rows: Rows, confidence: float) -> Interval:
        rng = seeds.generator(context.seed, "fairness", name, len(rows), int(rows[0]) if len(rows) else 0)
        return interval(sums[rows], STATISTICS[name], rng=rng, confidence=confidence)

    return GroupMeasure(f"entity_{name}", on, "higher", "share", least=LEAST_UNITS)
