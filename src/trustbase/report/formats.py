"""How a measured number is written: percent, percentage points, milliseconds, bytes, and the like.

A metric's kind fixes its form; a metric nobody listed here falls back to its finding's unit.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from trustbase import finding_id
from trustbase.finding_id import NOTHING
from trustbase.report.words import Words

Kind = Literal[
    "percent",
    "points",
    "ratio",
    "number",
    "ms",
    "seconds",
    "bytes",
    "count",
    "per_second",
    "flops",
    "money",
    "energy",
    "difference",
    "magnitude",
    "bits",
    "duration",
    "other",
]

_PERCENT = "accuracy macro_f1 micro_f1 weighted_f1 precision recall f1 macro_precision macro_recall unknown_tokens truncated ks"
_MORE_PERCENT = "exact_match hamming_loss interval_coverage entity_f1 entity_precision entity_recall unread_units"
_RELATION_PERCENT = "relation_f1 relation_precision relation_recall"
_OF_ANSWERS = "token_f1 has_answer_token_f1 has_answer_exact_match no_answer_accuracy"  # that are parts of texts
_FAIR_PERCENT = "accuracy base_rate selection_rate true_positive_rate false_positive_rate positive_predictive_value"
_MORE_FAIR_PERCENT = "exact_match interval_coverage entity_f1 entity_recall token_f1"
_OF_BASE = "masked token next_sentence sentence_order span_corruption infilling replaced contrastive probe"  # accuracies of a base model
_POINTS = "demographic_parity_difference equalized_odds_difference equal_opportunity_difference average_odds_difference accuracy_difference"
_MORE_POINTS = "exact_match_difference interval_coverage_difference entity_f1_difference entity_recall_difference token_f1_difference"
_OF_NUMBERS = "rmse mae interval_width slice_mae worst_slice_mae"  # in the label's unit, whatever its name may mean elsewhere
_GROUPED_NUMBERS = "mae mean_error mean_prediction"
_OF_ATTACKS = "after_attack_accuracy after_attack_accuracy_filtered attack_words_changed universal_trigger_flips"
_SHARES = ("", "accuracy", "exact match", "entity F1", "token F1")  # units of gains that are differences of shares

KINDS: dict[str, Kind] = {
    **{f"quality.{name}": "percent" for name in f"{_PERCENT} {_MORE_PERCENT} {_RELATION_PERCENT} {_OF_ANSWERS}".split()},
    **{f"fairness.{name}": "percent" for name in f"{_FAIR_PERCENT} {_MORE_FAIR_PERCENT}".split()},
    **{f"fairness.{name}": "points" for name in f"{_POINTS} {_MORE_POINTS}".split()},
    **{f"quality.{name}": "other" for name in _OF_NUMBERS.split()},
    **{f"fairness.{name}{end}": "other" for name in _GROUPED_NUMBERS.split() for end in ("", "_difference")},
    "quality.r2": "number",
    **{f"quality.{name}_accuracy": "percent" for name in _OF_BASE.split()},
    "quality.perplexity": "magnitude",
    "quality.contamination": "percent",
    "privacy.canary_exposure": "bits",
    "robustness.ood_auroc": "number",
    **{f"robustness.{name}": "percent" for name in ("aurc", "selective_risk", "selective_coverage", "conformal_coverage")},
    "robustness.conformal_coverage_difference": "points",
    "robustness.conformal_set_size": "number",
    **{f"robustness.{name}": "percent" for name in _OF_ATTACKS.split()},
    "robustness.attack_queries": "number",
    **{
        f"safety.{name}": "percent"
        for name in ("purpose", "leaked_rows", "forbidden_outputs", "mislabelled_rows", "extraction_agreement", "backdoor_score")
    },
    "quality.recall_at_fpr": "percent",
    "quality.worst_slice_accuracy": "percent",
    "quality.weak_slices": "count",
    "quality.expected_calibration_error": "points",
    "quality.auroc": "number",
    "quality.auprc": "number",
    "quality.log_loss": "number",
    "quality.brier": "number",
    "quality.expected_cost": "number",
    "fairness.auroc": "number",
    "fairness.calibration_gap": "points",
    "fairness.expected_calibration_error": "points",
    "fairness.demographic_parity_ratio": "ratio",
    "robustness.accuracy_under_typos": "percent",
    "robustness.accuracy_drop_under_typos": "points",
    "robustness.prediction_flips": "percent",
    "robustness.expectation_failures": "percent",
    "efficiency.latency_p50_ms": "ms",
    "efficiency.latency_p95_ms": "ms",
    "efficiency.latency_p99_ms": "ms",
    "efficiency.throughput": "per_second",
    "efficiency.artifact_bytes": "bytes",
    "efficiency.peak_memory_bytes": "bytes",
    "efficiency.parameters": "count",
    "efficiency.flops_per_input": "flops",
    "efficiency.batch_invariance": "difference",
    "efficiency.parity_max_difference": "difference",
    "efficiency.parity_label_flips": "percent",
    "efficiency.batch_label_flips": "percent",
    "efficiency.peak_device_bytes": "bytes",
    "efficiency.startup_seconds": "seconds",
    "efficiency.energy_per_1000": "energy",
    "efficiency.carbon_per_1000": "energy",
    "efficiency.cost_per_1000": "money",
    "efficiency.training_flops": "flops",
    "efficiency.training_seconds": "duration",
    "efficiency.training_energy_kwh": "energy",
    "efficiency.training_carbon_kg": "energy",
    "efficiency.model_flops_utilisation": "percent",
}

_BY_UNIT: dict[str, Kind] = {
    "%": "percent",
    "share": "percent",
    "proportion": "percent",
    "ms": "ms",
    "s": "seconds",
    "seconds": "seconds",
    "bytes": "bytes",
    "FLOPs": "flops",
    "flops": "flops",
    "parameters": "count",
    "count": "count",
    "Wh": "energy",
    "g": "energy",
    "inputs/s": "per_second",
    "USD": "money",
    "EUR": "money",
    "CNY": "money",
}


def kind_of(id: str, unit: str = "") -> Kind:
    """The kind of number that a finding id stands for."""
    parts = finding_id.parse(id)
    if parts.metric.startswith("gain_over_"):
        return "points" if unit in _SHARES else "other"
    return KINDS.get(f"{parts.dimension}.{parts.metric}") or _BY_UNIT.get(unit, "other")


def show(value: float | None, kind: Kind, t: Words, *, unit: str = "", long: bool = False) -> str:
    """A number in words; an absent one is a dash. `long` spells out units that a reader may not know."""
    if value is None:
        return "–"
    if kind == "percent":
        return t("unit.percent", value=_decimals(100 * value, 1))
    if kind == "points":
        return t("unit.points_long" if long else "unit.points", value=_decimals(100 * value, 1))
    if kind == "bytes":
        return _scaled(value, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)), "B")
    if kind == "flops":
        return _scaled(value, (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6)), "FLOP")
    if kind == "count":
        return f"{value:,.0f}"
    if kind == "ms":
        return t("unit.ms", value=_significant(value))
    if kind == "seconds":
        return t("unit.seconds", value=_significant(value))
    if kind == "per_second":
        return t("unit.per_second", value=_significant(value))
    if kind == "money":
        return f"{_significant(value)} {unit.split('/')[0].split(' ')[0] or 'USD'}".strip()
    if kind == "energy":
        return f"{_significant(value)} {unit or 'Wh'}"
    if kind == "bits":
        return t("unit.bits", value=_significant(value))
    if kind == "duration":
        return _duration(value, t)
    if kind == "magnitude":
        return _minus(_significant(value))
    if kind == "difference":
        return "0" if value == 0 else f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.4f}"
    if kind == "ratio":
        return f"{value:.2f}"
    return f"{_plain(value)} {t.of('unit_name', unit)}".strip() if kind == "other" else _plain(value)


def tick(value: float, kind: Kind, t: Words) -> str:
    """A number under an axis: as short as it can be."""
    if kind in ("percent", "points"):
        return t(f"unit.{kind}", value=_minus(f"{100 * value:.0f}"))
    return _minus(f"{value:,.6g}") if kind == "other" else show(value, kind, t)


def interval(low: float | None, high: float | None, kind: Kind, t: Words, *, unit: str = "", bare: bool = False) -> str:
    """`84.1 to 85.3 %`; empty where nothing was sampled or nothing was measured. `bare` leaves out the unit."""
    if low is None or high is None or low == high:
        return ""
    if kind in ("percent", "points"):
        span = t("interval.range", low=_decimals(100 * low, 1), high=_decimals(100 * high, 1))
        return span if bare else t(f"unit.{kind}", value=span)
    if kind == "other" and unit:
        span = t("interval.range", low=_plain(low), high=_plain(high))
        return span if bare else f"{span} {t.of('unit_name', unit)}"
    if kind in ("ms", "seconds", "per_second", "bits"):
        return t(f"unit.{kind}", value=t("interval.range", low=_significant(low), high=_significant(high)))
    return t("interval.range", low=show(low, kind, t, unit=unit), high=show(high, kind, t, unit=unit))


def _decimals(value: float, places: int) -> str:
    """A fixed number of places, more where rounding would hide a value that is not zero, and never `-0.0`."""
    if 0 < abs(value) < 0.1:
        return _minus(f"{value:.2f}") if abs(value) >= 0.005 else _minus(f"{value:.1g}") if abs(value) > 1e-4 else f"{0:.{places}f}"
    return _minus(f"{value:,.{places}f}")


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text


def _plain(value: float) -> str:
    if abs(value) < NOTHING:
        return "0"
    if value != 0 and (abs(value) >= 1e6 or abs(value) < 5e-4):
        return _minus(f"{value:.2e}")
    return _minus(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}")


def _significant(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{Decimal(f'{value:.2g}'):f}"


def compact(value: float) -> str:
    """A count for an axis or a strip of facts: `5.2M`."""
    for name, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:  # three digits would round it up to the next unit
            return f"{value / size:.3g}{name}"
    return f"{value:,.0f}"


def _duration(seconds: float, t: Words) -> str:
    """Seconds, minutes, hours or days, whichever is read most easily."""
    for word, size in (("days", 172_800.0), ("hours", 7200.0), ("minutes", 120.0)):
        if abs(seconds) >= size:
            return t(f"unit.{word}", value=_significant(seconds / {"days": 86_400.0, "hours": 3600.0, "minutes": 60.0}[word]))
    return t("unit.seconds", value=_significant(seconds))


def _scaled(value: float, steps: tuple[tuple[str, float], ...], base: str) -> str:
    for name, size in steps:
        if abs(value) >= size:
            return f"{_significant(value / size)} {name}"
    return f"{value:,.0f} {base}"
