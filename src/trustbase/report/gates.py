"""The verdict in one sentence, and each gate with the reason for what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from trustbase.gate.limits import read_gate
from trustbase.records import Finding, GateResult, Verdict
from trustbase.report import charts
from trustbase.report.formats import Kind, interval, kind_of, show
from trustbase.report.material import Material
from trustbase.report.reasons import reason_in
from trustbase.report.words import Words

_LIMIT_WORDS = {">=": "limit.at_least", "<=": "limit.at_most", ">": "limit.above", "<": "limit.below"}
_ZOOMED = ("percent", "number", "magnitude", "other")  # their zero is far away, and an interval drawn from it would be a dot
_UNIT_BOUNDS: dict[Kind, tuple[float | None, float | None]] = {
    "percent": (0, 1),
    "points": (None, 1),
    "ratio": (0, None),
    "ms": (0, None),
    "bytes": (0, None),
    "magnitude": (0, None),
    "duration": (0, None),
    "flops": (0, None),
    "energy": (0, None),
}


@dataclass(frozen=True)
class GateRow:
    """One row of the gates table, in words."""

    id: str
    name: str
    about: str
    limit: str
    value: str
    interval: str
    n: str
    verdict: str  # pass | fail | insufficient
    word: str
    reason: str
    recorded: str
    bar: Markup | None


@dataclass(frozen=True)
class Headline:
    """What a reader knows after ten seconds."""

    state: str  # pass | fail | insufficient | open; colours and signs
    word: str
    sentence: str
    counts: str


def gate_rows(material: Material, t: Words) -> list[GateRow]:
    """Every gate, those that did not pass first."""
    gates = material.verdict.gates if material.verdict else ()
    order = {"fail": 0, "insufficient": 1, "pass": 2}
    return [_row(gate, material, t) for gate in sorted(gates, key=lambda gate: order.get(gate.verdict, 1))]


def headline(material: Material, t: Words) -> Headline:
    """The verdict and why, in one sentence."""
    verdict = material.verdict
    if verdict is None:
        bad = any(note.startswith("verdict.json") for note in material.unreadable)
        limits = material.policy.get("gates") or material.policy.get("limits")
        sentence = t("verdict.bad_verdict") if bad else t("verdict.no_verdict") if limits else t("verdict.no_gates")
        return Headline("open", t("verdict.open"), sentence, "")
    tally = {word: sum(gate.verdict == word for gate in verdict.gates) for word in ("pass", "fail", "insufficient")}
    counts = t("verdict.counts", passed=tally["pass"], failed=tally["fail"], insufficient=tally["insufficient"])
    if not verdict.gates and not material.decides:
        return Headline("open", t("verdict.open"), t("verdict.no_gates"), "")
    word = {(True, True): "released", (True, False): "refused", (False, True): "met", (False, False): "missed"}[
        material.decides, verdict.released
    ]
    state = "pass" if verdict.released else "fail" if tally["fail"] or not tally["insufficient"] else "insufficient"
    if verdict.released:
        return Headline(state, t(f"verdict.{word}"), t.count("verdict.why_released", len(verdict.gates)), counts)
    return Headline(state, t(f"verdict.{word}"), _why_not(verdict, material, t), counts)


def _why_not(verdict: Verdict, material: Material, t: Words) -> str:
    blocking = [gate for gate in verdict.gates if gate.verdict == "fail"] or [gate for gate in verdict.gates if gate.verdict != "pass"]
    if not verdict.gates:
        return t("verdict.no_gates_run")
    if not blocking:
        return t("verdict.set_after") if material.audit.policy_set_before is False else verdict.reason or t("verdict.refused_elsewhere")
    key = "verdict.why_failed" if blocking[0].verdict == "fail" else "verdict.why_unsettled"
    row = _row(blocking[0], material, t, long=True)
    if row.value == "–":
        first = t("verdict.because_missing", name=row.name)
    else:
        because = "verdict.because_value" if row.interval else "verdict.because_counted"
        first = t(because, name=row.name, value=row.value, interval=row.interval, limit=row.limit)
    return t.count(key, len(verdict.gates), failed=len(blocking), first=first)


def _row(gate: GateResult, material: Material, t: Words, *, long: bool = False) -> GateRow:
    read = read_gate(gate.gate)
    id, sign, limit = (read.id, read.operator, read.limit) if read else (gate.gate, "", None)
    finding = material.find(id)
    unit = finding.unit if finding else ""
    try:
        kind, name, about = kind_of(id, unit), t.finding(id), t.metric_about(id)
    except ValueError:  # a gate on something that is no finding id is shown as it is written
        kind, name, about = "other", id, ""
    shown = show(gate.value, kind, t, unit=unit, long=long)
    limit_number = "–" if limit is None else show(limit, kind, t, unit=unit, long=long)
    limit_text = t(_LIMIT_WORDS[sign], limit=limit_number) if sign else gate.gate
    word = t.of("verdict", gate.verdict)
    bar = None
    if limit is not None and gate.value is not None:
        scale = charts.scale_over(
            (gate.value, gate.low, gate.high),
            include=[limit] if kind in _ZOOMED else [limit, 0.0],
            bounds=_UNIT_BOUNDS.get(kind, (None, None)),
        )
        title = t("gates.bar", name=name, value=shown, limit=limit_text, verdict=word)
        upwards = sign.startswith(">")
        bar = charts.limit_bar(
            gate.value,
            gate.low,
            gate.high,
            limit=limit,
            upwards=upwards,
            scale=scale,
            css=gate.verdict,
            title=title,
            limit_text=limit_number,
        )
    return GateRow(
        id=gate.gate,
        name=name,
        about=about,
        limit=limit_text,
        value=shown,
        interval=interval(gate.low, gate.high, kind, t, unit=unit, bare=long),
        n=f"{gate.n:,}" if gate.n is not None else "",
        verdict=gate.verdict,
        word=word,
        reason=_reason(gate, sign, limit, kind, t, unit, rows=not material.pretrained),
        recorded=reason_in(_recorded(gate, finding), t),
        bar=bar,
    )


def _reason(gate: GateResult, sign: str, limit: float | None, kind: Kind, t: Words, unit: str, *, rows: bool) -> str:
    """Why the gate came out so, in the reader's language, from its numbers alone; `rows` says that `n` counts test rows."""
    if gate.value is None:
        return t("gates.reason_missing")
    if gate.judge == "value" and gate.verdict != "insufficient":
        return t(f"gates.reason_value_{gate.verdict}")
    if gate.low is None or gate.high is None:
        return t("gates.reason_missing")
    if gate.verdict == "insufficient":
        if limit is None or not gate.low <= limit <= gate.high:
            return t("gates.reason_unusable")
        return t.count("gates.reason_straddle", gate.n) if gate.n and rows else t("gates.reason_straddle_plain")
    if gate.low == gate.high:
        return t(f"gates.reason_counted_{gate.verdict}")
    upwards = sign.startswith(">")
    weaker, better = (gate.low, gate.high) if upwards else (gate.high, gate.low)
    return t(f"gates.reason_{gate.verdict}", end=show(weaker if gate.verdict == "pass" else better, kind, t, unit=unit))


def _recorded(gate: GateResult, finding: Finding | None) -> str:
    """What the record adds that the numbers do not say: why a number is missing, or which groups were left out of it."""
    if finding is not None and finding.reason:
        return finding.reason
    straddles = gate.low is not None and gate.high is not None and gate.value is not None
    return "" if straddles else gate.reason
