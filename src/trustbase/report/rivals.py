"""The model beside its simple rivals, and a plain word on who is ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from trustbase.records import Finding
from trustbase.report import charts
from trustbase.report.formats import interval, show
from trustbase.report.material import Material
from trustbase.report.reasons import reason_in
from trustbase.report.words import Words

_PREFIX = "gain_over_"


@dataclass(frozen=True)
class RivalRow:
    """One rival: its accuracy (of entities their F1), the model's paired gain over it, and the outcome."""

    key: str
    name: str
    about: str
    accuracy: str
    accuracy_interval: str
    auroc: str
    gain: str
    gain_interval: str
    outcome: str  # better | worse | even | unknown
    word: str
    reason: str
    bar: Markup | None


@dataclass(frozen=True)
class RivalTable:
    """The model's own row, its rivals, and the axis under the gains."""

    model: RivalRow | None
    rows: list[RivalRow]
    axis: Markup | None
    intro: str
    measure: str  # what is told of each

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
    scale = charts.scale_over([x for f in measured for x in (f.low, f.high)], include=[0.0]) if measured else None
    rows = [_row(name, gain, answers.get(name, {}), scale, t) for name, gain in gains.items()]
    model = None
    if rows:
        own = answers.get("model") or _own(material.find("quality.accuracy"))
        model = _row("model", None, own, None, t)
    entities = any("entity_f1" in answer for answer in answers.values())
    answered = any("token_f1" in answer for answer in answers.values())
    words = (t("rivals.intro"), t("rivals.accuracy"))
    if entities or answered:
        words = (t(f"rivals.intro_{'entities' if entities else 'answers'}"), t(f"rivals.{'entity' if entities else 'token'}_f1"))
    return RivalTable(model, rows, charts.axis(scale, lambda value: show(value, "points", t)) if scale else None, *words)


def _own(accuracy: Finding | None) -> dict[str, Any]:
    return {"accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high} if accuracy else {}


def outcome(gain: Finding | None) -> str:
    """Who is ahead: said only where the whole interval lies on one side of zero."""
    if gain is None or gain.low is None or gain.high is None:
        return "unknown"
    return "better" if gain.low > 0 else "worse" if gain.high < 0 else "even"


def _row(name: str, gain: Finding | None, answer: Mapping[str, Any], scale: charts.Scale | None, t: Words) -> RivalRow:
    label = t("rivals.model") if name == "model" else t.of("rival", name)
    value, spread = "", ""
    bar = None
    if gain is not None:
        value, spread = _signed(gain.value, t), interval(gain.low, gain.high, "points", t)
        if gain.value is not None and gain.low is not None and gain.high is not None and scale is not None:
            css = {"better": "pass", "worse": "fail"}.get(outcome(gain), "insufficient")
            title = t("rivals.bar", name=label, value=value, interval=spread)
            bar = charts.gain_bar(gain.value, gain.low, gain.high, scale=scale, title=title, css=css)
    return RivalRow(
        key=name,
        name=label,
        about=t.table.get(f"rival_about.{name}", ""),
        accuracy=show(answer.get("accuracy", answer.get("entity_f1", answer.get("token_f1"))), "percent", t),
        accuracy_interval=interval(answer.get("low"), answer.get("high"), "percent", t),
        auroc=show(answer.get("auroc"), "number", t),
        gain=value,
        gain_interval=spread,
        outcome=outcome(gain),
        word=t(f"rivals.{outcome(gain)}"),
        reason=reason_in(gain.reason, t) if gain is not None else "",
        bar=bar,
    )


def _signed(value: float | None, t: Words) -> str:
    text = show(value, "points", t)
    return f"+{text}" if value is not None and value > 0 else text
