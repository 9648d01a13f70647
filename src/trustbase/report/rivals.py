"""The model beside its simple rivals, and a plain word on who is ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from trustbase.records import Finding
from trustbase.report import charts
from trustbase.report.formats import Kind, interval, kind_of, show, tick
from trustbase.report.material import Material
from trustbase.report.reasons import reason_in
from trustbase.report.words import Words

_PREFIX = "gain_over_"


@dataclass(frozen=True)
class Score:
    """What rivals are compared by: a metric of the evidence with its interval, and a second one beside it."""

    name: str
    kind: Kind
    second: str
    second_kind: Kind


_CLASSES = Score("accuracy", "percent", "auroc", "number")
_SCORES = (
    _CLASSES,
    Score("token_f1", "percent", "exact_match", "percent"),
    Score("exact_match", "percent", "micro_f1", "percent"),
    Score("entity_f1", "percent", "entity_recall", "percent"),
    Score("mae", "other", "rmse", "other"),
)


@dataclass(frozen=True)
class RivalRow:
    """One rival: its score and a second one, the model's paired gain over it, and the outcome."""

    key: str
    name: str
    about: str
    score: str
    score_interval: str
    second: str
    gain: str
    gain_interval: str
    outcome: str  # better | worse | even | unknown
    word: str
    reason: str
    bar: Markup | None


@dataclass(frozen=True)
class RivalTable:
    """The model's own row, its rivals, the axis under the gains, and what they are compared by, in words."""

    model: RivalRow | None
    rows: list[RivalRow]
    axis: Markup | None
    measure: str
    intro: str
    heads: tuple[str, str]

    @property
    def one_reason(self) -> str:
        """The reason why no rival was measured, where it is the same for all."""
        reasons = {row.reason for row in self.rows}
        return next(iter(reasons)) if len(reasons) == 1 and not self.axis else ""


def rival_table(material: Material, t: Words) -> RivalTable:
    """Every rival that was measured, or that could not be, with its reason."""
    gains = {f.parts.metric.removeprefix(_PREFIX): f for f in material.of("quality") if f.parts.metric.startswith(_PREFIX)}
    listed = material.evidence.get("quality", {}).get("rivals") or []
    answers = {str(row["name"]): row for row in listed if isinstance(row, Mapping) and "name" in row}
    measured = [f for f in gains.values() if f.value is not None]
    by = _compared_by(material)
    scale = charts.scale_over([x for f in measured for x in (f.low, f.high)], include=[0.0]) if measured else None
    rows = [_row(name, gain, answers.get(name, {}), by, scale, t) for name, gain in gains.items()]
    model = None
    if rows:
        own = answers.get("model") or _own(material.find(f"quality.{by.name}"))
        model = _row("model", None, own, by, None, t)
    kind = kind_of(measured[0].id, measured[0].unit) if measured else "points"
    return RivalTable(model, rows, charts.axis(scale, lambda value: tick(value, kind, t)) if scale else None, *_said(by, t))


def _said(by: Score, t: Words) -> tuple[str, str, tuple[str, str]]:
    """The measure's name, what the gain is, and the heads of both columns."""
    intro = t("rivals.intro", gain=t(f"rivals.gain_in.{by.name}"))
    return t.metric(f"quality.{by.name}"), intro, (t(f"rivals.score.{by.name}"), t(f"rivals.second.{by.second}"))


def _compared_by(material: Material) -> Score:
    """By the measure of the model's answer kind: the first of these that the audit speaks of."""
    return next((score for score in _SCORES if material.find(f"quality.{score.name}") is not None), _CLASSES)


def _own(score: Finding | None) -> dict[str, Any]:
    return {score.parts.metric: score.value, "low": score.low, "high": score.high} if score else {}


def outcome(gain: Finding | None) -> str:
    """Who is ahead: said only where the whole interval lies on one side of zero."""
    if gain is None or gain.low is None or gain.high is None:
        return "unknown"
    return "better" if gain.low > 0 else "worse" if gain.high < 0 else "even"


def _row(name: str, gain: Finding | None, answer: Mapping[str, Any], by: Score, scale: charts.Scale | None, t: Words) -> RivalRow:
    label = t("rivals.model") if name == "model" else _told("rival", name, by, t) or name
    value, spread = "", ""
    bar = None
    if gain is not None:
        kind = kind_of(gain.id, gain.unit)
        value, spread = _signed(gain.value, kind, gain.unit, t), interval(gain.low, gain.high, kind, t, unit=gain.unit)
        if gain.value is not None and gain.low is not None and gain.high is not None and scale is not None:
            css = {"better": "pass", "worse": "fail"}.get(outcome(gain), "insufficient")
            title = t("rivals.bar", name=label, value=value, interval=spread)
            bar = charts.gain_bar(gain.value, gain.low, gain.high, scale=scale, title=title, css=css)
    return RivalRow(
        key=name,
        name=label,
        about=_told("rival_about", name, by, t),
        score=show(answer.get(by.name), by.kind, t),
        score_interval=interval(answer.get("low"), answer.get("high"), by.kind, t),
        second=show(answer.get(by.second), by.second_kind, t),
        gain=value,
        gain_interval=spread,
        outcome=outcome(gain),
        word=t(f"rivals.{outcome(gain)}"),
        reason=reason_in(gain.reason, t) if gain is not None else "",
        bar=bar,
    )


def _told(family: str, name: str, by: Score, t: Words) -> str:
    """The words on a rival; one that does something of its own for an answer kind has words of its own there."""
    return t.table.get(f"{family}.{name}_by_{by.name}") or t.table.get(f"{family}.{name}", "")


def _signed(value: float | None, kind: Kind, unit: str, t: Words) -> str:
    text = show(value, kind, t, unit=unit)
    return f"+{text}" if value is not None and value > 0 else text
