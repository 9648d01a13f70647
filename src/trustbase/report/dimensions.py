"""What the report shows of each audited dimension: its main numbers, and charts of its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from trustbase.finding_id import DIMENSIONS
from trustbase.records import Finding
from trustbase.report import charts
from trustbase.report.attacks import attack_blocks
from trustbase.report.certified import certified_blocks, sensitivity_blocks
from trustbase.report.entities import entity_blocks
from trustbase.report.explanations import explanation_blocks
from trustbase.report.formats import interval, kind_of, show
from trustbase.report.groups import fairness_blocks
from trustbase.report.material import Material
from trustbase.report.numbers import number_blocks
from trustbase.report.perturbed import CHANGED, expectation_blocks, flip_blocks, weak_blocks
from trustbase.report.pretraining import DRAWN, base_cost_blocks, canary_blocks, learned_blocks, likelihood_blocks, training_blocks
from trustbase.report.reasons import method_in, reason_in
from trustbase.report.relations import relation_blocks
from trustbase.report.safety import safety_blocks
from trustbase.report.shift import shift_blocks
from trustbase.report.words import Words, names_a_set

Block = dict[str, Any]

_GRID_LABELS = 12  # more labels than this do not fit a readable grid
_CONFUSIONS = 15
_SLICES = 12


@dataclass(frozen=True)
class Section:
    """One dimension: its numbers, which the audit holds, and how its charts are made of the evidence."""

    key: str
    name: str
    about: str
    rows: list[Block]
    gaps: Block | None
    build: Callable[[], list[Block]]  # fails where the evidence is of another shape than an audit writes


def dimension_sections(material: Material, t: Words) -> list[Section]:
    """One section for each dimension that has findings, in the design's order; of a base model also the course of its training."""
    base = material.pretrained
    builders = _OF_BASE if base else _OF_TASKS
    sections = []
    for name in DIMENSIONS:
        findings = material.of(name)
        if findings:
            build = partial(builders[name], material, material.evidence.get(name, {}), t) if name in builders else list
            rows = [finding_row(f, t) for f in findings if _heads(f) and _alone(f) and f.parts.metric not in (DRAWN if base else CHANGED)]
            gaps = _gap_table([f for f in findings if _heads(f) and not _alone(f)], t)
            about = t(f"base_about.{name}") if base and t.has(f"base_about.{name}") else t(f"dimension_about.{name}")
            sections.append(Section(name, _title(name, base, t), about, rows, gaps, build))
        if base and name == "quality":
            training = partial(training_blocks, material, t)
            sections.append(Section("training", t("training.title"), t("training.about"), [], None, training))
    return sections


_OF_BASE = {"quality": learned_blocks, "fairness": likelihood_blocks, "privacy": canary_blocks, "efficiency": base_cost_blocks}


def _title(name: str, base: bool, t: Words) -> str:
    return t(f"base_title.{name}") if base and t.has(f"base_title.{name}") else t(f"dimension.{name}")


def _alone(finding: Finding) -> bool:
    """Whether a finding has a row of its own: one without a slice, or one of a set that is no column of groups."""
    return not finding.parts.slice or names_a_set(finding.id)


def _heads(finding: Finding) -> bool:
    """Whether a finding stands at the head of its section: numbers of one group or slice stand in the charts and the full table."""
    gain = finding.parts.metric.startswith("gain_over_")  # these stand among the rivals
    return not gain and all(group is None for _, group in finding.parts.slice) and finding.status == "ok"


def _gap_table(findings: Sequence[Finding], t: Words) -> Block | None:
    """Findings over slices: one row for each measure, one column for each slice, so that a measure is explained once."""
    if not findings:
        return None
    slices = list(dict.fromkeys(f.parts.slice for f in findings))
    measures = list(dict.fromkeys((f.parts.metric, f.parts.variant, f.parts.dataset) for f in findings))
    at = {(f.parts.metric, f.parts.variant, f.parts.dataset, f.parts.slice): f for f in findings}
    rows = []
    for measure in measures:
        cells = [finding_row(at[(*measure, part)], t) if (*measure, part) in at else None for part in slices]
        first = next(f for f in findings if (f.parts.metric, f.parts.variant, f.parts.dataset) == measure)
        name = t.finding(str(replace(first.parts, slice=())))
        rows.append({"name": name, "about": t.metric_about(first.id), "cells": cells})
    return {"heads": [" × ".join(column for column, _ in part) for part in slices], "rows": rows}


def finding_row(finding: Finding, t: Words) -> Block:
    """A finding in words."""
    kind = kind_of(finding.id, finding.unit)
    return {
        "id": finding.id,
        "name": t.finding(finding.id),
        "about": t.metric_about(finding.id),
        "dimension": finding.parts.dimension,
        "value": show(finding.value, kind, t, unit=finding.unit),
        "interval": interval(finding.low, finding.high, kind, t, unit=finding.unit),
        "raw": finding.value,
        "counted": finding.status == "ok" and finding.low == finding.high,
        "n": f"{finding.n:,}" if finding.n is not None else "",
        "status": finding.status,
        "status_word": t.of("status", finding.status),
        "reason": reason_in(finding.reason, t),
        "method": method_in(finding.method, t),
        "source": finding.source,
        "seed": finding.seed,
    }


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


_SCORES = ("precision", "recall", "f1")


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


def robustness_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """Answers that small changes turn, and how they should move; what attacks leave; texts of another kind, answers withheld, sets of
    labels; answers that no change of words turns, and what answers depend on.

    Each part of the audit has evidence of its own.
    """
    parts = material.evidence
    found = [*flip_blocks(parts.get("robustness.flips"), t), *expectation_blocks(parts.get("robustness.expectations"), t)]
    found += [*attack_blocks(parts, t), *shift_blocks(parts, t), *certified_blocks(parts.get("robustness.certified"), t)]
    return [*found, *sensitivity_blocks(parts.get("robustness.sensitivity"), t)]


def efficiency_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """Latency as it was timed, and what cost and energy assume."""
    blocks = []
    if latency := _latency(material, evidence.get("latency_ms"), t):
        blocks.append(latency)
    if assumptions := evidence.get("assumptions"):
        blocks.append(
            {
                "kind": "facts",
                "title": t("assumptions.title"),
                "about": t("assumptions.about"),
                "facts": [(t.of("assumption", name), value) for name, value in plain_facts(assumptions, plain=False)],
            }
        )
    return blocks


def _latency(material: Material, evidence: Any, t: Words) -> Block:
    if not isinstance(evidence, Mapping):
        return {}
    marks = {}
    for name in ("p50", "p95", "p99"):
        finding = material.find(f"efficiency.latency_{name}_ms")
        if finding is not None and finding.value is not None:
            marks[f"{name[1:]} %"] = finding.value
    shape = evidence.get("histogram") or {}
    edges, counts = shape.get("edges") or [], shape.get("counts") or []
    quantiles = [t("latency.quantile", name=name, value=show(value, "ms", t)) for name, value in marks.items()]
    block: Block = {"kind": "latency", "quantiles": quantiles, "chart": None, "desc": ""}
    if len(edges) == len(counts) + 1 and counts:
        calls = int(evidence.get("calls") or sum(counts))
        desc = t("latency.desc", n=f"{calls:,}", low=show(edges[0], "ms", t), high=show(edges[-1], "ms", t))
        if calls > sum(counts):  # one answer that took long would press all the others together
            desc = t("list.sentences").join([desc, t.count("latency.above", calls - sum(counts))])
        title, x, y = t("latency.histogram"), t("latency.x"), t("latency.y")
        named = {f"{name} · {show(value, 'ms', t)}": value for name, value in marks.items()}
        chart = charts.histogram(edges, counts, named, title=title, desc=desc, x=x, y=y, show=lambda value: f"{value:g}")
        block |= {"chart": chart, "desc": desc}
    return block


def plain_facts(facts: Mapping[str, Any], prefix: str = "", *, plain: bool = True) -> list[tuple[str, str]]:
    """Nested facts as flat pairs of name and text, as they are recorded; `plain` takes the underscores out of names."""
    rows: list[tuple[str, str]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}".replace("_", " ") if plain else f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows.extend(plain_facts(value, f"{name} · "))
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(_plain(item) for item in value[:40]) + (" …" if len(value) > 40 else "")))
        else:
            rows.append((name, _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else "–" if value is None else str(value)


_OF_TASKS = {
    "quality": quality_blocks,
    "fairness": fairness_blocks,
    "explanation": explanation_blocks,
    "robustness": robustness_blocks,
    "safety": safety_blocks,
    "efficiency": efficiency_blocks,
}
