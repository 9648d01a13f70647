"""The safety audit: every part of it, in the order in which they measure."""

from __future__ import annotations

from typing import Any

from trustbase.audit.context import AuditContext
from trustbase.audit.measured import Part, measure_parts
from trustbase.audit.safety.backdoor import measure_backdoor
from trustbase.audit.safety.extraction import measure_extraction
from trustbase.audit.safety.forbidden import measure_forbidden
from trustbase.audit.safety.leaked import measure_leaked
from trustbase.audit.safety.mislabelled import measure_mislabelled
from trustbase.audit.safety.purpose import measure_purpose
from trustbase.audit.safety.scan import ids
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import Finding

_ANY = tuple(ANSWER_KINDS)

PARTS: tuple[Part, ...] = (
    Part("purpose", ("safety.purpose",), measure_purpose, _ANY),
    Part("leakage", ("safety.leaked_rows", "safety.leaked_rows#near"), measure_leaked, _ANY),
    Part(
        "forbidden_outputs",
        ("safety.forbidden_outputs", "safety.forbidden_outputs#probes"),
        measure_forbidden,
        ("classes", "labels", "tokens", "span"),
        over="every",
    ),
    Part("backdoor", ids(), measure_backdoor, over="drawn"),
    Part("mislabelled_rows", ("safety.mislabelled_rows",), measure_mislabelled),
    Part("extraction", ("safety.extraction_agreement",), measure_extraction, over="drawn"),
)


def audit_any(context: AuditContext) -> list[Finding]:
    """All safety findings, of answers of any kind; writes `evidence/safety.json`."""
    budget: dict[str, Any] = context.options.safety.model_dump(mode="json")
    policy = context.forbidden
    budget["policy"] = None if policy is None else {"file": policy.file, "digest": policy.digest}  # no place on somebody's machine
    return measure_parts(context, "safety", PARTS, budget)
