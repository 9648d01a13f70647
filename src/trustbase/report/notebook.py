"""Small HTML faces of records for notebooks. Everything is escaped; no style sheet, no script, no request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from trustbase.report.formats import interval, kind_of, show
from trustbase.report.reasons import reason_in
from trustbase.report.words import Words, words

if TYPE_CHECKING:
    from trustbase.records import AuditReport, Finding, GateResult, Verdict

_MOST_ROWS = 60
_SIGNS = {"pass": "✓", "fail": "✗", "insufficient": "?"}


def finding_html(finding: Finding, *, lang: str = "en") -> str:
    """One finding as a table of one row."""
    t = words(lang)
    return _table(_finding_heads(t), [_finding_cells(finding, t)])


def audit_html(audit: AuditReport, *, lang: str = "en") -> str:
    """An audit: how many findings, and the first of them (those of single groups last)."""
    t = words(lang)
    count = t.count("face.summary", len(audit.findings))
    missing = sum(finding.status != "ok" for finding in audit.findings)
    if missing:
        count += t("list.items") + t.count("face.without", missing)
    ordered = sorted(audit.findings, key=lambda finding: any(group is not None for _, group in finding.parts.slice))
    table = _table(_finding_heads(t), [_finding_cells(finding, t) for finding in ordered[:_MOST_ROWS]])
    rest = len(ordered) - _MOST_ROWS
    more = Markup("<p>{}</p>").format(t.count("unmeasured.more", rest)) if rest > 0 else ""
    return Markup("<p><strong>{}</strong> · {}</p>{}{}").format(t("face.audit"), count, Markup(table), more)


def verdict_html(verdict: Verdict, *, lang: str = "en") -> str:
    """A verdict: the word, then every gate, those that did not pass first."""
    t = words(lang)
    word = t("verdict.released") if verdict.released else t("verdict.refused")
    heads = [t("gates.verdict"), t("gates.measure"), t("gates.value"), t("table.interval"), t("table.rows"), t("gates.reason")]
    gates = sorted(verdict.gates, key=lambda gate: gate.verdict == "pass")
    table = _table(heads, [_gate_cells(gate, t) for gate in gates]) if gates else ""
    reason = Markup("<p>{}</p>").format(reason_in(verdict.reason, t)) if verdict.reason else ""
    return Markup("<p><strong>{}</strong></p>{}{}").format(word, reason, Markup(table))


def page_html(page: str) -> str:
    """A whole report inside a frame of its own, so that its style sheet does not reach the notebook around it."""
    frame = '<iframe srcdoc="{}" sandbox="allow-scripts" width="100%" height="900" title="Trustbase" loading="lazy"></iframe>'
    return Markup(frame).format(page)


def _finding_heads(t: Words) -> list[str]:
    return [t("face.finding"), t("table.value"), t("table.interval"), t("table.rows"), t("table.status")]


def _finding_cells(finding: Finding, t: Words) -> list[str]:
    kind = kind_of(finding.id, finding.unit)
    n = f"{finding.n:,}" if finding.n is not None else ""
    status = t.of("status", finding.status)
    if finding.reason:
        status = t("label.colon", label=status) + reason_in(finding.reason, t)
    spread = interval(finding.low, finding.high, kind, t, unit=finding.unit)
    return [f"{t.finding(finding.id)} ({finding.id})", show(finding.value, kind, t, unit=finding.unit), spread, n, status]


def _gate_cells(gate: GateResult, t: Words) -> list[str]:
    id = gate.gate.split(" ")[0]
    try:
        kind = kind_of(id)
    except ValueError:  # a gate on something that is no finding id
        kind = "other"
    n = f"{gate.n:,}" if gate.n is not None else ""
    word = f"{_SIGNS.get(gate.verdict, '')} {t.of('verdict', gate.verdict)}"
    return [word, gate.gate, show(gate.value, kind, t), interval(gate.low, gate.high, kind, t), n, reason_in(gate.reason, t)]


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
