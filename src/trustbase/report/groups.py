"""How answers differ between groups: bars with intervals for each group column, and every rate as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from trustbase import finding_id
from trustbase.report import charts
from trustbase.report.formats import interval, show
from trustbase.report.material import Material
from trustbase.report.words import Words

Block = dict[str, Any]

RATES = ("base_rate", "selection_rate", "accuracy", "true_positive_rate", "false_positive_rate", "positive_predictive_value", "auroc", "calibration")
_DRAWN = ("selection_rate", "accuracy", "true_positive_rate", "false_positive_rate")
_MOST_GROUPS = 60  # rows drawn of one column; the evidence file holds all of them


def fairness_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """For each group column (and intersection): a chart of rates, and all rates as a table."""
    blocks: list[Block] = []
    notes = group_notes(material, t)
    if notes:
        blocks.append({"kind": "notes", "notes": notes})
    for column, favourable, groups in _columns(evidence):
        title = t("groups.title", column=column.replace(",", " × "))
        if favourable:
            title = t("label.colon", label=title) + t("groups.classwise", label=favourable)
        rows = sorted((row for row in groups if isinstance(row, Mapping)), key=lambda row: -int(row.get("n") or 0))
        blocks.append(_chart(title, column, rows[:_MOST_GROUPS], material, t))
    return blocks


def group_notes(material: Material, t: Words) -> list[str]:
    """Which label counts as favourable, and which group columns the model reads."""
    evidence = material.evidence.get("fairness", {})
    label, assumed = favourable_label(material)
    notes = []
    if label:
        notes.append(t("groups.favourable", label=label, how=t("groups.assumed") if assumed else t("groups.given")))
    columns = [str(column) for column in evidence.get("columns") or {} if "," not in column]
    if material.decides or material.artifact:
        shown = shown_columns(material, columns)
        hidden = [column for column in columns if column not in shown]
        notes += [t("groups.shown", columns=t("list.pair").join(shown))] if shown else []
        notes += [t("groups.hidden", columns=t("list.pair").join(hidden))] if hidden else []
    return notes


def favourable_label(material: Material) -> tuple[str, bool]:
    """The favourable label and whether it was assumed; an empty text where nothing says."""
    evidence = material.evidence.get("fairness", {})
    labels = material.artifact.get("labels") or {}
    assumed = evidence.get("assumed", evidence.get("favourable_assumed", labels.get("favourable_assumed")))
    return str(evidence.get("favourable") or labels.get("favourable") or ""), bool(assumed)


def shown_columns(material: Material, columns: list[str]) -> list[str]:
    """The group columns that the model's text names."""
    text = str(material.artifact.get("text") or (material.recipe.get("data") or {}).get("text") or "")
    named = set(re.findall(r"\{\s*([^{}]+?)\s*\}", text)) or {text}
    return [column for column in columns if column in named]


def _columns(evidence: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """(column or intersection, favourable label where there are several, groups) in the order of the evidence."""
    for column, content in (evidence.get("columns") or {}).items():
        if not isinstance(content, Mapping):
            continue
        if isinstance(content.get("groups"), list):
            yield str(column), "", content["groups"]
        for label, rest in (content.get("labels") or content.get("one_vs_rest") or {}).items():
            if isinstance(rest, Mapping) and isinstance(rest.get("groups"), list):
                yield str(column), str(label), rest["groups"]


def _chart(title: str, column: str, rows: list[Mapping[str, Any]], material: Material, t: Words) -> Block:
    names = [group_name(row) for row in rows]
    drawn, every = [], []
    scale = charts.Scale(0, 1)
    for name, row in zip(names, rows, strict=True):
        n = f"{int(row.get('n') or 0):,}"
        cells = {rate: rate_cell(name, column, rate, row, material, scale, t) for rate in RATES}
        drawn.append({"label": name, "n": n, "cells": [cells[rate] for rate in _DRAWN]})
        every.append({"label": name, "n": n, "cells": [cells[rate] for rate in RATES]})
    heads = [t(f"rate.{rate}") for rate in _DRAWN]
    abouts = [t(f"rate_about.{rate}") for rate in _DRAWN]
    block: Block = {"kind": "rates", "title": title, "about": t("groups.about"), "first": t("table.group"), "heads": heads, "abouts": abouts}
    axis = charts.axis(scale, lambda value: f"{100 * value:.0f}%")
    return {**block, "rows": drawn, "axis": axis, "every": every, "every_heads": [t(f"rate.{rate}") for rate in RATES]}


def group_name(row: Mapping[str, Any]) -> str:
    """The name of a group, or of an intersection of groups."""
    group = row.get("group", row.get("groups", ""))
    if isinstance(group, Mapping):
        group = list(group.values())
    return " × ".join(str(part) for part in group) if isinstance(group, list | tuple) else str(group)


def rate_cell(name: str, column: str, rate: str, row: Mapping[str, Any], material: Material, scale: charts.Scale, t: Words) -> Block:
    """A rate of one group with its interval, from the evidence, else from the group's own finding."""
    value, low, high, n = _numbers(rate, row)
    if value is None:
        finding = material.find(finding_id.make("fairness", rate, _slice(column, row)))
        if finding is not None and finding.value is not None:
            value, low, high, n = finding.value, finding.low, finding.high, finding.n
    if value is None:
        return {"value": "–", "interval": "", "bar": None, "small": t("groups.small")}
    kind = "number" if rate == "auroc" else "points" if rate == "calibration" else "percent"
    spread = interval(low, high, kind, t)
    title = t("groups.bar", group=name, value=show(value, kind, t), interval=spread, n=f"{n:,}" if n is not None else row.get("n", ""))
    bar = charts.rate_bar(value, low, high, scale=scale, title=title) if kind == "percent" else None
    return {"value": show(value, kind, t), "interval": spread, "bar": bar, "small": ""}


def _numbers(rate: str, row: Mapping[str, Any]) -> tuple[float | None, float | None, float | None, int | None]:
    found = row.get(rate)
    if isinstance(found, Mapping):
        return found.get("value"), found.get("low"), found.get("high"), found.get("n")
    if found is None:
        return None, None, None, None
    return found, row.get(f"{rate}_low"), row.get(f"{rate}_high"), row.get(f"{rate}_n")


def _slice(column: str, row: Mapping[str, Any]) -> tuple[tuple[str, str | None], ...]:
    group = row.get("group", row.get("groups", ""))
    if isinstance(group, Mapping):
        return tuple((str(key), str(value)) for key, value in group.items())
    parts = [str(part) for part in group] if isinstance(group, list | tuple) else [str(group)]
    return tuple(zip(column.split(","), parts, strict=False)) if len(parts) == len(column.split(",")) else ((column, "×".join(parts)),)
