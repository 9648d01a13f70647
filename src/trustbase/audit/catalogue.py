"""What each audit can measure: metrics, the slices they are measured on, and their variants. Imports no numbers and no torch.

One table for everybody who names a finding before it exists: the recipe's check of its gates, the reference page, the
report's words. A contract test compares it with what the audits really emit.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trustbase.finding_id import OUT_OF_TIME, FindingId, format_slice
from trustbase.recipe.lookup import ANSWER_KINDS, PERTURBATIONS, RIVALS

Form = Literal["none", "gap", "group", "label", "part", "set"]

#: What a slice of each form looks like, for people.
FORMS: dict[Form, str] = {
    "none": "no slice",
    "gap": "[column] over one, two or all of data.groups, such as [sex] or [sex,race]",
    "group": "[column=group] within one, two or all of data.groups, such as [sex=Female]",
    "label": "[label=NAME], such as [label=yes]",
    "part": "[column=value] or [column=value,column=value], one of the five weakest parts of the test rows",
    "set": "[NAME] of a set of texts: a set of sentence pairs, a probe or a test set of the recipe, such as [gender_zh]",
}

#: Sets of sentence pairs that come with this version (`audit/pairs/NAME.yaml`).
PAIR_SETS = ("gender_en", "age_en", "religion_en", "gender_zh", "age_zh", "region_zh")

#: The variant of a finding that speaks of a training's seeds, in place of rows: what an ensemble's members reach, each by itself.
SEEDS = "seeds"

#: The variant of what is measured of relations between entities that a model found, in place of entities that people marked.
END_TO_END = "end-to-end"

#: What tells inputs of another kind, and the kinds that are made where none are given (`audit.robustness.foreign`).
OOD_SCORES = ("knn", "mahalanobis", "energy")
SHIFTS = ("other-subject", "other-language", "random", "shuffled")

#: Shares of rows that are to be answered where a model abstains from the others.
ANSWERED_SHARES = ("0.80", "0.90", "0.95")

#: Expectations of how an answer moves that every audit looks at; a recipe may name more (`audit.robustness.expectations`).
EXPECTATIONS = ("negation", "intensifier")

#: Attacks beside the one on words, as variants of its findings.
ATTACKS = ("characters", "gradient")

#: What becomes of an entity, and of a relation between entities that a model found: rows of the evidence's tables of errors.
Fate = Literal["correct", "wrong_type", "wrong_boundary", "wrong_both", "missed", "spurious"]
ENTITY_FATES: tuple[Fate, ...] = ("correct", "wrong_type", "wrong_boundary", "wrong_both", "missed", "spurious")
RELATION_FATES = ("correct", "no_entity", "boundary", "type", "wrong_relation", "no_relation")

#: What is measured of, by answer kind, for people.
_OF = {name: kind.of for name, kind in ANSWER_KINDS.items()} | {"language": "a base model"}


@dataclass(frozen=True)
class Measure:
    """One metric that an audit can emit.

    Attributes:
        form: of its slice; never more than one form.
        variants: one of these must be named; none where empty.
        further: variants that are measured beside the finding without one.
        by_label: whether `#LABEL` may name another label than the favourable one (tasks of more than two labels).
        kinds: answer kinds of the models that it is measured of.
        sets: which sets a slice may name; any, where empty.
        within: whether it is measured of each group too, [column=group], beside the finding without a slice.
        neutral: whether it is measured only where a label says that nothing holds (`data.no_relation`).
        open: whether a variant may also be a name that the recipe's own files give.
        of_a_label: whether it speaks of one label, which of a question with choices would be a place among them: never measured there.
    """

    form: Form = "none"
    variants: tuple[str, ...] = ()
    further: tuple[str, ...] = ()
    by_label: bool = False
    kinds: tuple[str, ...] = ("classes",)
    sets: tuple[str, ...] = ()
    within: bool = False
    neutral: bool = False
    open: bool = False
    of_a_label: bool = False


_BASE = ("language",)
_WHOLE = Measure()
_OF_BASE = Measure(kinds=_BASE)
_SET = Measure("set", kinds=_BASE)
_PAIRS = Measure("set", kinds=_BASE, sets=PAIR_SETS)
_GAP = Measure("gap", by_label=True, kinds=("classes", "labels"), of_a_label=True)
_RATE = Measure("group", of_a_label=True)
_LABELS, _NUMBER, _TOKENS, _SPAN = ("labels",), ("number",), ("tokens",), ("span",)
_ANSWERED = tuple(ANSWER_KINDS)
_OF_ANY = Measure(kinds=_ANSWERED)
_EXPLAINED = ("classes", "labels", "number")
_OF_EXPLAINED = Measure(kinds=_EXPLAINED)
_INSIDE = ("integrated_gradients", "attention_relevance")  # variants: explained by these, of the torch weights
_FAITHFUL = ("comprehensiveness", "sufficiency", "deletion_auc", "insertion_auc")

CATALOGUE: dict[str, dict[str, Measure]] = {
    "quality": {
        "accuracy": Measure(further=(SEEDS,)),
        **dict.fromkeys(("weighted_f1", "auroc", "auprc", "ks"), _WHOLE),
        **dict.fromkeys(("macro_f1", "micro_f1"), Measure(kinds=("classes", *_LABELS))),
        **dict.fromkeys(("relation_f1", "relation_precision", "relation_recall"), Measure(neutral=True, further=(END_TO_END,))),
        "recall_at_fpr": Measure(variants=("0.01", "0.05")),
        **dict.fromkeys(("brier", "expected_calibration_error", "expected_cost"), _WHOLE),
        "log_loss": Measure(kinds=("classes", *_LABELS, *_TOKENS)),
        "entity_f1": Measure(kinds=_TOKENS, further=(SEEDS,)),
        **dict.fromkeys(("entity_precision", "entity_recall", "unread_units"), Measure(kinds=_TOKENS)),
        "exact_match": Measure(kinds=(*_LABELS, *_SPAN), further=(SEEDS,)),
        "hamming_loss": Measure(kinds=_LABELS),
        "token_f1": Measure(kinds=_SPAN, further=(SEEDS,)),
        **dict.fromkeys(("has_answer_token_f1", "has_answer_exact_match", "no_answer_accuracy"), Measure(kinds=_SPAN)),
        "rmse": Measure(kinds=_NUMBER, further=(SEEDS,)),
        **dict.fromkeys(("mae", "r2", "interval_coverage", "interval_width"), Measure(kinds=_NUMBER)),
        **{f"gain_over_{name}": Measure(kinds=tuple(kind for kind in ANSWER_KINDS if rival.of(kind))) for name, rival in RIVALS.items()},
        "unknown_tokens": _OF_ANY,
        "weak_slices": Measure(kinds=("classes", *_LABELS)),
        "worst_slice_accuracy": _WHOLE,
        "worst_slice_mae": Measure(kinds=_NUMBER),
        "slice_mae": Measure("part", kinds=_NUMBER),
        "slice_accuracy": Measure("part"),
        **dict.fromkeys(("precision", "recall", "f1"), Measure("label", kinds=("classes", *_LABELS, *_TOKENS), of_a_label=True)),
        **dict.fromkeys(("perplexity", "masked_accuracy", "token_accuracy", "next_sentence_accuracy", "sentence_order_accuracy"), _OF_BASE),
        **dict.fromkeys(("span_corruption_accuracy", "infilling_accuracy", "replaced_accuracy", "contrastive_accuracy"), _OF_BASE),
        **dict.fromkeys(("probe_accuracy", "contamination"), _SET),
    },
    "fairness": {
        **dict.fromkeys(("demographic_parity_difference", "demographic_parity_ratio", "equalized_odds_difference"), _GAP),
        **dict.fromkeys(("equal_opportunity_difference", "average_odds_difference"), _GAP),
        "accuracy_difference": Measure("gap"),
        **dict.fromkeys(("mae_difference", "mean_error_difference", "mean_prediction_difference"), Measure("gap", kinds=_NUMBER)),
        "interval_coverage_difference": Measure("gap", kinds=_NUMBER),
        **dict.fromkeys(("mae", "mean_error", "mean_prediction", "interval_coverage"), Measure("group", kinds=_NUMBER)),
        "exact_match_difference": Measure("gap", kinds=(*_LABELS, *_SPAN)),
        "token_f1_difference": Measure("gap", kinds=_SPAN),
        **dict.fromkeys(("entity_f1_difference", "entity_recall_difference"), Measure("gap", kinds=_TOKENS)),
        **dict.fromkeys(("entity_f1", "entity_recall"), Measure("group", kinds=_TOKENS)),
        "exact_match": Measure("group", kinds=(*_LABELS, *_SPAN)),
        "token_f1": Measure("group", kinds=_SPAN),
        "accuracy": Measure("group"),
        **dict.fromkeys(("selection_rate", "true_positive_rate", "false_positive_rate"), _RATE),
        **dict.fromkeys(("positive_predictive_value", "auroc", "calibration_gap"), _RATE),
        **dict.fromkeys(("likelihood_gap", "likelihood_association"), _PAIRS),
    },
    "safety": {
        "purpose": _OF_ANY,
        "leaked_rows": Measure(kinds=_ANSWERED, further=("near",)),
        "backdoor_score": Measure(further=("spectral", "clustering", "rare_words", "inverted", "taught")),
        **dict.fromkeys(("mislabelled_rows", "extraction_agreement"), _WHOLE),
        "forbidden_outputs": Measure(kinds=("classes", *_LABELS, *_TOKENS, *_SPAN), further=("probes",)),
    },
    "privacy": {"canary_exposure": _OF_BASE},
    "robustness": {
        "ood_auroc": Measure(further=(*OOD_SCORES, *SHIFTS), kinds=_ANSWERED),
        "aurc": _WHOLE,
        **dict.fromkeys(("selective_risk", "selective_coverage"), Measure(variants=ANSWERED_SHARES)),
        "conformal_coverage": Measure(within=True),
        "conformal_coverage_difference": Measure("gap"),
        "conformal_set_size": _WHOLE,
        "certified_accuracy": Measure(further=("2", "3")),
        "smoothed_accuracy": _WHOLE,
        "sensitivity": Measure(further=("parameters", "precision", "training"), kinds=("classes", *_LABELS, *_NUMBER)),
        **dict.fromkeys(("accuracy_under_typos", "accuracy_drop_under_typos"), Measure(further=("0.10",), kinds=("classes", *_LABELS))),
        "expectation_failures": Measure(variants=EXPECTATIONS, open=True, kinds=("classes", *_LABELS, *_NUMBER)),
        "prediction_flips": Measure(variants=tuple(PERTURBATIONS), kinds=("classes", *_LABELS, *_NUMBER)),
        **dict.fromkeys(("after_attack_accuracy", "after_attack_accuracy_filtered", "attack_words_changed"), Measure(further=ATTACKS)),
        "attack_queries": Measure(further=(*ATTACKS, "success")),
        "universal_trigger_flips": _WHOLE,
    },
    "explanation": {
        **dict.fromkeys(_FAITHFUL, Measure(kinds=_EXPLAINED, further=("lime",))),
        "comprehensiveness": Measure(kinds=_EXPLAINED, further=("lime", *_INSIDE)),
        **dict.fromkeys((f"{name}_gain" for name in _FAITHFUL), _OF_EXPLAINED),
        "stability": Measure(kinds=_EXPLAINED, further=("seed", "paraphrase", "top5")),
        "method_agreement": Measure(kinds=_EXPLAINED, further=("top5", *_INSIDE)),
        **dict.fromkeys(("sanity_check", "principal_reasons"), _OF_EXPLAINED),
        "influence_check": _WHOLE,
        **dict.fromkeys(("counterfactual_size", "counterfactual_found", "counterfactual_fluency", "global_units"), _OF_EXPLAINED),
        "surrogate_fidelity": Measure(further=("tree", "rules")),
    },
    "efficiency": {
        **dict.fromkeys(("artifact_bytes", "parameters"), Measure(kinds=(*_ANSWERED, "language"))),
        "flops_per_input": _OF_ANY,
        **dict.fromkeys(("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "throughput", "startup_seconds"), _OF_ANY),
        **dict.fromkeys(("peak_memory_bytes", "peak_device_bytes", "batch_invariance", "batch_label_flips"), _OF_ANY),
        **dict.fromkeys(("energy_per_1000", "carbon_per_1000", "cost_per_1000"), _OF_ANY),
        **dict.fromkeys(("parity_max_difference", "parity_label_flips"), _OF_ANY),
        **dict.fromkeys(("training_flops", "training_energy_kwh", "training_carbon_kg", "training_seconds"), _OF_BASE),
        "model_flops_utilisation": _OF_BASE,
    },
}


BESIDE = ("quality", "fairness")  # dimensions that are also measured on a set beside the test rows


def metric_names(kind: str | None = None) -> tuple[str, ...]:
    """Every `dimension.metric` that some audit can emit, in the order of the table; with `kind`, of models whose answers are of it."""
    return tuple(
        f"{dimension}.{metric}"
        for dimension, metrics in CATALOGUE.items()
        for metric, measure in metrics.items()
        if kind is None or kind in measure.kinds
    )


def measure_of(id: FindingId) -> Measure | None:
    """The entry of a finding; None where no audit of this version measures it."""
    return CATALOGUE.get(id.dimension, {}).get(id.metric)


def why_never(
    id: FindingId,
    groups: Sequence[str],
    kind: str = "classes",
    datasets: Sequence[str] = (),
    *,
    neutral: bool = True,
    choices: bool = False,
    entities: bool = False,
) -> tuple[str, str] | None:
    """Why no audit will ever emit this finding, and what to write instead; None where one can.

    Args:
        id: the finding that somebody asks for.
        groups: the group columns, in recipe order.
        kind: answer kind of the model: "classes", "labels", …, or "language" of a base model.
        datasets: sets that are audited beside the test rows, as ids name them.
        neutral: whether a label is known to say that nothing holds.
        choices: whether the model weighs the choices of a question, so that its labels are places among them.
        entities: whether a model of entities is audited together with one of relations.
    """
    measure = measure_of(id)
    name = f"{id.dimension}.{id.metric}"
    known = metric_names(kind)
    if measure is None or kind not in measure.kinds:
        own = [other.partition(".")[2] for other in known if other.startswith(f"{id.dimension}.")]
        listed = f"known: {', '.join(own or dict.fromkeys(other.partition('.')[0] for other in known))}"
        if measure is not None:
            owners = " or ".join(_OF.get(other, other) for other in measure.kinds)
            return f"'{name}' is measured of {owners}, and this is {_OF.get(kind, kind)}", listed
        near = difflib.get_close_matches(name, known, n=1)
        return f"'{name}' is no finding that this version measures", f"did you mean '{near[0]}'?" if near else listed
    if id.dataset and id.dataset not in datasets:
        told = f"names @{id.dataset}, and no such set is audited beside the test rows"
        return told, "name its file: data.out_of_time" if id.dataset == OUT_OF_TIME else f"remove @{id.dataset}"
    if id.dataset and (id.dimension not in BESIDE or id.metric.startswith(("gain_over_", "unknown_tokens"))):
        return f"{name} is measured on the test rows alone, and this names @{id.dataset}", f"remove @{id.dataset}"
    if measure.neutral and not neutral:
        message = f"{name} leaves out the label that says that nothing holds, and none is named"
        return message, "name it: data.no_relation: LABEL"
    if id.variant == END_TO_END and END_TO_END in measure.further and not entities:
        message = f"{id} is measured of a model of entities and one of relations together, and no model of entities is named"
        return message, "trustbase audit RELATIONS --entities ENTITIES measures it: keep this limit in a file for its --policy"
    if measure.of_a_label and choices:
        message = f"{name} speaks of one label, and the labels of a question with choices are places among them"
        return message, "use quality.accuracy or fairness.accuracy_difference[column], which mean what they always do"
    return _wrong_variant(id, measure, kind) or _wrong_slice(id, measure, groups)


def _wrong_variant(id: FindingId, measure: Measure, kind: str) -> tuple[str, str] | None:
    name = f"{id.dimension}.{id.metric}"
    if measure.variants:
        if id.variant not in measure.variants and not (measure.open and id.variant):
            return (
                f"{name} is measured as {', '.join('#' + variant for variant in measure.variants)}",
                f"write {name}#{measure.variants[0]}",
            )
    elif id.variant and not measure.by_label and id.variant not in measure.further:
        said = "has no variants" if not measure.further else f"has no variant but {', '.join('#' + other for other in measure.further)}"
        return f"{name} {said}, and this names #{id.variant}", f"remove #{id.variant}"
    if measure.by_label and kind == "labels" and not id.variant:
        return f"{name} is measured of each label by itself", f"write {name}[{format_slice(id.slice) or 'column'}]#LABEL"
    return None


def _wrong_slice(id: FindingId, measure: Measure, groups: Sequence[str]) -> tuple[str, str] | None:
    name, form = f"{id.dimension}.{id.metric}", measure.form
    columns, values = [column for column, _ in id.slice], [value for _, value in id.slice]
    wanted = f"{name} is measured with {FORMS[form]}{', or ' + FORMS['group'] if measure.within else ''}"
    if form == "none" and not (measure.within and id.slice):
        return (wanted, f"write {name}") if id.slice else None
    form = "group" if form == "none" else form
    if form == "label":
        return None if columns == ["label"] and values[0] is not None else (wanted, f"write {name}[label=NAME]")
    if form == "set":
        return _wrong_set(id, measure, wanted)
    if form == "part":
        return None if 1 <= len(columns) <= 2 and None not in values else (wanted, f"write {name}[column=value]")
    if not groups:
        return f"{name} compares groups, and data.groups names none", "name the columns in data.groups, or remove this"
    fits = id.slice and (all(value is None for value in values) if form == "gap" else None not in values)
    if not fits:
        column = columns[0] if columns and columns[0] in groups else groups[0]
        return wanted, f"write {name}[{format_slice(((column, None if form == 'gap' else 'NAME'),))}]"
    return _wrong_columns(columns, groups)


def _wrong_set(id: FindingId, measure: Measure, wanted: str) -> tuple[str, str] | None:
    """A slice that names no set, or one that this version does not have."""
    name = f"{id.dimension}.{id.metric}"
    sets = measure.sets or ("NAME",)
    if len(id.slice) != 1 or id.slice[0][1] is not None:
        return wanted, f"write {name}[{sets[0]}]"
    given = id.slice[0][0]
    if not measure.sets or given in measure.sets:
        return None
    near = difflib.get_close_matches(given, measure.sets, n=1)
    return f"{name} has no set '{given}'", f"did you mean '{near[0]}'?" if near else f"there is: {', '.join(measure.sets)}"


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
