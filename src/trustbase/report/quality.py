"""How well a model answers, as charts and tables: confusion, reliability, labels, errors of entities, weakest slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trustbase.report import charts
from trustbase.report.entities import entity_blocks
from trustbase.report.formats import interval, show
from trustbase.report.material import Material
from trustbase.report.numbers import number_blocks
from trustbase.report.perturbed import weak_blocks
from trustbase.report.relations import relation_blocks
from trustbase.report.words import Words

Block = dict[str, Any]

_GRID_LABELS = 12  # more labels than this do not fit a readable grid
_CONFUSIONS = 15
_SLICES = 12
_SCORES = ("precision", "recall", "f1")


def quality_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """Confusion matrix, reliability curve, labels, errors of entities, weakest slices; of numbers told against true, and errors."""
    if isinstance(number := evidence.get("number"), Mapping):
        slices = evidence.get("slices") or []
        return number_blocks(number, [(_slice_name(row, t), row) for row in slices[:_SLICES]], t)
    labels = [str(name) for name in evidence.get("labels") or evidence.get("classes") or []]
    blocks = [_confusion(labels, evidence.get("confusion"), t), _reliability(evidence.get("reliability"), t)]
    blocks += [_per_label(evidence.get("classes"), t), *entity_blocks(evidence.get("entity_errors"), t)]
    blocks += [*relation_blocks(material.evidence.get("end_to_end"), t), _slices(evidence.get("slices"), t)]
    blocks += weak_blocks(material.evidence.get("quality.weak_slices"), t)
    return [block for block in blocks if block]


def _confusion(labels: Sequence[str], table: Any, t: Words) -> Block:
    if not table or len(table) != len(labels):
        return {}
    totals = [sum(row) for row in table]
    pairs = [(count, i, j) for i, row in enumerate(table) for j, count in enumerate(row) if i != j and count]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    most = [
        {"pair": t("confusion.pair", truth=labels[i], answer=labels[j]), "n": f"{count:,}", "share": show(count / totals[i], "percent", t)}
        for count, i, j in pairs[:_CONFUSIONS]
    ]
    block: Block = {"kind": "confusion", "labels": labels, "largest": most, "many": ""}
    if len(labels) > _GRID_LABELS:
        return {**block, "rows": [], "many": t("confusion.many", n=len(labels))}
    rows = []
    for i, row in enumerate(table):
        cells = [_confusion_cell(count, totals[i], i == j, t) for j, count in enumerate(row)]
        rows.append({"label": labels[i], "cells": cells, "total": f"{totals[i]:,}"})
    columns = [f"{sum(row[j] for row in table):,}" for j in range(len(labels))]
    return {**block, "rows": rows, "columns": columns, "sum": f"{sum(totals):,}", "largest": most if len(labels) > 3 else []}


def _confusion_cell(count: int, total: int, hit: bool, t: Words) -> Block:
    share = show(count / total, "percent", t) if total else "–"
    return {"n": f"{count:,}", "share": share, "heat": _heat(count, total), "hit": hit}


def _heat(count: int, total: int) -> int:
    """Shade of a cell, 0 to 9, by its share of the true label's rows."""
    return min(9, int(10 * count / total)) if total and count else 0


def _reliability(rows: Any, t: Words) -> Block:
    if not rows:
        return {}
    points = []
    for row in rows:
        low, high = row.get("low", row["accuracy"]), row.get("high", row["accuracy"])
        stated, observed = show(row["confidence"], "percent", t), show(row["accuracy"], "percent", t)
        title = t("reliability.point", stated=stated, observed=observed, interval=interval(low, high, "percent", t), n=f"{row['n']:,}")
        points.append(charts.Point(row["confidence"], row["accuracy"], low, high, row["n"], title))
    gap = max(abs(p.observed - p.stated) for p in points)
    desc = t("reliability.desc", bins=len(points), n=f"{sum(p.n for p in points):,}", gap=show(gap, "points", t))
    chart = charts.reliability(
        points,
        title=t("reliability.title"),
        desc=desc,
        x=t("reliability.x"),
        y=t("reliability.y"),
        rows=t("reliability.rows"),
        show=lambda value: f"{100 * value:.0f}%",
    )
    named = {"title": t("reliability.title"), "about": t("reliability.about")}
    return {"kind": "reliability", **named, "chart": chart, "desc": desc, "points": [p.title for p in points]}


def _per_label(rows: Any, t: Words) -> Block:
    if not rows or not isinstance(rows[0], Mapping):
        return {}
    scale = charts.Scale(0, 1)
    table = []
    for row in rows:
        cells = [
            _rate_cell(str(row["label"]), row.get(name), row.get(f"{name}_low"), row.get(f"{name}_high"), row["n"], scale, t)
            for name in _SCORES
        ]
        table.append({"label": str(row["label"]), "n": f"{row['n']:,}", "cells": cells})
    heads = [t(f"classes.{name}") for name in _SCORES]
    return {
        "kind": "rates",
        "title": t("classes.title"),
        "first": t("table.class"),
        "heads": heads,
        "rows": table,
        "axis": _percent_axis(t),
    }


def _rate_cell(label: str, value: Any, low: Any, high: Any, n: int, scale: charts.Scale, t: Words) -> Block:
    if value is None:
        return {"value": "–", "interval": "", "bar": None}
    spread = interval(low, high, "percent", t)
    title = t("groups.bar", group=label, value=show(value, "percent", t), interval=spread, n=f"{n:,}")
    return {"value": show(value, "percent", t), "interval": spread, "bar": charts.rate_bar(value, low, high, scale=scale, title=title)}


def _percent_axis(t: Words) -> Any:
    return charts.axis(charts.Scale(0, 1), lambda value: f"{100 * value:.0f}%")


def _slices(rows: Any, t: Words) -> Block:
    if rows is None:
        return {}
    known = [row for row in rows if row.get("kind") not in {"true_label", "predicted_label"}][:_SLICES]
    scale = charts.Scale(0, 1)
    table = []
    for row in known:
        name = _slice_name(row, t)
        cell = _rate_cell(name, row["accuracy"], row.get("low"), row.get("high"), row["n"], scale, t)
        table.append({"label": name, "n": f"{row['n']:,}", "cells": [cell]})
    block = {
        "kind": "rates",
        "title": t("slices.title"),
        "about": t("slices.about"),
        "first": t("table.name"),
        "heads": [t("classes.accuracy")],
    }
    return {**block, "rows": table, "axis": _percent_axis(t), "none": t("slices.none")}


def _slice_name(row: Mapping[str, Any], t: Words) -> str:
    return t("list.pair").join(_slice_part(column, str(group), row.get("kind"), t) for column, group in row["slice"].items())


def _slice_part(column: str, group: str, kind: Any, t: Words) -> str:
    if kind == "text_length":
        return t("slices.length", length=t.recorded("part", group) or group)
    return t.part(column, group) if kind == "column" else t("finding.group", column=column, group=group)
