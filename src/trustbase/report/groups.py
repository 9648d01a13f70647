"""How answers differ between groups: bars with intervals for each group column, and every rate as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from trustbase import finding_id
from trustbase.data.pair import sides
from trustbase.report import charts
from trustbase.report.formats import Kind, interval, kind_of, show, tick
from trustbase.report.material import Material
from trustbase.report.words import Words

Block = dict[str, Any]

RATES = (
    "base_rate",
    "selection_rate",
    "accuracy",
    "true_positive_rate",
    "false_positive_rate",
    "positive_predictive_value",
    "auroc",
    "calibration_gap",
    "expected_calibration_error",
)
_DRAWN = ("selection_rate", "accuracy", "true_positive_rate", "false_positive_rate")
_MOST_GROUPS = 40  # rows drawn of one column; the evidence file holds all of them


def fairness_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """For each group column and intersection: a chart of rates, all rates as a table, and the gaps of other labels."""
    sections = list(_columns(evidence))
    notes = group_notes(material, t) if sections else [t("groups.none")] if _not_asked(material) else []
    blocks: list[Block] = [{"kind": "notes", "notes": notes}] if notes else []
    order = list(dict.fromkeys(tuple(column for column, _ in finding.parts.slice) for finding in material.of("fairness")))
    place = {columns: index for index, columns in enumerate(order)}
    for columns, content in sorted(sections, key=lambda item: (len(item[0]), place.get(tuple(item[0]), len(order)))):
        rows = sorted((row for row in content["groups"] if isinstance(row, Mapping)), key=lambda row: -int(row.get("n") or 0))
        own = _measured(rows)
        block = _numbers_chart(columns, rows, own, material, t) if own else _chart(columns, rows, material, t)
        block["about"] = " ".join(filter(None, [block["about"], *_unnamed(content.get("unnamed"), t)]))
        blocks.append({**block, "others": _other_labels(content.get("other_labels"), t)})
    return blocks


def _unnamed(rest: Any, t: Words) -> list[str]:
    """What is known of the groups that the audit counts together and never names."""
    if not isinstance(rest, Mapping):
        return []
    told = []
    if rest.get("small"):
        told.append(t("groups.unnamed_small", n=rest["small"], rows=rest.get("small_rows"), least=rest.get("least")))
    if rest.get("further"):
        told.append(t("groups.unnamed_further", n=rest["further"], rows=rest.get("further_rows"), most=rest.get("most")))
    return told


def _not_asked(material: Material) -> bool:
    return all(finding.status == "not_applicable" and not finding.parts.slice for finding in material.of("fairness"))


def _other_labels(others: Any, t: Words) -> Block | None:
    """Gaps of the labels that are not the favourable one, each against the rest."""
    if not isinstance(others, Mapping) or not others:
        return None
    metrics = list(dict.fromkeys(gap["metric"] for gaps in others.values() for gap in gaps))
    rows = []
    for label, gaps in others.items():
        by_metric = {gap["metric"]: gap for gap in gaps}
        rows.append({"label": label, "cells": [_gap_cell(by_metric.get(metric), t) for metric in metrics]})
    return {"heads": [t.metric(f"fairness.{metric}") for metric in metrics], "rows": rows}


def _gap_cell(gap: Mapping[str, Any] | None, t: Words) -> Block:
    if gap is None or gap.get("value") is None:
        return {"value": "–", "interval": ""}
    kind = kind_of(f"fairness.{gap['metric']}")
    return {"value": show(gap["value"], kind, t), "interval": interval(gap.get("low"), gap.get("high"), kind, t)}


def group_notes(material: Material, t: Words) -> list[str]:
    """Which label counts as favourable, and which group columns the model reads."""
    evidence = material.evidence.get("fairness", {})
    label, assumed = favourable_label(material)
    notes = []
    if label:
        notes.append(t("groups.favourable", label=label, how=t("groups.assumed") if assumed else t("groups.given")))
    if any(finding.parts.metric == "exact_match_difference" for finding in material.of("fairness")):
        notes.append(t("groups.each_label"))
    columns = [columns[0] for columns, _ in _columns(evidence) if len(columns) == 1]
    if material.decides or material.artifact:
        shown = shown_columns(material, columns)
        hidden = [column for column in columns if column not in shown]
        notes += [t("groups.shown", columns=t("list.pair").join(shown))] if shown else []
        notes += [t("groups.hidden", columns=t("list.pair").join(hidden))] if hidden else []
    return notes


def favourable_label(material: Material) -> tuple[str, bool]:
    """The favourable label and whether it was assumed; an empty text where nothing says, or where no label is one of several.

    Of questions with choices none is: their labels are places.
    """
    if material.artifact.get("answer_kind", "classes") != "classes" or have_choices(material):
        return "", False
    evidence = material.evidence.get("fairness", {})
    labels = material.artifact.get("labels") or {}
    assumed = evidence.get("assumed", evidence.get("favourable_assumed", labels.get("favourable_assumed")))
    return str(evidence.get("favourable") or labels.get("favourable") or ""), bool(assumed)


def have_choices(material: Material) -> bool:
    """Whether the model weighs the choices of a question."""
    return len(sides(str(material.artifact.get("text") or ""))) > 2


def shown_columns(material: Material, columns: list[str]) -> list[str]:
    """The group columns that the model reads: its texts name them, or they are table columns of its own."""
    named = set((material.data_card.get("groups") or {}).get("shown_to_model") or [])
    text = str(material.artifact.get("text") or (material.recipe.get("data") or {}).get("text") or "")
    named |= {name for side in re.split(r"[\x0e\x0f\x1e\x1f]", text) for name in re.findall(r"\{\s*([^{}]+?)\s*\}", side) or [side]}
    features = material.artifact.get("features") or {}
    named |= {str(name) for names in features.values() if isinstance(names, list) for name in names}
    return [column for column in columns if column in named]


def _columns(evidence: Mapping[str, Any]) -> Iterator[tuple[list[str], Mapping[str, Any]]]:
    """(column or columns of an intersection, content) in the order of the evidence; single columns come first."""
    for column, content in (evidence.get("columns") or {}).items():
        if not isinstance(content, Mapping):
            continue
        if isinstance(content.get("groups"), list):
            yield [str(name) for name in content.get("columns") or [column]], content


def _chart(columns: list[str], rows: list[Mapping[str, Any]], material: Material, t: Words) -> Block:
    drawn, every = [], []
    scale = charts.Scale(0, 1)
    for row in rows[:_MOST_GROUPS]:
        name, n = group_name(columns, row, t), f"{int(row.get('n') or 0):,}"
        cells = {rate: rate_cell(name, columns, rate, row, material, scale, t) for rate in RATES}
        drawn.append({"label": name, "n": n, "cells": [cells[rate] for rate in _DRAWN]})
        every.append({"label": name, "n": n, "cells": [cells[rate] for rate in RATES]})
    about = t("groups.about")
    if len(rows) > _MOST_GROUPS:
        about += " " + t("groups.cut", shown=_MOST_GROUPS, n=f"{len(rows):,}")
    return {
        "kind": "rates",
        "title": t("groups.title", column=" × ".join(columns)),
        "about": about,
        "first": t("table.group"),
        "heads": [t(f"rate.{rate}") for rate in _DRAWN],
        "abouts": [t(f"rate_about.{rate}") for rate in _DRAWN],
        "rows": drawn,
        "axis": charts.axis(scale, lambda value: f"{100 * value:.0f}%"),
        "every": every,
        "every_heads": [t(f"rate.{rate}") for rate in RATES],
        "none": t("groups.small"),
    }


def _measured(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the numbers that the rows hold, where these are not the rates of one label."""
    found = dict.fromkeys(name for row in rows for name in row.get("intervals") or {})
    return list(found) if set(found) - set(RATES) or "selection_rate" not in found else []


def _numbers_chart(columns: list[str], rows: Sequence[Mapping[str, Any]], names: list[str], material: Material, t: Words) -> Block:
    """Groups by whatever was measured of them; each column of numbers has a scale of its own."""
    shown = rows[:_MOST_GROUPS]
    units = {finding.parts.metric: finding.unit for finding in material.of("fairness")}
    ids = {name: finding_id.make("fairness", name) for name in names}
    kinds = {name: kind_of(ids[name], units.get(name, "")) for name in names}
    scales = {name: _scale(name, kinds[name], shown) for name in names}
    table = []
    for row in shown:
        group = group_name(columns, row, t)
        cells = [
            _number_cell(group, (row.get("intervals") or {}).get(name), kinds[name], units.get(name, ""), scales[name], t) for name in names
        ]
        table.append({"label": group, "n": f"{int(row.get('n') or 0):,}", "cells": cells})
    about = t("groups.about") if all(kind == "percent" for kind in kinds.values()) else t("groups.about_numbers")
    if len(rows) > _MOST_GROUPS:
        about += " " + t("groups.cut", shown=_MOST_GROUPS, n=f"{len(rows):,}")
    return {
        "kind": "rates",
        "title": t("groups.title", column=" × ".join(columns)),
        "about": about,
        "first": t("table.group"),
        "heads": [_told("name", name, t) for name in names],
        "abouts": [_told("about", name, t) for name in names],
        "rows": table,
        "axes": [charts.axis(scales[name], partial(tick, kind=kinds[name], t=t)) for name in names],
        "none": t("groups.small"),
    }


def _told(what: str, name: str, t: Words) -> str:
    """Name of a number of a group, or what it says: as the finding of it has, else as the rate that only the evidence holds."""
    if t.has(f"metric.fairness.{name}.{what}"):
        return t(f"metric.fairness.{name}.{what}")
    return t.of("rate" if what == "name" else "rate_about", name)


def _scale(name: str, kind: Kind, rows: Sequence[Mapping[str, Any]]) -> charts.Scale:
    if kind == "percent":
        return charts.Scale(0, 1)
    found = [(row.get("intervals") or {}).get(name) or {} for row in rows]
    ends = [item.get(end) for item in found for end in ("value", "low", "high")]
    return charts.scale_over(ends, include=[] if name == "mean_prediction" else [0.0])


def _number_cell(group: str, found: Any, kind: Kind, unit: str, scale: charts.Scale, t: Words) -> Block:
    if not isinstance(found, Mapping) or found.get("value") is None:
        return {"value": "–", "interval": "", "bar": None, "small": t("groups.small")}
    value, low, high = found["value"], found.get("low"), found.get("high")
    told, spread = show(value, kind, t, unit=unit), interval(low, high, kind, t)
    title = t("groups.bar", group=group, value=told, interval=spread, n=f"{int(found.get('n') or 0):,}")
    draw = charts.rate_bar if kind == "percent" else charts.number_bar
    return {"value": told, "interval": spread, "bar": draw(value, low, high, scale=scale, title=title), "small": ""}


def _values(columns: list[str], row: Mapping[str, Any]) -> list[str]:
    """The group of each column; the file keeps keys sorted, so the columns fix the order."""
    members = row.get("members")
    if isinstance(members, Mapping) and set(members) == set(columns):
        return [str(members[column]) for column in columns]
    return [str(row.get("group", ""))]


def group_name(columns: list[str], row: Mapping[str, Any], t: Words) -> str:
    """The name of a group, or of an intersection of groups; an empty name is shown as such."""
    return " × ".join(part or t("groups.empty") for part in _values(columns, row))


def rate_cell(name: str, columns: list[str], rate: str, row: Mapping[str, Any], material: Material, scale: charts.Scale, t: Words) -> Block:
    """A rate of one group with its interval, from the evidence, else from the group's own finding."""
    value, low, high, n = _numbers(rate, row)
    if value is None and (id := _finding_id(rate, columns, row)):
        finding = material.find(id)
        if finding is not None and finding.value is not None:
            value, low, high, n = finding.value, finding.low, finding.high, finding.n
    if value is None:
        return {"value": "–", "interval": "", "bar": None, "small": t("groups.small")}
    kind = kind_of(f"fairness.{rate}")
    spread = interval(low, high, kind, t)
    title = t("groups.bar", group=name, value=show(value, kind, t), interval=spread, n=f"{n:,}" if n is not None else row.get("n", ""))
    bar = charts.rate_bar(value, low, high, scale=scale, title=title) if kind == "percent" else None
    return {"value": show(value, kind, t), "interval": spread, "bar": bar, "small": ""}


def _numbers(rate: str, row: Mapping[str, Any]) -> tuple[float | None, float | None, float | None, int | None]:
    found = (row.get("intervals") or {}).get(rate, row.get(rate))
    if isinstance(found, Mapping):
        return found.get("value"), found.get("low"), found.get("high"), found.get("n")
    if found is None:
        return None, None, None, None
    return found, row.get(f"{rate}_low"), row.get(f"{rate}_high"), row.get(f"{rate}_n")


def _finding_id(rate: str, columns: list[str], row: Mapping[str, Any]) -> str:
    values = _values(columns, row)
    return finding_id.make("fairness", rate, tuple(zip(columns, values, strict=True))) if len(values) == len(columns) else ""
