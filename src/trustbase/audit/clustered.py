"""Intervals where several rows are of one entity (a customer, a patient): rows of one resemble each other, so entities are what was drawn.

Every number of a dimension is measured again without each of some forty parts of the entities. How far these values lie apart is how
far the number would lie in other samples of entities; its interval is widened to that, whatever the number is made of.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from trustbase import seeds
from trustbase.audit.catalogue import SEEDS
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.slices import findable
from trustbase.events import ignore
from trustbase.records import Finding, Split

DIMENSIONS = ("quality", "fairness")
GROUPS = 40  # parts that are left out in turn: the variance is then known to some 23 %, which the t quantile allows for
LEAST_ENTITIES = 20
_SOURCE = "Kott (2001), J. Official Statist. 17 (delete-a-group jackknife)"
_AS_ROWS = ("quality.unknown_tokens", "quality.unread_units")  # about the tokenizer, not the answers: of texts, taken as drawn
_VISIBLY = 1.005  # as far as an interval must be widened to be said to be so many times as wide, with two places
_OF_PARTS = ("slice_accuracy", "slice_mae", "worst_slice_accuracy", "worst_slice_mae")
_SIGNED = ("calibration_gap", "gain_over_")
_OF_EITHER_SIGN = ("mean_error", "mean_prediction", "gain_over_")
_UNBOUNDED = ("log_loss", "expected_cost", "brier")


@dataclass(frozen=True, eq=False)
class Entities:
    """Whose the test rows are.

    Attributes:
        codes: entity of each row, from 0 without gaps `(rows,)`.
        number: how many entities there are.
        weighted: rows of one entity, the mean weighted by rows.
    """

    codes: NDArray[np.int64]
    number: int
    weighted: float

    @classmethod
    def of(cls, split: Split) -> Entities | None:
        """The entities of a split; None where rows were not divided by one, or each has a single row."""
        if split.entities is None or not len(split):
            return None
        names, codes, counts = np.unique(np.asarray(split.entities), return_inverse=True, return_counts=True)
        if len(names) == len(codes):
            return None
        return cls(codes.astype(np.int64), len(names), float((counts.astype(float) ** 2).sum() / counts.sum()))


def clustered(context: AuditContext, audit: Callable[[AuditContext], list[Finding]], findings: Sequence[Finding]) -> list[Finding]:
    """The findings of one dimension with intervals that allow for entities; the same ones where there are none.

    Args:
        context: what was audited.
        audit: what measured the findings.
        findings: what it measured, taking rows as independent.
    """
    entities = Entities.of(context.test)
    if entities is None:
        return list(findings)
    if entities.number < LEAST_ENTITIES:
        why = f"the test rows are of {entities.number} entities, and intervals over fewer than {LEAST_ENTITIES} were not seen to hold"
        return [_unknown(item, why) if _sampled(item) else item for item in findings]
    groups = min(GROUPS, entities.number)
    part_of = seeds.generator(context.seed, "entities").permutation(entities.number) % groups
    values: dict[str, list[float]] = {item.id: [] for item in findings if _sampled(item)}
    ranked = any(item.parts.metric in _OF_PARTS for item in findings)  # without some rows, others would be the weakest, or have other edges
    context = replace(context, parts=findable(context)) if ranked else context
    with tempfile.TemporaryDirectory() as place:
        for left_out in range(groups):
            rows = np.flatnonzero(part_of[entities.codes] != left_out)
            context.emit("progress", what="parts of the entities left out", done=left_out, total=groups)
            for item in audit(_of_rows(context, rows, Evidence(Path(place)))):
                if item.value is not None and item.id in values:
                    values[item.id].append(item.value)
    context.emit("progress", what="parts of the entities left out", done=groups, total=groups)
    numbers = context.test.labels.dtype.kind == "f"  # then values are in the label's unit
    return [_widened(item, values[item.id], groups, entities, numbers) if item.id in values else item for item in findings]


def _sampled(finding: Finding) -> bool:
    """Whether rows were drawn for it: not for what seeds of trainings do, on rows that all of them share."""
    return finding.status == "ok" and finding.low != finding.high and finding.id not in _AS_ROWS and finding.parts.variant != SEEDS


def _widened(finding: Finding, values: Sequence[float], groups: int, entities: Entities, numbers: bool) -> Finding:
    if len(values) < groups:
        why = f"without one of {groups} parts of the {entities.number} entities it cannot be measured, so how sure it is, is unknown"
        return _unknown(finding, why)
    value, low, high = finding.value, finding.low, finding.high
    assert value is not None and low is not None and high is not None
    least, most = _possible(finding.parts.metric, numbers)
    half = half_width(value, low, high, least, most)
    factor = widening(values, value, value - half, value + half, confidence=finding.confidence, weighted=entities.weighted)
    low = min(low, max(least, value - factor * (value - low)))
    high = max(high, min(most, value + factor * (high - value)))
    wider = f"{factor:.2f} times as wide" if factor >= _VISIBLY else "hardly wider"
    method = f"{finding.method}; {wider}, as rows are of {entities.number} entities (delete-a-group jackknife)"
    return replace(finding, low=low, high=high, method=method, source="; ".join(filter(None, (finding.source, _SOURCE))))


def _possible(metric: str, numbers: bool) -> tuple[float, float]:
    """Between which values a metric can lie at all; `numbers` where answers are numbers in a unit of their own."""
    if numbers and metric == "r2":
        return -math.inf, 1.0
    if numbers and not metric.startswith("interval_coverage"):
        return (-math.inf if metric.startswith(_OF_EITHER_SIGN) and not metric.endswith("_difference") else 0.0), math.inf
    return (-1.0 if metric.startswith(_SIGNED) else 0.0), (math.inf if metric in _UNBOUNDED else 1.0)


def half_width(value: float, low: float, high: float, least: float = -math.inf, most: float = math.inf) -> float:
    """How far an interval over independent rows reaches to a side; where it ends at what is possible, it tells of the other side only.

    A gap of 0.01 with the interval [0, 0.17] is uncertain by 0.16, not by 0.085.
    """
    half = (high - low) / 2
    if low <= least and high < most:
        return max(half, high - value)
    return max(half, value - low) if high >= most and low > least else half


def widening(values: Sequence[float], value: float, low: float, high: float, *, confidence: float, weighted: float) -> float:
    """How many times as wide an interval must be as it is for independent rows; never below 1.

    Args:
        values: of the number without each of some equally large parts of the entities, `(groups,)`.
        value, low, high: the number and its interval over independent rows, as wide as where nothing bounds it (`half_width`).
        confidence: of the interval.
        weighted: mean rows of an entity, weighted by rows: as far as an interval widens whose number no part changes.

    Source: Kott (2001), J. Official Statist. 17; at the edge of what is possible Kish (1965), Survey Sampling, section 5.4, with full
    correlation within an entity: rows then count no more than entities.
    """
    found = np.asarray(values, float)
    groups = found.size
    error = math.sqrt((groups - 1) / groups * float(((found - found.mean()) ** 2).sum()))
    if error <= 1e-12 * max(1.0, abs(value)):
        return max(1.0, weighted)
    return max(1.0, float(special.stdtrit(groups - 1, 0.5 + confidence / 2)) * error / ((high - low) / 2))


def _unknown(finding: Finding, reason: str) -> Finding:
    told = {"direction": finding.direction, "confidence": finding.confidence, "n": finding.n, "unit": finding.unit}
    return Finding.without_value(finding.id, "insufficient", reason, method=finding.method, source=finding.source, **told)


def _of_rows(context: AuditContext, rows: NDArray[np.int64], evidence: Evidence) -> AuditContext:
    """The same audit of some of the rows: for the values alone, so without a model to ask, and with the fewest bootstrap samples."""
    test = context.test
    part = replace(
        test,
        texts=[test.texts[row] for row in rows.tolist()],
        labels=test.labels[rows],
        groups={name: values[rows] for name, values in test.groups.items()},
        table=pa.table({name: test.table.column(name).take(pa.array(rows)) for name in test.table.column_names}),
        row_numbers=test.row_numbers[rows],
        entities=None,
    )
    parts = context.parts
    if parts is not None:
        parts = tuple((kind, columns, codes[rows], names) for kind, columns, codes, names in parts)
    return replace(
        context,
        test=part,
        answers=_picked(context.answers, rows),
        rivals={name: _picked(answers, rows) for name, answers in context.rivals.items()},
        evidence=evidence,
        predictor=None,
        askers=None,
        options=context.options.model_copy(update={"replicates": 200}),
        parts=parts,
        whole=context,
        minimum_cell=min(context.minimum_cell, 2),
        emit=ignore,
    )


def _picked(answers: Answers, rows: NDArray[np.int64]) -> Answers:
    return Answers(None if answers.scores is None else answers.scores[rows], answers.predicted[rows])
