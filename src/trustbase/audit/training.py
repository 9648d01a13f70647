"""The efficiency audit of a base model: what its training took, and how large it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustbase.audit.counted import size_findings
from trustbase.audit.language_context import LanguageContext
from trustbase.records import Direction, Finding

_KEPT = ("training_tokens", "step", "seconds", "total_seconds", "flops", "flops_per_second", "peak_flops", "utilisation")
_SETTING = ("precision", "device", "threads")
_FLOPS = (
    "nominal: 6 operations per token and parameter outside the embedding tables, the head at predicted tokens alone, and attention; "
    "padding not counted"
)
_SECONDS = "wall time of the training, restarts and looks at held-out documents included; what a crash undid not counted"
_SOURCE = "Kaplan et al. (2020), section 2.1; Chowdhery et al. (2022), PaLM, appendix B"
_NO_RECORD = "the training left no record of it"
_NO_PEAK = "the peak of the machine was not measured"


def audit_language(context: LanguageContext) -> list[Finding]:
    """All efficiency findings of a base model; writes `evidence/training.json`.

    Each was counted or measured once, for one training, and so has no interval; energy and CO2 are time under assumptions.
    """
    training, cost = context.training, context.options.cost
    kept = {name: training.get(name) for name in (*_KEPT, *_SETTING)}
    context.evidence.write("training", {**kept, "estimate": training.get("estimate"), "assumptions": cost.model_dump()})
    flops, seconds = _number(training, "flops"), _number(training, "seconds")
    energy = None if seconds is None else seconds / 3600 * cost.watts / 1000
    carbon = None if energy is None else energy * cost.carbon_grams_per_kwh / 1000
    grid = f"assuming {cost.watts:g} W and {cost.carbon_grams_per_kwh:g} g CO2-equivalent per kWh"
    return [
        _exact(context, "training_flops", flops, unit="FLOPs", method=_FLOPS, source=_SOURCE),
        _exact(context, "training_seconds", seconds, unit="s", method=_SECONDS),
        _exact(context, "training_energy_kwh", energy, unit="kWh", method=f"assuming {cost.watts:g} W"),
        _exact(context, "training_carbon_kg", carbon, unit="kg", method=grid),
        _utilisation(context, flops, seconds),
        *size_findings(context.artifact, confidence=context.confidence)[0],
    ]


def _utilisation(context: LanguageContext, flops: float | None, seconds: float | None) -> Finding:
    """Nominal operations a second, as a share of what products of matrices reached on the same machine."""
    peak = _number(context.training, "peak_flops")
    value = None if flops is None or seconds is None or peak is None else flops / seconds / peak
    precision = context.training.get("precision", "")
    method = f"operations over time, as a share of the {peak or 0:.3g} a second that products of matrices reached here in {precision}"
    missing = _NO_PEAK if flops is not None and seconds is not None else _NO_RECORD
    return _exact(context, "model_flops_utilisation", value, missing, "higher", unit="share", method=method, source=_SOURCE)


def _exact(
    context: LanguageContext, name: str, value: float | None, missing: str = _NO_RECORD, direction: Direction = "lower", **fields: Any
) -> Finding:
    if value is None:
        return Finding.without_value(
            f"efficiency.{name}", "insufficient", missing, direction=direction, confidence=context.confidence, unit=fields["unit"]
        )
    return Finding.exact(f"efficiency.{name}", value, n=1, direction=direction, confidence=context.confidence, **fields)


def _number(training: Mapping[str, Any], name: str) -> float | None:
    """A positive number out of what the training says of itself; None where there is none: zero seconds or operations are no record."""
    value = training.get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else None
