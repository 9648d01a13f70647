"""What another seed would have given: each member of an ensemble by itself on the test rows, and the mean over members with its doubt.

The finding `quality.METRIC#seeds` speaks of trainings and not of rows: its interval is that of the mean over seeds, on these rows. It is
measured of ensembles alone; `evidence/seeds.json` has each member's value beside that of all together, and `seeds-METRIC.json` those of a
further metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trustbase.audit.catalogue import SEEDS
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.guard import guarded
from trustbase.audit.stats import Floats, Interval, enclosing
from trustbase.outputs.answers.base import answering, decided
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import Direction, Finding

_SOURCE = "Student (1908), Biometrika 6; Bouthillier et al. (2021), Accounting for Variance in Machine Learning Benchmarks, section 3"
Measured = Callable[[Answers], float]


def over_seeds(context: AuditContext, metrics: Mapping[str, Measured], direction: Direction, unit: str) -> list[Finding]:
    """The findings of an ensemble's members; nothing for one model, or where nobody is there to ask.

    Args:
        metrics: "accuracy": what the finding without a variant is called → the metric of one model's answers on the test rows.
        direction: which values are better.
        unit: of the values; a "share" lies between 0 and 1.
    """
    if context.artifact is None or context.artifact.members == 1 or context.askers is None:
        return []
    asked = cache(partial(member_answers, context))

    def measure(metric: str) -> Finding:
        values = np.array([metrics[metric](answers) for answers in asked()])
        whole, name = metrics[metric](context.answers), SEEDS if metric == next(iter(metrics)) else f"{SEEDS}-{metric}"
        context.evidence.write(name, _evidence(context, metric, unit, values, whole))
        return _over_seeds(context, metric, direction, unit, values)

    return [guarded(context, f"quality.{metric}#{SEEDS}", direction, partial(measure, metric)) for metric in metrics]


def _over_seeds(context: AuditContext, metric: str, direction: Direction, unit: str, values: Floats) -> Finding:
    id = f"quality.{metric}#{SEEDS}"
    shared: dict[str, Any] = {"direction": direction, "confidence": context.confidence, "unit": unit}
    if np.ptp(values) == 0:
        reason = f"all {len(values)} members reach the same value on these rows, so how far seeds move it cannot be told"
        return Finding.without_value(id, "insufficient", reason, n=len(values), **shared)
    most = 1.0 if unit == "share" else math.inf
    return mean_over_members(values, len(context.test), most=most, confidence=context.confidence).finding(id, **shared)


def member_answers(context: AuditContext) -> list[Answers]:
    """What each member answers to the test rows, under the decision of the artefact."""
    from trustbase.data.cells import inputs_of

    assert context.askers is not None and context.artifact is not None
    info = context.artifact
    question, texts = f"{ANSWER_KINDS[info.answer_kind].question}_of_members", inputs_of(context.test, info.columns)
    values = context.askers.ask(question, texts, what="scoring the test rows with each member", emit=context.emit)
    scores = [answering(info.answer_kind).together([value[place] for value in values], info.labels) for place in range(info.members)]
    return [Answers(each, decided(each, info.labels, context.decision, info.answer_kind)) for each in scores]


def mean_over_members(values: Floats, rows: int, *, most: float = math.inf, confidence: float = 0.95) -> Interval:
    """The mean of the members' values with a t interval over members, within 0 and `most`.

    Args:
        values: one of each member, `(members,)`.
        rows: test rows that all were measured on.
        most: largest value that there can be.

    Source: Student (1908), Biometrika 6, "The probable error of a mean".
    """
    count, centre = len(values), float(values.mean())
    half = float(special.stdtrit(count - 1, 0.5 + confidence / 2)) * float(values.std(ddof=1)) / math.sqrt(count)
    method = (
        f"mean of {count} members' own values on the same {rows} rows, under the decision of all together; t interval over members; "
        "it speaks of the seeds of trainings, not of other rows"
    )
    return enclosing(max(centre - half, 0.0), centre, min(centre + half, most), method, _SOURCE, count)


def _evidence(context: AuditContext, metric: str, unit: str, values: NDArray[np.float64], whole: float) -> dict[str, Any]:
    assert context.artifact is not None
    seeds = context.artifact.facts.get("member_seeds") or [None] * len(values)
    return {
        "metric": metric,
        "unit": unit,
        "members": [
            {"member": place, "seed": seed, "value": value} for place, (seed, value) in enumerate(zip(seeds, values.tolist(), strict=True))
        ],
        "standard_deviation": float(values.std(ddof=1)),
        "together": whole,
    }
