"""Which words or fields matter for each class, over all explained rows in which they stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from trustbase.audit import stats
from trustbase.audit.context import AuditContext
from trustbase.audit.explain.findings import too_few
from trustbase.audit.guard import LEAST_ROWS
from trustbase.records import Finding

LEAST_STANDS = 5  # explained rows in which a word must stand, or it is not named: evidence ships with the model
MOST_UNITS = 100  # of each class, in the evidence
_SOURCE = "Lundberg & Lee (2017), NeurIPS; means over rows: Covert, Lundberg & Lee (2020), NeurIPS 33, section 2"


def global_findings(context: AuditContext, rows: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """How many units have a weight that is not 0; writes `evidence/explanation.global.json`."""
    assert context.artifact is not None
    id = "explanation.global_units"
    weighed = weighed_units(rows, context.artifact.labels.names, context.confidence)
    context.evidence.write("explanation.global", [entry for entry in weighed if entry.pop("place") < MOST_UNITS])
    if len(rows) < LEAST_ROWS:
        return [too_few(context, id, len(rows), "none", "count")]
    names = {entry["unit"] for entry in weighed}
    of_all = 1 - (1 - context.confidence) / max(len(weighed), 1)  # Bonferroni: so many intervals are looked at
    sure = weighed_units(rows, context.artifact.labels.names, of_all)
    telling = {entry["unit"] for entry in sure if entry["low"] > 0 or entry["high"] < 0}
    method = (
        f"units of {len(names)} whose mean Shapley value for some class has an interval without 0, where all {len(weighed)} intervals hold "
        "together (Bonferroni)"
    )
    known: dict[str, Any] = {"n": len(names), "confidence": context.confidence, "seed": context.seed, "unit": "count"}
    return [Finding.exact(id, len(telling), method=method, source=_SOURCE, **known)]


def weighed_units(rows: Sequence[Mapping[str, Any]], classes: Sequence[str], confidence: float) -> list[dict[str, Any]]:
    """Mean weight of each unit for each class with its interval, by class, then the largest first.

    A word counts as one unit whatever its capitals, and with all that it adds to a row where it stands more than once.

    Args:
        rows: as `one_row.explain_row` tells them.
        classes: names of the scores.
        confidence: of the intervals.
    """
    known = _known(rows)
    found: list[dict[str, Any]] = []
    for place, name in enumerate(classes):
        intervals = {unit: stats.mean([each[place] for each in values], confidence=confidence) for unit, values in known.items()}
        ordered = sorted(intervals, key=lambda unit: (-abs(intervals[unit].value), unit))
        for rank, (unit, each) in enumerate((unit, intervals[unit]) for unit in ordered):
            found.append({"class": name, "unit": unit, "weight": each.value, "low": each.low, "high": each.high, "place": rank})
    return found


def standing(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """In how many explained rows each unit stands that is named at all."""
    return {unit: len(values) for unit, values in sorted(_known(rows).items())}


def _known(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """Units that stand in enough rows, and what each adds to every score, `(rows, scores)`."""
    seen: dict[str, list[list[float]]] = defaultdict(list)
    fields: set[str] = set()
    for row in rows:
        added: dict[str, list[float]] = {}
        for name, values in zip(row["units"], row["values"], strict=True):
            unit = name if row["kind"] == "fields" else name.casefold()
            added[unit] = [a + b for a, b in zip(added.get(unit, [0.0] * len(values)), values, strict=True)]
        for unit, values in added.items():
            seen[unit].append(values)
        fields |= set(added) if row["kind"] == "fields" else set()
    return {unit: values for unit, values in seen.items() if len(values) >= (2 if unit in fields else LEAST_STANDS)}
