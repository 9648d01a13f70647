"""How numbers and their errors differ between groups: mean answer, mean error (bias), mean absolute error, coverage of intervals.

Source: of the questions asked: Agarwal, Dudik & Wu (2019), "Fair regression", ICML, section 2 (statistical parity and bounded group loss);
coverage of each group: Romano, Barber, Sabatti & Candès (2020), "With malice toward none", HDSR 2(2), section 2.
"""

from __future__ import annotations

import numpy as np

from trustbase.audit.by_group import GroupMeasure, Rows, audit_groups
from trustbase.audit.context import AuditContext
from trustbase.audit.stats import Floats, Interval, mean, proportion
from trustbase.records import Direction, Finding

ABOUT = "errors are the answer less the truth: a mean error above 0 says that a group's numbers come out too high"


def audit_number(context: AuditContext) -> list[Finding]:
    """All fairness findings of numbers."""
    errors = context.answers.predicted - context.test.labels
    unit = context.labels.names[0]
    measures = [
        _mean("mae", np.abs(errors), "lower", unit),
        _mean("mean_error", errors, "none", unit),
        _mean("mean_prediction", context.answers.predicted, "none", unit),
    ]
    half = context.decision.interval.get("half_width")
    if half is not None:
        held = np.abs(errors) <= half

        def share(rows: Rows, confidence: float) -> Interval:
            return proportion(int(held[rows].sum()), len(rows), confidence=confidence)

        measures.append(GroupMeasure("interval_coverage", share, "higher", "share"))
    return audit_groups(context, measures, about=ABOUT)


def _mean(metric: str, values: Floats, direction: Direction, unit: str) -> GroupMeasure:
    return GroupMeasure(metric, lambda rows, confidence: mean(values[rows], confidence=confidence), direction, unit)
