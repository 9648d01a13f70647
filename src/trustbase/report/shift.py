"""What the report shows of texts of another kind, of answers that are withheld, and of prediction sets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from trustbase.report import charts
from trustbase.report.curves import Point, curve
from trustbase.report.formats import interval, show, tick
from trustbase.report.words import Words

Block = dict[str, Any]

_KINDS = ("given", "other-subject", "other-language", "random", "shuffled")
_SCORES = ("knn", "mahalanobis", "energy")


def shift_blocks(evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """The blocks of all three.

    Args:
        evidence: by name, what lies in `evidence/`.
        t: the words.
    """
    parts = (
        _kinds(evidence.get("robustness.shift"), t),
        _risk(evidence.get("robustness.abstention"), t),
        _sets(evidence.get("robustness.conformal"), t),
    )
    return [block for block in parts if block]


def _kinds(evidence: Any, t: Words) -> Block:
    """How well each score tells each kind of texts from the model's own."""
    if not isinstance(evidence, Mapping) or not evidence.get("kinds"):
        return {}
    at = {(row["kind"], row["score"]): row for row in evidence["kinds"]}
    scores = [score for score in _SCORES if any(key[1] == score for key in at)]
    scale = charts.Scale(0, 1)
    rows = []
    for kind in (kind for kind in _KINDS if any(key[0] == kind for key in at)):
        name = t("shift.given") if kind == "given" else t.of("variant", kind)
        cells = [_cell(at.get((kind, score)), "auroc", "number", name, scale, t, reference=0.5) for score in scores]
        rows.append({"label": name, "n": f"{next(row['n'] for key, row in at.items() if key[0] == kind):,}", "cells": cells})
    return {
        "kind": "rates",
        "title": t("shift.title"),
        "about": t("shift.about"),
        "first": t("shift.kind"),
        "heads": [t.of("variant", score) for score in scores],
        "rows": rows,
        "axis": charts.axis(scale, lambda value: f"{value:g}"),
    }


def _cell(row: Any, key: str, kind: Any, name: str, scale: charts.Scale, t: Words, *, reference: float) -> Block:
    if row is None:
        return {"value": "–", "interval": "", "bar": None}
    value, spread = show(row[key], kind, t), interval(row["low"], row["high"], kind, t)
    title = t("groups.bar", group=name, value=value, interval=spread, n=f"{row['n']:,}")
    bar = charts.rate_bar(row[key], row["low"], row["high"], scale=scale, title=title, reference=reference)
    return {"value": value, "interval": spread, "bar": bar}


def _risk(evidence: Any, t: Words) -> Block:
    """Wrong answers among those given, from the surest on, and the thresholds."""
    if not isinstance(evidence, Mapping) or not evidence.get("curve"):
        return {}
    points = [Point(row["coverage"], row["risk"], row["low"], row["high"]) for row in evidence["curve"]]
    last, first = points[-1], points[0]
    desc = t("risk.desc", n=f"{evidence['rows']:,}", all=show(last.y, "percent", t), sure=show(first.y, "percent", t))
    percent = partial(tick, kind="percent", t=t)
    named: dict[str, Any] = {"title": t("risk.title"), "desc": desc, "x": t("risk.x"), "y": t("risk.y")}
    rows = [
        t(
            "risk.threshold",
            answered=show(row["answered"], "percent", t),
            threshold=show(row["threshold"], "number", t),
            risk=_risk_of(row, t),
        )
        for row in evidence.get("thresholds") or []
    ]
    chart = curve(points, show_x=percent, show_y=percent, **named)
    return {"kind": "curves", "charts": [{"title": t("risk.title"), "chart": chart, "about": f"{t('risk.about')} {desc}", "rows": rows}]}


def _risk_of(row: Mapping[str, Any], t: Words) -> str:
    if row.get("risk") is None:
        return t.of("status", "insufficient")
    spread = interval(row["low"], row["high"], "percent", t)
    return t("list.within", name=show(row["risk"], "percent", t), about=spread) if spread else show(row["risk"], "percent", t)


def _sets(evidence: Any, t: Words) -> Block:
    """How often sets hold the right label, by group."""
    if not isinstance(evidence, Mapping) or not evidence.get("groups"):
        return {}
    level, scale = float(evidence["coverage"]), charts.Scale(0, 1)
    rows = [
        {"label": t.part(column, str(row["group"])), "n": f"{row['n']:,}", "cells": [_covered(row, column, level, scale, t)]}
        for column, members in evidence["groups"].items()
        for row in members
    ]
    spread = interval(evidence["expected"]["low"], evidence["expected"]["high"], "percent", t)
    return {
        "kind": "rates",
        "title": t("sets.title"),
        "about": t("sets.about", level=show(level, "percent", t), n=f"{evidence['rows']:,}", expected=spread),
        "first": t("table.group"),
        "heads": [t.metric("robustness.conformal_coverage")],
        "rows": rows,
        "axis": charts.axis(scale, partial(tick, kind="percent", t=t)),
    }


def _covered(row: Mapping[str, Any], column: str, level: float, scale: charts.Scale, t: Words) -> Block:
    return _cell(row, "value", "percent", t.part(column, str(row["group"])), scale, t, reference=level)
