"""What the report shows of a model that gives numbers: what it told against what is true, its errors, and where they are largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from trustbase.report import charts
from trustbase.report.formats import interval, show, tick
from trustbase.report.words import Words

Block = dict[str, Any]


def number_blocks(evidence: Mapping[str, Any], slices: Sequence[tuple[str, Mapping[str, Any]]], t: Words) -> list[Block]:
    """The blocks of the quality section.

    Args:
        evidence: `number` of `evidence/quality.json`.
        slices: parts of the test rows by name, worst first.
        t: the words.
    """
    unit = str(evidence.get("unit") or "")
    blocks = [_told(evidence.get("told_and_true"), unit, t), _errors(evidence, unit, t), _slices(slices, unit, t)]
    return [block for block in blocks if block]


def _told(rows: Any, unit: str, t: Words) -> Block:
    """Mean truth of bins of what was told, on one scale for both."""
    if not rows:
        return {}
    points = []
    for row in rows:
        spread = interval(row["low"], row["high"], "other", t)
        told, true = show(row["told"], "other", t), show(row["true"], "other", t)
        title = t("told.point", told=told, true=true, interval=spread, n=f"{row['n']:,}")
        points.append(charts.Point(row["told"], row["true"], row["low"], row["high"], row["n"], title))
    gap = max(abs(point.observed - point.stated) for point in points)
    desc = t("told.desc", bins=len(points), n=f"{sum(point.n for point in points):,}", gap=show(gap, "other", t, unit=unit))
    chart = charts.reliability(
        points,
        title=t("told.title"),
        desc=desc,
        x=t("told.x", unit=unit),
        y=t("told.y", unit=unit),
        rows=t("reliability.rows"),
        show=partial(tick, kind="other", t=t),
        scale=charts.scale_over(value for point in points for value in (point.stated, point.low, point.high)),
    )
    return {
        "kind": "reliability",
        "title": t("told.title"),
        "about": t("told.about"),
        "chart": chart,
        "desc": desc,
        "points": [point.title for point in points],
    }


def _errors(evidence: Mapping[str, Any], unit: str, t: Words) -> Block:
    """Quantiles of what was told less what is true."""
    quantiles = evidence.get("error_quantiles") or {}
    if not quantiles:
        return {}
    ordered = sorted((float(share), float(value)) for share, value in quantiles.items())
    return {
        "kind": "table",
        "title": t("errors.title"),
        "about": t("errors.about", unit=unit, n=f"{int(evidence['rows']):,}"),
        "first": t("errors.first"),
        "heads": [show(share, "percent", t) for share, _ in ordered],
        "rows": [(t("errors.row"), [show(value, "other", t) for _, value in ordered])],
    }


def _slices(slices: Sequence[tuple[str, Mapping[str, Any]]], unit: str, t: Words) -> Block:
    """Mean absolute error where it is largest."""
    scale = charts.scale_over([row["high"] for _, row in slices], include=[0.0], bounds=(0.0, None))
    table = []
    for name, row in slices:
        told, spread = show(row["mae"], "other", t, unit=unit), interval(row["low"], row["high"], "other", t)
        title = t("groups.bar", group=name, value=told, interval=spread, n=f"{row['n']:,}")
        bar = charts.rate_bar(row["mae"], row["low"], row["high"], scale=scale, title=title)
        table.append({"label": name, "n": f"{row['n']:,}", "cells": [{"value": told, "interval": spread, "bar": bar}]})
    return {
        "kind": "rates",
        "title": t("slices.title"),
        "about": t("slices.about_mae"),
        "first": t("table.name"),
        "heads": [t.metric("quality.mae")],
        "rows": table,
        "axis": charts.axis(scale, partial(tick, kind="other", t=t)),
        "none": t("slices.none"),
    }
