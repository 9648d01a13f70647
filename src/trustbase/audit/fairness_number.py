"""How numbers and their errors differ between groups: mean answer, mean error (bias), mean absolute error, coverage of intervals.

Source: of the questions asked: Agarwal, Dudik & Wu (2019), "Fair regression", ICML, section 2 (statistical parity and bounded group loss);
coverage of each group: Romano, Barber, Sabatti & Candès (2020), "With malice toward none", HDSR 2(2), section 2.
"""

from __future__ import annotations

import numpy as np

from trustbase.audit.by_group import GroupMeasure, Rows, audit_groups
from trustbase.audit.context import AuditContext
from trustbase.audit.stats import Interval, mean, proportion
from trustbase.audit.tails import LEAST_ERRORS, farthest, mean_move, mean_size
from trustbase.records import Finding

ABOUT = "errors are the answer less the truth: a mean error above 0 says that a group's numbers come out too high"


def audit_number(context: AuditContext) -> list[Finding]:
    """All fairness findings of numbers."""
    told = context.answers.predicted
    errors = told - context.test.labels
    sizes, alike, unit = np.abs(errors), farthest(told, context.test.labels), context.labels.names[0]

    def size(rows: Rows, confidence: float) -> Interval:
        return mean_size(sizes[rows], alike, confidence=confidence)

    def error(rows: Rows, confidence: float) -> Interval:
        return mean_move(errors[rows], alike, confidence=confidence)

    def answer(rows: Rows, confidence: float) -> Interval:
        return mean(told[rows], confidence=confidence)

    measures = [
        GroupMeasure("mae", size, "lower", unit, least=LEAST_ERRORS),
        GroupMeasure("mean_error", error, "none", unit, least=LEAST_ERRORS),
        GroupMeasure("mean_prediction", answer, "none", unit),
    ]
    half = context.decision.interval.get("half_width")
    if half is not None:
        held = np.abs(errors) <= half

        def share(rows: Rows, confidence: float) -> Interval:
            return proportion(int(held[rows].sum()), len(rows), confidence=confidence)

        measures.append(GroupMeasure("interval_coverage", share, "higher", "share"))
    return audit_groups(context, measures, about=ABOUT)
