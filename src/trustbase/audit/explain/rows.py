"""What the explained test rows say together: whether explanations are true and agree, what reasons move, and how far edits go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from trustbase.audit.context import AuditContext
from trustbase.audit.explain import turned
from trustbase.audit.explain.agreement import ZEROED, first_overlap, rank_correlation
from trustbase.audit.explain.findings import mean_finding
from trustbase.audit.explain.global_units import global_findings, standing
from trustbase.audit.explain.kept_rows import keep_rows
from trustbase.audit.explain.one_row import RANDOM_ORDERS, explain_row
from trustbase.audit.explain.others import other_cells, other_words
from trustbase.audit.explain.reasons import REASONS
from trustbase.audit.explain.subject import Item, items_of
from trustbase.audit.guard import attempt, failed
from trustbase.records import Direction, Finding

_ERASER = "DeYoung et al. (2020), ERASER, ACL, section 4"
_CURVES = "Samek et al. (2017), IEEE TNNLS 28; Petsiuk, Das & Saenko (2018), RISE, BMVC, section 3.3"
_REASONS = "Shapley (1953); Lundberg & Lee (2017), NeurIPS; the score without one unit: Zeiler & Fergus (2014), ECCV"
_AGREEMENT = "Krishna et al. (2022), arXiv 2202.01602, section 3 (rank correlation, feature agreement)"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Measure:
    """How an explanation is held against the model: its name in a row, which way is better, its bounds, and where it comes from."""

    key: str
    direction: Direction
    least: float
    source: str


FAITHFUL = {
    "comprehensiveness": _Measure("comprehensiveness", "higher", -1.0, _ERASER),
    "sufficiency": _Measure("sufficiency", "lower", -1.0, _ERASER),
    "deletion_auc": _Measure("deletion", "lower", 0.0, _CURVES),
    "insertion_auc": _Measure("insertion", "higher", 0.0, _CURVES),
}


def row_findings(context: AuditContext) -> list[Finding]:
    """All that one explanation of each sampled row tells; what breaks in one measure leaves the others standing."""
    items = items_of(context, context.options.explanation.texts)
    editor = turned.editor_of(context, items)
    rows = explained_rows(context, items, editor)
    edits = (turned.METRICS, partial(turned.turned_findings, editor=editor))
    found: list[Finding] = []
    for ids, measure in (*_MEASURES, edits):
        made = attempt(context, ids[0], lambda measure=measure: measure(context, rows))  # type: ignore[misc]
        found += made if isinstance(made, list) else [failed(context, id, "none", str(made)) for id in ids]
    return found


def explained_rows(context: AuditContext, items: Sequence[Item], editor: turned.Editor) -> list[Row]:
    """Every sampled row that can be explained, as `one_row.explain_row` tells it; writes `evidence/explanation.rows.json`."""
    assert context.askers is not None
    options = context.options.explanation
    read = editor.arguments is not None or any(item["row"] is not None for item in items)  # then no words of other rows are needed
    budget = {"samples": options.samples, "evaluations": options.evaluations, "queries": options.queries, "seed": context.seed}
    others = {"cells": other_cells(context), "words": {} if read else other_words(context, items), "fluent": editor.arguments}
    told = context.askers.run(
        explain_row, items, {**budget, **others}, what="explaining rows", emit=context.emit, cost=lambda item: len(item["text"])
    )
    keep_rows(context, items, told)
    rows: list[Row] = [row for row in told if row is not None]
    context.evidence.write("explanation.rows", {**_summary(rows, len(items)), "stands": standing(rows)})
    return rows


def _summary(rows: Sequence[Row], drawn: int) -> dict[str, Any]:
    """How many rows were explained, of what, and how much was asked of each."""

    def mean(values: Sequence[float]) -> float | None:
        return sum(values) / len(values) if values else None

    return {
        "drawn": drawn,
        "explained": len(rows),
        "units": mean([len(row["units"]) for row in rows]),
        "kind": rows[0]["kind"] if rows else None,
        "lime_inputs": mean([row["asked"]["lime"] for row in rows]),
        "lime_settled": mean([row["settled"] for row in rows]),
        "shapley_inputs": mean([row["asked"]["shapley"] for row in rows]),
        "edits_asked": mean([row["edit"]["asked"] for row in rows]),
        "reasons": mean([len(row["moved"]) for row in rows]),
        "without_a_reason": sum(not row["moved"] for row in rows),
        "random_orders": RANDOM_ORDERS,
    }


def faithful_findings(context: AuditContext, rows: Sequence[Row]) -> list[Finding]:
    """How the score follows Shapley values and LIME, and by how much more than it follows random orders of the same units."""
    found = []
    for name, measure in FAITHFUL.items():
        own = [row["faithful"]["shapley"][measure.key] for row in rows]
        by_chance = [sum(each[measure.key] for each in row["random"]) / len(row["random"]) for row in rows]
        better = 1.0 if measure.direction == "higher" else -1.0
        gain = [better * (value - other) for value, other in zip(own, by_chance, strict=True)]
        linear = [row["faithful"]["lime"][measure.key] for row in rows]
        said = f"by Shapley values, less the mean of {RANDOM_ORDERS} random orders of the same units"
        how: dict[str, Any] = {"direction": measure.direction, "least": measure.least, "source": measure.source}
        found += [
            mean_finding(context, f"explanation.{name}", own, said="by Shapley values", **how),
            mean_finding(context, f"explanation.{name}#lime", linear, said="by LIME", **how),
            mean_finding(context, f"explanation.{name}_gain", gain, said=said, direction="higher", source=measure.source),
        ]
    return found


def agreement_findings(context: AuditContext, rows: Sequence[Row]) -> list[Finding]:
    """How far LIME and Shapley values agree."""
    found = []
    for variant, unit, agree, least, said in (
        ("", "", rank_correlation, -1.0, f"rank correlation of LIME with Shapley values; {ZEROED}"),
        ("#top5", "share", first_overlap, 0.0, "share of the first units that LIME and Shapley values both name"),
    ):
        values = [agree(np.array(row["shapley"]), np.array(row["lime"])) for row in rows]
        known = [value for value in values if value is not None]
        how: dict[str, Any] = {"direction": "higher", "said": said, "source": _AGREEMENT, "least": least, "bounded": True, "unit": unit}
        found.append(mean_finding(context, f"explanation.method_agreement{variant}", known, **how))
    return found


def reason_findings(context: AuditContext, rows: Sequence[Row]) -> list[Finding]:
    """Of how many of a row's principal reasons the removal lowers the score, as the reason says; over rows that have one."""
    held = [sum(moved > 0 for moved in row["moved"]) / len(row["moved"]) for row in rows if row["moved"]]
    without = len(rows) - len(held)
    said = (
        f"share of a row's reasons, at most {REASONS}, without which alone its score falls; "
        f"{without} of {len(rows)} rows had no reason and do not count"
    )
    how: dict[str, Any] = {"direction": "higher", "least": 0.0, "bounded": True, "unit": "share"}
    return [mean_finding(context, "explanation.principal_reasons", held, said=said, source=_REASONS, **how)]


_FAITHFUL_IDS = tuple(f"explanation.{name}{end}" for name in FAITHFUL for end in ("", "#lime", "_gain"))
_MEASURES: tuple[tuple[tuple[str, ...], Callable[[AuditContext, Sequence[Row]], list[Finding]]], ...] = (
    (_FAITHFUL_IDS, faithful_findings),
    (("explanation.method_agreement", "explanation.method_agreement#top5"), agreement_findings),
    (("explanation.principal_reasons",), reason_findings),
    (("explanation.global_units",), global_findings),
)
METRICS = (*(id for ids, _ in _MEASURES for id in ids), *turned.METRICS)
