"""The explanation audit: every part of it, in the order in which they measure."""

from __future__ import annotations

from trustbase.audit.context import AuditContext
from trustbase.audit.explain import influence_audit, inside_rows, rows, sanity, stability, surrogate
from trustbase.audit.explain.subject import KINDS
from trustbase.audit.measured import Part, measure_parts
from trustbase.records import Finding

PARTS: tuple[Part, ...] = (
    Part("rows", rows.METRICS, rows.row_findings, KINDS, over="drawn"),
    Part("stability", stability.METRICS, stability.stability_findings, KINDS, over="drawn"),
    Part("sanity_check", sanity.METRICS, sanity.sanity_findings, KINDS, over="drawn"),
    Part("surrogate", surrogate.METRICS, surrogate.surrogate_findings, over="drawn"),
    Part("influence", influence_audit.METRICS, influence_audit.influence_findings, influence_audit.KINDS, over="drawn"),
    Part("inside", inside_rows.METRICS, inside_rows.inside_findings, KINDS, over="drawn"),
)


def audit_any(context: AuditContext) -> list[Finding]:
    """All explanation findings, of answers of any kind; writes `evidence/explanation.json`."""
    return measure_parts(context, "explanation", PARTS, context.options.explanation.model_dump(mode="json"))
