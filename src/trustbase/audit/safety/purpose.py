"""What the model is for and who answers for it: stated, or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustbase.audit.context import AuditContext
from trustbase.records import Finding

FIELDS = ("intended_use", "prohibited_uses", "owner", "contact")


def missing_fields(purpose: Mapping[str, Any] | None) -> list[str]:
    """The fields that say nothing."""
    return [name for name in FIELDS if not _says(purpose.get(name) if purpose is not None else None)]


def _says(value: Any) -> bool:
    parts = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(part, str) and part.strip() for part in parts)


def measure_purpose(context: AuditContext) -> list[Finding]:
    """The share of the four fields that is stated; insufficient while one is missing."""
    lacking = missing_fields(context.purpose)
    stated = 1 - len(lacking) / len(FIELDS)
    context.evidence.write("safety.purpose", {"stated": [name for name in FIELDS if name not in lacking], "missing": lacking})
    told: dict[str, Any] = {"direction": "higher", "confidence": context.confidence, "unit": "share", "n": len(FIELDS)}
    told["method"] = f"counted: fields of purpose that are stated, of {len(FIELDS)}"
    if not lacking:
        return [Finding.exact("safety.purpose", stated, **told)]
    reason = f"nothing is stated of {', '.join(map(repr, lacking))}"
    return [Finding.exact("safety.purpose", stated, status="insufficient", reason=reason, **told)]
