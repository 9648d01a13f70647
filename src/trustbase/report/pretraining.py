"""What the report shows of a base model: what it learned, the course of its training, what that took, and what it gives away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trustbase.gate.limits import read_gate
from trustbase.records import Finding
from trustbase.report import charts, curves
from trustbase.report.formats import Kind, compact, interval, kind_of, show
from trustbase.report.material import Material
from trustbase.report.reasons import reason_in
from trustbase.report.words import Words

Block = dict[str, Any]

#: Metrics that are shown as bars, with all their numbers, and so have no row beside them.
DRAWN = frozenset({"probe_accuracy", "likelihood_gap", "likelihood_association", "canary_exposure"})

_PERPLEXITY = "quality.perplexity"
#: What the estimate called it, the finding that says what it came to, and how such a number is written.
_ESTIMATED: tuple[tuple[str, str, Kind], ...] = (
    ("steps", "", "count"),
    ("tokens", "", "count"),
    ("flops", "efficiency.training_flops", "flops"),
    ("seconds", "efficiency.training_seconds", "duration"),
    ("energy_kwh", "efficiency.training_energy_kwh", "energy"),
    ("carbon_kg", "efficiency.training_carbon_kg", "energy"),
)
_TOLD = {"steps": "step", "tokens": "training_tokens", "flops": "flops", "seconds": "seconds", "energy_kwh": "", "carbon_kg": ""}
_UNITS = {"energy_kwh": "kWh", "carbon_kg": "kg"}


def learned_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """What held-out documents say, question by question; and what a linear classifier finds in the embeddings."""
    probes, about = material.evidence.get("probes", {}), (t("probes.title"), t("probes.about"), t("probes.set"))
    most = {str(name): number(row.get("majority")) for name, row in probes.items() if isinstance(row, Mapping)}
    bars = _bars(material, "quality.probe_accuracy", t, about, scale=charts.Scale(0, 1), reference=most)
    return [block for block in (_terms(material.evidence.get("language", {}), t), bars) if block]


def training_blocks(material: Material, t: Words) -> list[Block]:
    """Curves over the tokens read, what happened on the way, and the estimate beside what it came to."""
    course = material.evidence.get("course", {})
    charts_ = [chart for chart in (_perplexity_curve(material, course, t), _loss_curve(course, t)) if chart]
    blocks: list[Block] = [{"kind": "curves", "charts": charts_}] if charts_ else []
    resumed, spikes = int(course.get("resumed") or 0), int(course.get("spike") or 0)
    notes = [*([t.count("training.resumed", resumed)] if resumed else []), *([t.count("training.spike", spikes)] if spikes else [])]
    blocks += [{"kind": "notes", "notes": notes}] if notes else []
    estimate = _estimate(material, course, t)
    blocks += [estimate] if estimate else []
    return blocks or [{"kind": "notes", "notes": [t("training.none")]}]


def likelihood_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """Each set of sentence pairs: how far apart the sides are, and whether that goes with what is commonly expected of them."""
    gaps = _bars(material, "fairness.likelihood_gap", t, (t("gap.title"), t("gap.about"), t("pairs.set")))
    association = (t("association.title"), t("association.about"), t("pairs.set"))
    signed = _bars(material, "fairness.likelihood_association", t, association, zero=True)
    return [block for block in (gaps, signed, _pair_sets(evidence, t)) if block]


def _pair_sets(evidence: Mapping[str, Any], t: Words) -> Block:
    """What each set is about, in the words of the set."""
    sets = evidence.get("sets")
    found = {str(name): row for name, row in (sets.items() if isinstance(sets, Mapping) else ()) if isinstance(row, Mapping)}
    facts = [(name, str(row["about"])) for name, row in found.items() if row.get("about")]
    return {"kind": "facts", "title": t("pairs.title"), "about": t("pairs.about"), "facts": facts} if facts else {}


def canary_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """Exposure of made-up secrets that were planted in the training texts, beside that of others which were not."""
    found = material.find("privacy.canary_exposure")
    if found is None:
        return []
    if found.value is None:
        why = (t.of("status", found.status), reason_in(found.reason, t))
        return [{"kind": "facts", "title": t("canaries.title"), "about": "", "facts": [why]}]
    top = number(evidence.get("most_bits"))
    scale = charts.Scale(0.0, max(top or 0.0, 1.05 * (found.high or found.value), 1.0))
    about = _sentences(t, t("canaries.about"), t("canaries.top", top=show(top, "bits", t)) if top else "")
    block = _bars(material, found.id, t, (t("canaries.title"), about, t("canaries.secrets")), scale=scale)
    block["rows"][0]["label"] = t("canaries.planted")
    beside = evidence.get("not_planted")
    if isinstance(beside, Mapping) and number(beside.get("mean")) is not None:
        others = replace(found, value=beside["mean"], low=beside.get("low"), high=beside.get("high"))
        name = t("canaries.not_planted")
        block["rows"].append({"label": name, "n": block["rows"][0]["n"], "cells": [_bar(others, name, scale, False, t)]})
    return [block]


def base_cost_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """What energy and carbon assume."""
    said = material.evidence.get("training", {}).get("assumptions") or material.estimate
    named = {key: said[key] for key in ("watts", "carbon_grams_per_kwh") if key in said}
    facts = [(t.of("assumption", key), f"{value:g}" if isinstance(value, int | float) else str(value)) for key, value in named.items()]
    return [{"kind": "facts", "title": t("assumptions.title"), "about": t("assumptions.about"), "facts": facts}] if facts else []


def _terms(language: Mapping[str, Any], t: Words) -> Block:
    """One row for each question that an objective asks: loss and accuracy, over how many units."""
    terms = language.get("terms")
    if not isinstance(terms, Mapping) or not terms:
        return {}
    rows = []
    for name, term in terms.items():
        shown = [show(term.get("loss"), "number", t), show(term.get("accuracy"), "percent", t)]
        rows.append((t.of("term", str(name)), [*shown, *(show(term.get(key), "count", t) for key in ("units", "documents"))]))
    heads = [t("terms.loss"), t("terms.accuracy"), t("terms.units"), t("terms.documents")]
    return {
        "kind": "table",
        "title": t("terms.title"),
        "about": t("terms.about"),
        "first": t("terms.question"),
        "heads": heads,
        "rows": rows,
    }


def _bars(
    material: Material,
    id: str,
    t: Words,
    said: tuple[str, str, str],
    *,
    scale: charts.Scale | None = None,
    zero: bool = False,
    reference: Mapping[str, float | None] | None = None,
) -> Block:
    """The findings of one metric as bars with their intervals, one for each set.

    Args:
        said: the title, a line about it, and the name of what has a row each.
        scale: of the bars; by default from zero over all intervals.
        zero: whether values of either sign are drawn, from zero.
        reference: by set, a value to compare with, drawn as a line.
    """
    found = [f for f in material.audit.findings if f.id.split("[")[0] == id and f.value is not None]
    if not found:
        return {}
    kind, unit = kind_of(found[0].id, found[0].unit), found[0].unit
    bounds = (None, None) if zero else (0.0, None)
    drawn = scale or charts.scale_over([x for f in found for x in (f.low, f.high)], include=[0.0], bounds=bounds)
    rows = []
    for finding in found:
        name = ", ".join(column for column, _ in finding.parts.slice) or t.metric(finding.id)
        cell = _bar(finding, name, drawn, zero, t, reference=(reference or {}).get(name))
        rows.append({"label": name, "n": f"{finding.n:,}" if finding.n is not None else "", "cells": [cell]})
    head = t.metric(id) if kind != "other" or not unit else f"{t.metric(id)} ({t.of('unit_name', unit)})"
    axis = charts.axis(drawn, lambda value: show(value, kind, t, unit="" if kind == "other" else unit))
    return {"kind": "rates", "title": said[0], "about": said[1], "first": said[2], "heads": [head], "rows": rows, "axis": axis}


def _bar(finding: Finding, name: str, scale: charts.Scale, zero: bool, t: Words, *, reference: float | None = None) -> Block:
    kind, value = kind_of(finding.id, finding.unit), finding.value or 0.0
    spread = interval(finding.low, finding.high, kind, t, unit=finding.unit)
    shown = show(value, kind, t, unit=finding.unit)
    title = t("groups.bar", group=name, value=shown, interval=spread, n=f"{finding.n or 0:,}")
    low, high = (value if bound is None else bound for bound in (finding.low, finding.high))
    if zero:
        css = "insufficient" if low <= 0 <= high else "open"
        bar = charts.gain_bar(value, low, high, scale=scale, title=title, css=css)
    else:
        bar = charts.rate_bar(value, low, high, scale=scale, title=title, reference=reference)
    return {"value": shown, "interval": spread, "bar": bar}


def _perplexity_curve(material: Material, course: Mapping[str, Any], t: Words) -> Block:
    """Held-out perplexity over tokens, with its limit and what the audit found in the end."""
    looks = [(look["tokens"], look[_PERPLEXITY]) for look in course.get("looks") or [] if look.get(_PERPLEXITY)]
    if not looks:
        return {}
    final, limit = material.find(_PERPLEXITY), _limit(material)
    end = None
    if final is not None and final.value is not None and final.low is not None and final.high is not None and final.low > 0:
        spread = interval(final.low, final.high, "magnitude", t)
        end = curves.End(final.value, final.low, final.high, t("training.end", value=show(final.value, "magnitude", t), interval=spread))
    values = [value for _, value in looks]
    desc = t("training.perplexity_desc", first=show(values[0], "magnitude", t), last=show(values[-1], "magnitude", t), n=len(looks))
    chart = curves.curve(
        [curves.Point(x, y) for x, y in looks],
        title=t("training.perplexity"),
        desc=desc,
        x=t("training.tokens"),
        y=t("training.perplexity_axis"),
        show_x=compact,
        show_y=lambda value: f"{value:,.0f}" if value >= 10 else f"{value:g}",
        dots=True,
        log=min(values) > 0 and max(values) / min(values) > 3,
        limit=limit,
        limit_text=t("training.limit", limit=show(limit, "magnitude", t)),
        end=end,
    )
    about = _sentences(t, desc, t("training.end_about") if end else "")
    return {
        "title": t("training.perplexity"),
        "about": about,
        "chart": chart,
        "rows": [f"{compact(x)}: {show(y, 'magnitude', t)}" for x, y in looks],
    }


def _limit(material: Material) -> float | None:
    """The gate's limit on perplexity, where there is one."""
    gates = (read_gate(gate.gate) for gate in (material.verdict.gates if material.verdict else ()))
    return next((gate.limit for gate in gates if gate is not None and gate.id == _PERPLEXITY), None)


def _loss_curve(course: Mapping[str, Any], t: Words) -> Block:
    """Training loss over tokens."""
    points = course.get("points") or []
    if not points:
        return {}
    first, last = points[0]["loss"], points[-1]["loss"]
    desc = t("training.loss_desc", first=show(first, "number", t), last=show(last, "number", t), steps=f"{course.get('steps', 0):,}")
    chart = curves.curve(
        [curves.Point(point["tokens"], point["loss"], point["low"], point["high"]) for point in points],
        title=t("training.loss"),
        desc=desc,
        x=t("training.tokens"),
        y=t("training.loss_axis"),
        show_x=compact,
        show_y=lambda value: f"{value:g}",
    )
    banded = any(point["low"] != point["high"] for point in points)
    rows = [f"{compact(point['tokens'])}: {show(point['loss'], 'number', t)}" for point in points[:: max(1, math.ceil(len(points) / 20))]]
    return {"title": t("training.loss"), "about": _sentences(t, desc, t("training.band") if banded else ""), "chart": chart, "rows": rows}


def _estimate(material: Material, course: Mapping[str, Any], t: Words) -> Block:
    """What was expected before the first step, beside what it came to."""
    expected, training = material.estimate, material.evidence.get("training", {})
    rows = []
    for key, id, kind in _ESTIMATED:
        guess = number(expected.get(key))
        found = material.find(id) if id else None
        real = found.value if found is not None else number(course.get(key)) or number(training.get(_TOLD[key]))
        if guess is None and real is None:
            continue
        unit = _UNITS.get(key, "")
        low, high = (number(expected.get(f"{key}_{side}")) for side in ("low", "high"))
        cells = [show(guess, kind, t, unit=unit), interval(low, high, kind, t, unit=unit), show(real, kind, t, unit=unit)]
        ratio = real / guess if guess and real is not None else None
        rows.append((t(f"estimate.{key}"), [*cells, "–" if ratio is None else f"{ratio:.2f}×"]))
    if not rows or not expected:
        return {}
    heads = [t("estimate.expected"), t("estimate.range"), t("estimate.taken"), t("estimate.ratio")]
    return {
        "kind": "table",
        "title": t("estimate.title"),
        "about": _sentences(t, t("estimate.about"), _trial(expected, t)),
        "first": t("table.name"),
        "heads": heads,
        "rows": rows,
    }


def _trial(expected: Mapping[str, Any], t: Words) -> str:
    """How the estimate was made."""
    steps, seconds = number(expected.get("trial_steps")), number(expected.get("trial_seconds"))
    if steps is None or seconds is None:
        return ""
    return t("estimate.trial", steps=f"{steps:,.0f}", seconds=show(seconds, "duration", t))


def _sentences(t: Words, *said: str) -> str:
    return t("list.sentences").join(filter(None, said))


def number(value: Any) -> float | None:
    """A finite number out of a file of any shape; None where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
