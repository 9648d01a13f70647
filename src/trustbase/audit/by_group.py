"""How a number of any answer kind differs between groups: of each group with its interval, and the largest gap between two of them.

Measurements, not judgements. Classes have an audit of their own (`fairness.py`), which counts; this one is given, for each metric, what to
measure on some rows.

Source: gaps: Zou & Donner (2008), Statist. Med. 27 (MOVER: a difference's bounds from those of its parts), at a level that holds for all
pairs of groups (Bonferroni: Dunn 1961, JASA 56).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import finding_id
from trustbase.audit.context import AuditContext
from trustbase.audit.groups import Codes, Unnamed, encode, group_counts, named_groups, rows_by_group
from trustbase.audit.guard import NAMED_ROWS, guarded
from trustbase.audit.stats import Interval, enclosing
from trustbase.data.groups import MOST_NAMED
from trustbase.records import Direction, Finding

_MOVER = "Zou & Donner (2008), Statist. Med. 27; Dunn (1961), JASA 56"
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class GroupMeasure:
    """One number that is compared between groups.

    Attributes:
        metric: of a group's finding; its gap is `{metric}_difference`.
        interval: rows of the test set and confidence → the number on them.
        least: rows of a group under which its interval was not shown to hold.
    """

    metric: str
    interval: Callable[[Rows, float], Interval]
    direction: Direction
    unit: str = ""
    least: int = 0


@dataclass(frozen=True, eq=False)
class Slice:
    """The named groups of one column or intersection, their rows, and what is known of the rest together.

    `sizes` counts the rows of each group among all rows, of which these may be a part only.
    """

    columns: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    rows: tuple[Rows, ...]
    sizes: tuple[int, ...]
    rest: Unnamed


def audit_groups(context: AuditContext, measures: Sequence[GroupMeasure], *, about: str) -> list[Finding]:
    """Findings of every group column and intersection; writes `evidence/fairness.json`.

    Args:
        context: of the audit.
        measures: what is compared.
        about: what the numbers mean, for the evidence.
    """
    if not context.test.groups:
        reason = "the data name no group columns (data.groups), so differences between groups cannot be measured"
        name = f"fairness.{measures[0].metric}_difference"
        return [Finding.without_value(name, "not_applicable", reason, direction="lower")]
    findings: list[Finding] = []
    evidence: dict[str, Any] = {}
    for part in slices_of(context):
        groups = [[_of_group(context, measure, part, i) for measure in measures] for i in range(len(part.members))]
        gaps = [_gap(context, measure, part) for measure in measures]
        findings += gaps + [finding for row in groups for finding in row]
        evidence[finding_id.format_slice(tuple((column, None) for column in part.columns))] = _evidence(part, groups, gaps)
        if str(part.rest):
            context.emit("note", text=f"groups of {' x '.join(part.columns)} that are not named: {part.rest}")
    shared = {"confidence": context.confidence, "minimum_cell": context.minimum_cell, "note": about}
    context.evidence.write("fairness", {**shared, "columns": evidence})
    return findings


def slices_of(context: AuditContext) -> Iterator[Slice]:
    """Each column, each pair of columns, and all together, in recipe order."""
    from trustbase.audit.fairness import slices

    groups: Mapping[str, Codes] = {column: encode(values) for column, values in context.test.groups.items()}
    whole = context.whole or context
    nothing, none = np.zeros(len(whole.test), np.int64), np.zeros(0, np.int64)
    counts = group_counts(nothing, nothing, whole.test.groups, classes=1)
    for columns in slices(tuple(groups)):
        kept, rest = named_groups(counts.marginal(columns), least=max(NAMED_ROWS, whole.minimum_cell), most=MOST_NAMED)
        rows = rows_by_group(groups, columns)
        sizes = tuple(kept.table.sum((1, 2)).tolist())
        yield Slice(columns, kept.members, tuple(rows.get(member, none) for member in kept.members), sizes, rest)


def _of_group(context: AuditContext, measure: GroupMeasure, part: Slice, i: int) -> Finding:
    id = finding_id.make("fairness", measure.metric, tuple(zip(part.columns, part.members[i], strict=True)))
    shared: dict[str, Any] = {"direction": measure.direction, "confidence": context.confidence, "unit": measure.unit}
    n, least = len(part.rows[i]), max(context.minimum_cell, measure.least)
    if n < least:
        return Finding.without_value(id, "insufficient", f"{n} rows, fewer than the minimum of {least}", n=n, **shared)
    return guarded(
        context, id, measure.direction, lambda: replace(measure.interval(part.rows[i], context.confidence).finding(id, **shared))
    )


def _gap(context: AuditContext, measure: GroupMeasure, part: Slice) -> Finding:
    id = finding_id.make("fairness", f"{measure.metric}_difference", tuple((column, None) for column in part.columns))
    least = max((context.whole or context).minimum_cell, measure.least)
    kept = [i for i, size in enumerate(part.sizes) if size >= least]  # a part of the rows compares the groups that all of them do
    small = [f"{', '.join(part.members[i])} ({len(part.rows[i])} rows)" for i in range(len(part.members)) if i not in kept]
    told = [f"left out, as fewer than {least}: {'; '.join(small)}"] if small else []
    told += [f"left out and not named, as there are more than {part.rest.most} groups: {part.rest}"] if str(part.rest) else []
    reason = "; ".join(told)
    n = sum(len(part.rows[i]) for i in kept)
    shared: dict[str, Any] = {"direction": "lower", "confidence": context.confidence, "unit": measure.unit}
    if len(kept) < 2:
        why = f"a gap needs two groups of at least {least} rows"
        return Finding.without_value(id, "insufficient", f"{why}; {reason}" if reason else why, n=n, **shared)

    if not all(part.rows[i].size for i in kept):
        return Finding.without_value(id, "insufficient", "a group that is compared has none of these rows", n=n, **shared)

    def measured() -> Finding:
        level = 1 - (1 - context.confidence) / comb(len(kept), 2)
        interval = largest_gap([measure.interval(part.rows[i], level) for i in kept])
        return replace(interval.finding(id, **shared), reason=reason)

    return guarded(context, id, "lower", measured)


def largest_gap(parts: Sequence[Interval]) -> Interval:
    """The largest difference of two independent numbers, from intervals at a level that allows for every pair."""
    low = high = value = 0.0
    for one, other in combinations(parts, 2):
        more, less = (one, other) if one.value >= other.value else (other, one)
        difference = more.value - less.value
        down = sqrt((more.value - more.low) ** 2 + (less.high - less.value) ** 2)
        up = sqrt((more.high - more.value) ** 2 + (less.value - less.low) ** 2)
        low, value = max(low, difference - down), max(value, difference)
        high = max(high, difference + up, down - difference)  # or the other one is larger, by this much
    method = (
        f"largest of {comb(len(parts), 2)} differences, bounds from those of both parts (MOVER), for all pairs at once; {parts[0].method}"
    )
    return enclosing(low, value, high, method, _MOVER, sum(part.n for part in parts))


def _evidence(part: Slice, groups: Sequence[Sequence[Finding]], gaps: Sequence[Finding]) -> dict[str, Any]:
    rows = []
    for member, row_numbers, found in zip(part.members, part.rows, groups, strict=True):
        intervals = {
            item.parts.metric: {"value": item.value, "low": item.low, "high": item.high, "n": item.n}
            for item in found
            if item.status == "ok"
        }
        rows.append(
            {
                "group": ", ".join(member),
                "members": dict(zip(part.columns, member, strict=True)),
                "n": len(row_numbers),
                "intervals": intervals,
            }
        )
    keys = ("id", "value", "low", "high", "n", "status", "reason")
    brief = [{key: getattr(gap, key) for key in keys} | {"metric": gap.parts.metric} for gap in gaps]
    return {"columns": list(part.columns), "groups": rows, "gaps": brief, "unnamed": part.rest.to_json(), "note": str(part.rest)}
