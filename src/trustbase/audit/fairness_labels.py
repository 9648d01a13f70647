"""How answers and errors differ between groups where a row may have several labels.

Whole sets are compared as they are (`exact_match`). Each label by itself is a task of two, it has the label or not, so its gaps are
those of classes, with the label as variant: `fairness.demographic_parity_difference[sex]#LABEL`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from trustbase.audit.by_group import GroupMeasure, Rows, audit_groups
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.fairness import SliceAudit, class_variants, counted, slices
from trustbase.audit.gaps import GAPS
from trustbase.audit.groups import encode
from trustbase.audit.quality_labels import exact
from trustbase.audit.stats import Interval, proportion
from trustbase.records import Finding, LabelSchema

_MOST_LABELS = 20  # with more, gaps of single labels would be findings by the hundred
_TWO = LabelSchema(("no", "yes"), "yes", "yes", favourable_assumed=False)


def audit_labels(context: AuditContext) -> list[Finding]:
    """All fairness findings of sets of labels."""
    right = exact(context.answers, context.test.labels)

    def share(rows: Rows, confidence: float) -> Interval:
        return proportion(int(right[rows].sum()), len(rows), confidence=confidence)

    found = audit_groups(context, [GroupMeasure("exact_match", share, "higher", "share")], about="a row is right where its whole set is")
    if context.test.groups and len(context.labels.names) <= _MOST_LABELS:
        found += [finding for place in range(len(context.labels.names)) for finding in _of_label(context, place)]
    return found


def _of_label(context: AuditContext, place: int) -> Iterator[Finding]:
    """The gaps of one label against its absence, for every column and intersection."""
    of_two = _with_or_without(context, place)
    if context.whole is not None:
        of_two = replace(of_two, whole=_with_or_without(context.whole, place))
    groups = {column: encode(values) for column, values in context.test.groups.items()}
    counts = counted(of_two, groups)
    whole = counts if of_two.whole is None else counted(of_two.whole)
    variant = class_variants(context.labels.names)[place]
    for columns in slices(tuple(groups)):
        audit = SliceAudit(of_two, columns, counts.marginal(columns), groups, whole.marginal(columns))
        yield from (audit.gap(gap, audit.favourable, variant) for gap in GAPS if gap.rates != ("accuracy",))


def _with_or_without(context: AuditContext, place: int) -> AuditContext:
    """The same rows, each with or without one label."""
    truth, told = context.test.labels[:, place].astype(np.int64), context.answers.predicted[:, place].astype(np.int64)
    return replace(context, test=replace(context.test, labels=truth), labels=_TWO, answers=Answers(None, told))
