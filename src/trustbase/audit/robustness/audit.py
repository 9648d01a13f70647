"""The robustness audit: every part of it, in the order in which they measure."""

from __future__ import annotations

from trustbase.audit.context import AuditContext
from trustbase.audit.measured import Part, measure_parts
from trustbase.records import Finding

PARTS: tuple[Part, ...] = ()


def audit_any(context: AuditContext) -> list[Finding]:
    """All robustness findings, of answers of any kind; writes `evidence/robustness.json`."""
    return measure_parts(context, "robustness", PARTS, context.options.robustness.model_dump(mode="json"))
