"""The safety audit: every part of it, in the order in which they measure."""

from __future__ import annotations

from trustbase.audit.context import AuditContext
from trustbase.audit.measured import Part, measure_parts
from trustbase.records import Finding

PARTS: tuple[Part, ...] = ()


def audit_any(context: AuditContext) -> list[Finding]:
    """All safety findings, of answers of any kind; writes `evidence/safety.json`."""
    return measure_parts(context, "safety", PARTS, context.options.safety.model_dump(mode="json"))
