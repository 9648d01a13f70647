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
    Part("typos", invariance.TYPO_METRICS, invariance.typo_findings, ("classes", "labels"), over="drawn"),
    Part("flips", invariance.FLIP_METRICS, invariance.flip_findings, ("classes", "labels", "number"), over="drawn"),
    Part("expectations", directional.METRICS, directional.measure_expectations, ("classes", "labels", "number"), over="drawn"),
    Part("shift", SHIFT, measure_shift, _EVERY, over="drawn"),
    Part("abstention", ABSTENTION, measure_abstention, over="every"),
    Part("conformal", CONFORMAL, measure_conformal, over="every"),
    Part("certified", certified.METRICS, certified.measure_certified, over="drawn"),
    Part("sensitivity", sensitivity.METRICS, sensitivity.measure_sensitivity, sensitivity.KINDS, over="drawn"),
    Part("attack on words", ids(), measure_words, over="drawn"),
    Part("attack on characters", ids(CHARACTERS), measure_characters, over="drawn"),
    Part("attack by gradient", ids(GRADIENT), measure_gradient, over="drawn"),
    Part("universal trigger", (TRIGGER,), measure_triggers, over="drawn"),
)


def audit_any(context: AuditContext) -> list[Finding]:
    """All robustness findings, of answers of any kind; writes `evidence/robustness.json`."""
    return measure_parts(context, "robustness", PARTS, context.options.robustness.model_dump(mode="json"))
