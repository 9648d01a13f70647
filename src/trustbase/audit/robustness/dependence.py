"""What the measures of dependence share: their unit, and squared changes as findings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext
from trustbase.audit.stats import mean
from trustbase.records import Finding

Floats = NDArray[np.float64]
INPUTS = "robustness.sensitivity"
PARAMETERS, PRECISION, TRAINING = (f"{INPUTS}#{name}" for name in ("parameters", "precision", "training"))
_UNITS = {"classes": "squared points", "labels": "squared points", "number": "squared hundredths of the spread"}


def unit_of(context: AuditContext) -> str:
    """The unit of every measure of dependence on this kind of answer."""
    return _UNITS[context.artifact.answer_kind] if context.artifact is not None else ""


def places_of(context: AuditContext, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whose score moves: of classes the shipped answer's, `(rows,)`; of a number its only one."""
    assert context.artifact is not None
    classes = context.artifact.answer_kind == "classes"
    return context.answers.predicted[rows].astype(np.int64) if classes else np.zeros(len(rows), dtype=np.int64)


def bounded(context: AuditContext, values: Floats) -> dict[str, float]:
    """A mean over rows with its bounds, of which none is below 0, as evidence."""
    told = mean(values, confidence=context.confidence)
    return {"value": told.value, "low": min(max(told.low, 0.0), told.value), "high": told.high}


def measured(context: AuditContext, id: str, values: Floats, method: str, source: str) -> Finding:
    """The mean of squared changes `(rows,)`, in the unit of the findings."""
    told = mean(values, confidence=context.confidence)
    low = min(max(told.low, 0.0), told.value)
    made = replace(told, low=low).finding(id, direction="lower", confidence=context.confidence, unit=unit_of(context), seed=context.seed)
    return replace(made, method=f"{method}; {told.method}", source=source or told.source)


def unmeasured(context: AuditContext, id: str, status: Any, reason: str) -> Finding:
    """A measure of dependence without a number."""
    return Finding.without_value(id, status, reason, direction="lower", confidence=context.confidence)
