"""The explanation audit: every part of it, in the order in which they measure."""

from __future__ import annotations

from trustbase.audit.context import AuditContext
from trustbase.audit.measured import Part, measure_parts
from trustbase.records import Finding

PARTS: tuple[Part, ...] = ()


def audit_any(context: AuditContext) -> list[Finding]:
    """All explanation findings, of answers of any kind; writes `evidence/explanation.json`."""
    return measure_parts(context, "explanation", PARTS, context.options.explanation.model_dump(mode="json"))
