"""What the report shows of each audited dimension: its main numbers, and charts of its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from trustbase.finding_id import DIMENSIONS
from trustbase.records import Finding
from trustbase.report.attacks import attack_blocks
from trustbase.report.certified import certified_blocks, sensitivity_blocks
from trustbase.report.efficiency import efficiency_blocks
from trustbase.report.explanations import explanation_blocks
from trustbase.report.formats import interval, kind_of, show
from trustbase.report.groups import fairness_blocks
from trustbase.report.material import Material
from trustbase.report.perturbed import CHANGED, expectation_blocks, flip_blocks
from trustbase.report.pretraining import DRAWN, base_cost_blocks, canary_blocks, learned_blocks, likelihood_blocks, training_blocks
from trustbase.report.quality import quality_blocks
from trustbase.report.reasons import method_in, reason_in
from trustbase.report.safety import safety_blocks
from trustbase.report.shift import shift_blocks
from trustbase.report.words import Words, names_a_set

Block = dict[str, Any]


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


def robustness_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """Answers that small changes turn, and how they should move; what attacks leave; texts of another kind, answers withheld, sets of
    labels; answers that no change of words turns, and what answers depend on.

    Each part of the audit has evidence of its own.
    """
    parts = material.evidence
    found = [*flip_blocks(parts.get("robustness.flips"), t), *expectation_blocks(parts.get("robustness.expectations"), t)]
    found += [*attack_blocks(parts, t), *shift_blocks(parts, t), *certified_blocks(parts.get("robustness.certified"), t)]
    return [*found, *sensitivity_blocks(parts.get("robustness.sensitivity"), t)]


_OF_TASKS = {
    "quality": quality_blocks,
    "fairness": fairness_blocks,
    "explanation": explanation_blocks,
    "robustness": robustness_blocks,
    "safety": safety_blocks,
    "efficiency": efficiency_blocks,
}
