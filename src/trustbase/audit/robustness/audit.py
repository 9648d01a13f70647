"""The robustness audit: every part of it, in the order in which they measure."""

from __future__ import annotations

from trustbase.audit.context import AuditContext
from trustbase.audit.measured import Part, measure_parts
from trustbase.audit.robustness import certified, directional, invariance, sensitivity
from trustbase.audit.robustness.abstention import METRICS as ABSTENTION
from trustbase.audit.robustness.abstention import measure_abstention
from trustbase.audit.robustness.attacked import ids
from trustbase.audit.robustness.conformal import METRICS as CONFORMAL
from trustbase.audit.robustness.conformal import measure_conformal
from trustbase.audit.robustness.gradient_swap import VARIANT as GRADIENT
from trustbase.audit.robustness.gradient_swap import measure_gradient
from trustbase.audit.robustness.shift import METRICS as SHIFT
from trustbase.audit.robustness.shift import measure_shift
from trustbase.audit.robustness.spelling import VARIANT as CHARACTERS
from trustbase.audit.robustness.spelling import measure_characters
from trustbase.audit.robustness.triggers import ID as TRIGGER
from trustbase.audit.robustness.triggers import measure_triggers
from trustbase.audit.robustness.words_attack import measure_words
from trustbase.records import Finding

_EVERY = ("classes", "labels", "number", "tokens", "span")

PARTS: tuple[Part, ...] = (
    Part("typos", invariance.TYPO_METRICS, invariance.typo_findings, ("classes", "labels")),
    Part("flips", invariance.FLIP_METRICS, invariance.flip_findings, ("classes", "labels", "number")),
    Part("expectations", directional.METRICS, directional.measure_expectations, ("classes", "labels", "number")),
    Part("shift", SHIFT, measure_shift, _EVERY),
    Part("abstention", ABSTENTION, measure_abstention),
    Part("conformal", CONFORMAL, measure_conformal),
    Part("certified", certified.METRICS, certified.measure_certified),
    Part("sensitivity", sensitivity.METRICS, sensitivity.measure_sensitivity, sensitivity.KINDS),
    Part("attack on words", ids(), measure_words),
    Part("attack on characters", ids(CHARACTERS), measure_characters),
    Part("attack by gradient", ids(GRADIENT), measure_gradient),
    Part("universal trigger", (TRIGGER,), measure_triggers),
)


def audit_any(context: AuditContext) -> list[Finding]:
    """All robustness findings, of answers of any kind; writes `evidence/robustness.json`."""
    return measure_parts(context, "robustness", PARTS, context.options.robustness.model_dump(mode="json"))
