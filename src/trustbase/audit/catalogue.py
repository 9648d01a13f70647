"""What each audit can measure: metrics, the slices they are measured on, and their variants. Imports no numbers and no torch.

One table for everybody who names a finding before it exists: the recipe's check of its gates, the reference page, the
report's words. A contract test compares it with what the audits really emit.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trustbase.finding_id import FindingId, format_slice
from trustbase.recipe.lookup import RIVALS

Form = Literal["none", "gap", "group", "label", "part"]

#: What a slice of each form looks like, for people.
FORMS: dict[Form, str] = {
    "none": "no slice",
    "gap": "[column] over one, two or all of data.groups, such as [sex] or [sex,race]",
    "group": "[column=group] within one, two or all of data.groups, such as [sex=Female]",
    "label": "[label=NAME], such as [label=yes]",
    "part": "[column=value] or [column=value,column=value], one of the five weakest parts of the test rows",
}


@dataclass(frozen=True)
class Measure:
    """One metric that an audit can emit.

    Attributes:
        form: of its slice; never more than one form.
        variants: one of these must be named; none where empty.
        by_label: whether `#LABEL` may name another label than the favourable one (tasks of more than two labels).
    """

    form: Form = "none"
    variants: tuple[str, ...] = ()
    by_label: bool = False


_WHOLE = Measure()
_GAP = Measure("gap", by_label=True)

CATALOGUE: dict[str, dict[str, Measure]] = {
    "quality": {
        **dict.fromkeys(("accuracy", "macro_f1", "micro_f1", "weighted_f1", "auroc", "auprc", "ks"), _WHOLE),
        "recall_at_fpr": Measure(variants=("0.01", "0.05")),
        **dict.fromkeys(("log_loss", "brier", "expected_calibration_error", "expected_cost"), _WHOLE),
        **dict.fromkeys((f"gain_over_{name}" for name in RIVALS), _WHOLE),
        **dict.fromkeys(("unknown_tokens", "worst_slice_accuracy"), _WHOLE),
        "slice_accuracy": Measure("part"),
        **dict.fromkeys(("precision", "recall", "f1"), Measure("label")),
    },
    "fairness": {
        **dict.fromkeys(("demographic_parity_difference", "demographic_parity_ratio", "equalized_odds_difference"), _GAP),
        **dict.fromkeys(("equal_opportunity_difference", "average_odds_difference"), _GAP),
        "accuracy_difference": Measure("gap"),
        **dict.fromkeys(("selection_rate", "accuracy", "true_positive_rate", "false_positive_rate"), Measure("group")),
        **dict.fromkeys(("positive_predictive_value", "auroc", "calibration_gap"), Measure("group")),
    },
    "efficiency": {
        **dict.fromkeys(("artifact_bytes", "parameters", "flops_per_input"), _WHOLE),
        **dict.fromkeys(("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "throughput", "startup_seconds"), _WHOLE),
        **dict.fromkeys(("peak_memory_bytes", "peak_device_bytes", "batch_invariance", "batch_label_flips"), _WHOLE),
        **dict.fromkeys(("energy_per_1000", "carbon_per_1000", "cost_per_1000"), _WHOLE),
        **dict.fromkeys(("parity_max_difference", "parity_label_flips"), _WHOLE),
    },
}


def metric_names() -> tuple[str, ...]:
    """Every `dimension.metric` that some audit can emit, in the order of the table."""
    return tuple(f"{dimension}.{metric}" for dimension, metrics in CATALOGUE.items() for metric in metrics)


def measure_of(id: FindingId) -> Measure | None:
    """The entry of a finding; None where no audit of this version measures it."""
    return CATALOGUE.get(id.dimension, {}).get(id.metric)


def why_never(id: FindingId, groups: Sequence[str]) -> tuple[str, str] | None:
    """Why no audit will ever emit this finding, and what to write instead; None where one can.

    Args:
        id: the finding that somebody asks for.
        groups: the group columns, in recipe order.
    """
    measure = measure_of(id)
    name = f"{id.dimension}.{id.metric}"
    if measure is None:
        near = difflib.get_close_matches(name, metric_names(), n=1)
        known = ", ".join(CATALOGUE.get(id.dimension, CATALOGUE))
        return f"'{name}' is no finding that this version measures", f"did you mean '{near[0]}'?" if near else f"known: {known}"
    if id.dataset:
        return f"no audit of this version measures on another data set, and this names @{id.dataset}", f"remove @{id.dataset}"
    return _wrong_variant(id, measure) or _wrong_slice(id, measure, groups)


def _wrong_variant(id: FindingId, measure: Measure) -> tuple[str, str] | None:
    name = f"{id.dimension}.{id.metric}"
    if measure.variants:
        if id.variant not in measure.variants:
            return (
                f"{name} is measured as {', '.join('#' + variant for variant in measure.variants)}",
                f"write {name}#{measure.variants[0]}",
            )
    elif id.variant and not measure.by_label:
        return f"{name} has no variants, and this names #{id.variant}", f"remove #{id.variant}"
    return None


def _wrong_slice(id: FindingId, measure: Measure, groups: Sequence[str]) -> tuple[str, str] | None:
    name, form = f"{id.dimension}.{id.metric}", measure.form
    columns, values = [column for column, _ in id.slice], [value for _, value in id.slice]
    wanted = f"{name} is measured with {FORMS[form]}"
    if form == "none":
        return (wanted, f"write {name}") if id.slice else None
    if form == "label":
        return None if columns == ["label"] and values[0] is not None else (wanted, f"write {name}[label=NAME]")
    if form == "part":
        return None if 1 <= len(columns) <= 2 and None not in values else (wanted, f"write {name}[column=value]")
    if not groups:
        return f"{name} compares groups, and data.groups names none", "name the columns in data.groups, or remove this"
    fits = id.slice and (all(value is None for value in values) if form == "gap" else None not in values)
    if not fits:
        column = columns[0] if columns and columns[0] in groups else groups[0]
        return wanted, f"write {name}[{format_slice(((column, None if form == 'gap' else 'NAME'),))}]"
    return _wrong_columns(columns, groups)


def _wrong_columns(columns: Sequence[str], groups: Sequence[str]) -> tuple[str, str] | None:
    """Columns that are no groups, or a combination that is not measured."""
    for column in columns:
        if column not in groups:
            near = difflib.get_close_matches(column, groups, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"data.groups: {list(groups)}"
            return f"speaks of group column '{column}', which data.groups does not name", hint
    ordered = [column for column in groups if column in columns]
    if list(columns) != ordered:
        return "names its group columns twice, or not in the order of data.groups", f"write them as {', '.join(ordered)}"
    if len(columns) > 2 and len(columns) < len(groups):
        return f"combines {len(columns)} of {len(groups)} group columns; measured are single columns, pairs, and all of them", "name fewer"
    return None
