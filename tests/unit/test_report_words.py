"""The catalogue: both languages whole, nothing unused, nothing promised, every metric named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import trustbase.report
from trustbase.audit.catalogue import ATTACKS, EXPECTATIONS, OOD_SCORES, SHIFTS
from trustbase.data.scripts import SCRIPTS
from trustbase.errors import UsageError
from trustbase.recipe.lookup import PERTURBATIONS
from trustbase.report.formats import interval, kind_of, show
from trustbase.report.words import LANGUAGES, words

HERE = Path(trustbase.report.__file__).parent
ISSUE_IDS = [
    "quality.exact_match",
    "quality.hamming_loss",
    "quality.r2",
    "quality.interval_coverage",
    "fairness.exact_match_difference[sex]",
    "fairness.interval_coverage_difference[sex]",
    "quality.accuracy",
    "quality.macro_f1",
    "quality.weighted_f1",
    "quality.auroc",
    "quality.auprc",
    "quality.log_loss",
    "quality.brier",
    "quality.expected_calibration_error",
    "quality.unknown_tokens",
    "quality.gain_over_majority",
    "quality.gain_over_bag_of_words",
    "quality.gain_over_boosting",
    "fairness.demographic_parity_difference[sex]",
    "fairness.demographic_parity_ratio[sex]",
    "fairness.equalized_odds_difference[sex]",
    "fairness.equal_opportunity_difference[sex]",
    "fairness.average_odds_difference[sex]",
    "fairness.accuracy_difference[sex]",
    "efficiency.latency_p50_ms",
    "efficiency.latency_p95_ms",
    "efficiency.throughput",
    "efficiency.artifact_bytes",
    "efficiency.parameters",
    "efficiency.flops_per_input",
    "efficiency.peak_memory_bytes",
    "efficiency.batch_invariance",
    "efficiency.cost_per_1000",
    "quality.perplexity",
    "quality.masked_accuracy",
    "quality.next_sentence_accuracy",
    "quality.sentence_order_accuracy",
    "quality.token_accuracy",
    "quality.replaced_accuracy",
    "quality.probe_accuracy[reviews-zh]",
    "quality.contamination[reviews-zh]",
    "privacy.canary_exposure",
    "efficiency.training_flops",
    "efficiency.training_seconds",
    "efficiency.training_energy_kwh",
    "efficiency.training_carbon_kg",
    "efficiency.model_flops_utilisation",
]
RIVALS = {
    *("majority", "majority_by_exact_match", "mean", "bag_of_words", "boosting", "dictionary", "window", "shared_words", "no_answer"),
}
SAFETY_VARIANTS = {"near", "probes", "spectral", "clustering", "rare_words", "inverted", "taught"}
# Families whose members are named by data: each with the members that the code or the records can name.
FAMILIES = {
    "metric": None,
    "dimension": None,
    "dimension_about": None,
    "status": {"ok", "failed", "not_applicable", "insufficient"},
    "rate": None,
    "rate_about": None,
    "rival": RIVALS,
    "rival_about": RIVALS,
    "fate": {"correct", "wrong_type", "wrong_boundary", "wrong_both", "missed", "spurious"},
    "relation_fate": {"correct", "no_entity", "boundary", "type", "wrong_relation", "no_relation"},
    "variant": {
        *OOD_SCORES,
        *SHIFTS,
        "end-to-end",
        "seeds",
        "2",
        "3",
        "parameters",
        "precision",
        "training",
        *PERTURBATIONS,
        *EXPECTATIONS,
        "0.10",
        "lime",
        "seed",
        "paraphrase",
        "top5",
        "tree",
        "rules",
        *SAFETY_VARIANTS,
        *(*OOD_SCORES, *SHIFTS, *PERTURBATIONS, *EXPECTATIONS, *ATTACKS),
        *("end-to-end", "seeds", "2", "3", "parameters", "precision", "training", "0.10", "success"),
    },
    "machine": None,
    "assumption": {"price_per_hour", "currency", "watts", "carbon_grams_per_kwh"},
    # Texts that the audits write: test_report_reasons.py holds that each of these forms is one of them.
    "reason": None,
    "method": None,
    "part": None,
    "column": {"text_length"},
    "group": {"others"},
    "runtime": {"given answers"},
    "split": {"train", "validation", "calibration", "test", "out-of-time"},
    "dataset": {"out-of-time"},
    "script": set(SCRIPTS),
    # Texts that data and artefact record: test_report_shown.py.
    "remark": None,
    "why": None,
    # of a base model
    "base_title": {"quality", "fairness", "privacy", "efficiency"},
    "base_about": {"quality", "fairness", "privacy", "efficiency"},
    "term": None,
    "family": {"encoder", "decoder", "encoder-decoder"},
    "step": None,
    "rule": None,
    "deduplicate": {"none", "exact", "near"},
    "tongue": None,
    "pii": None,
    "unit_name": {"nats per token", "nats", "nats a label", "standard deviations of the training rows", "squared points"}
    | {"squared hundredths of the spread"},
}


def _sources() -> str:
    files = [*HERE.glob("*.py"), *(HERE / "templates").glob("*.j2")]
    assert len(files) > 12
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_both_languages_have_the_same_keys_and_the_same_places_for_values():
    english, chinese = words("en").table, words("zh").table
    assert english.keys() == chinese.keys() and len(english) > 300
    for key in english:
        if key.endswith(".one"):  # "the one gate" needs no number in English, and Chinese has no such form
            continue
        assert set(re.findall(r"\{(\w+)\}", english[key])) == set(re.findall(r"\{(\w+)\}", chinese[key])), key


def test_every_key_that_the_code_names_is_there_and_every_key_is_named():
    source, table = _sources(), words("en").table
    named = set(re.findall(r"""\bt\(\s*["']([a-z_]+(?:\.[a-z_]+)+)["']""", source)) | set(
        re.findall(r'"((?:limit|unit|verdict|gates|note|finding)\.[a-z_]+)"', source)
    ) - {"verdict.json"}
    counted = set(re.findall(r"""t\.count\(\s*["']([a-z_.]+)["']""", source))
    built = set(re.findall(r"""t\(\s*f["']([a-z_.]+)\{""", source))
    assert len(named) > 100
    missing = [key for key in named if key not in table and f"{key}.one" not in table]
    assert missing == []
    assert [key for key in counted if f"{key}.one" not in table or f"{key}.other" not in table] == []
    assert all(any(key.startswith(prefix) for key in table) for prefix in built)

    def used(key: str) -> bool:
        stem = re.sub(r"\.(one|other)$", "", key)
        if key.split(".")[0] in FAMILIES or stem in named or stem in counted:
            return True
        tails = [key.removeprefix(prefix) for prefix in built if key.startswith(prefix)]
        return any(f'"{re.sub(r"[.](one|other)$", "", tail)}"' in source for tail in tails)

    assert [key for key in table if not used(key)] == []


def test_families_have_their_members():
    for family, members in FAMILIES.items():
        keys = {key.split(".", 1)[1] for key in words("en").table if key.startswith(f"{family}.")}
        assert keys and (members is None or keys == members), family


@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_word_promises_what_only_a_number_is_known_of(lang: str):
    forbidden = r"\b(fair|unbiased|compliant|verified|safe|guarantee\w*|trustworthy|certified)\b|合规|公平|安全|保证|可信|认证|无偏见"
    assert {key: text for key, text in words(lang).table.items() if re.search(forbidden, text, re.IGNORECASE)} == {}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("id", ISSUE_IDS)
def test_every_metric_of_the_issue_has_a_name_a_line_and_a_form(id: str, lang: str):
    t = words(lang)
    assert t.metric(id) and not t.metric(id).startswith(id.split(".")[0] + ".")
    assert len(t.metric_about(id)) > 8
    assert kind_of(id) != "other"


def test_an_unknown_metric_is_shown_by_its_id():
    t = words("zh")
    assert t.metric("robustness.no_such_thing#0.10") == "robustness.no_such_thing"
    assert t.metric_about("robustness.no_such_thing") == ""
    assert t.finding("robustness.some_thing[sex=Female]") == "robustness.some_thing（sex = Female）"


def test_names_of_findings_in_plain_words():
    t = words("en")
    assert t.finding("fairness.demographic_parity_difference[sex]") == "Difference in favourable answers between groups of sex"
    assert t.finding("quality.auroc@out-of-time") == "AUROC, on out-of-time rows"
    assert t.finding("quality.probe_accuracy[reviews-zh]") == "Linear probe, reviews-zh"  # a set, no column of groups
    assert t.finding("quality.audit") == "Quality: All measurements of this dimension"


def test_a_language_that_is_not_there_is_refused_by_name():
    with pytest.raises(UsageError, match="en, zh.*'fr'"):  # noqa: RUF043
        words("fr")


@pytest.mark.parametrize(
    ("id", "value", "unit", "text"),
    [
        ("quality.accuracy", 0.8658, "share", "86.6 %"),
        ("quality.accuracy", 1.0, "", "100.0 %"),
        ("quality.unknown_tokens", 0.0003, "", "0.03 %"),
        ("quality.unknown_tokens", 0.0, "", "0.0 %"),
        ("quality.gain_over_boosting", -0.0081, "", "−0.8 pp"),
        ("quality.gain_over_boosting", -0.0081, "exact match", "−0.8 pp"),
        ("quality.gain_over_mean", 12.5, "price", "12.500 price"),
        ("quality.mae", 0.5, "share", "0.500 share"),  # a column of this name is no share
        ("quality.auroc", 0.90814, "", "0.908"),
        ("fairness.demographic_parity_ratio[sex]", 0.314, "", "0.31"),
        ("efficiency.latency_p95_ms", 6.024, "ms", "6.02 ms"),
        ("efficiency.artifact_bytes", 90_874_112, "bytes", "90.9 MB"),
        ("efficiency.artifact_bytes", 512, "bytes", "512 B"),
        ("efficiency.parameters", 22_713_986, "", "22,713,986"),
        ("efficiency.flops_per_input", 2.1e9, "", "2.10 GFLOP"),
        ("efficiency.throughput", 1180, "", "1,180 /s"),
        ("efficiency.cost_per_1000", 0.000094, "EUR", "0.000094 EUR"),
        ("quality.perplexity", 34.127, "", "34.1"),
        ("quality.perplexity", 18234.6, "", "18,235"),
        ("privacy.canary_exposure", 1.444, "bits", "1.44 bits"),
        ("efficiency.training_flops", 1.61e17, "FLOPs", "161 PFLOP"),
        ("efficiency.training_seconds", 45.3, "s", "45.3 s"),
        ("efficiency.training_seconds", 655.0, "s", "10.9 min"),
        ("efficiency.training_seconds", 90_000.0, "s", "25.0 h"),
        ("efficiency.training_seconds", 864_000.0, "s", "10.0 d"),
        ("efficiency.training_energy_kwh", 0.01183, "kWh", "0.012 kWh"),
        ("efficiency.model_flops_utilisation", 0.47, "share", "47.0 %"),
        ("fairness.likelihood_gap[gender_zh]", -0.2104, "nats per token", "−0.210 nats per token"),
        ("efficiency.batch_invariance", 0.0021, "", "0.0021"),
        ("robustness.unknown_thing", 0.5, "share", "50.0 %"),
        ("robustness.unknown_thing", 0.5, "furlongs", "0.500 furlongs"),
    ],
)
def test_numbers_are_written_with_their_units(id: str, value: float, unit: str, text: str):
    assert show(value, kind_of(id, unit), words("en"), unit=unit) == text


def test_intervals_name_their_unit_once_and_are_empty_where_nothing_was_sampled():
    t = words("en")
    assert interval(0.183, 0.209, "points", t) == "18.3 to 20.9 pp"
    assert interval(0.183, 0.209, "percent", words("zh")) == "18.3 至 20.9 %"
    assert interval(0.06, 0.36, "other", t, unit="nats per token") == "0.060 to 0.360 nats per token"
    assert interval(0.06, 0.36, "other", words("zh"), unit="nats per token") == "0.060 至 0.360 纳特/词元"
    assert interval(0.5, 2.3, "bits", words("zh")) == "0.50 至 2.30 比特"
    assert interval(5.0, 5.0, "bytes", t) == "" and interval(None, None, "percent", t) == ""
    assert show(None, "percent", t) == "–"


def test_whatever_a_corpus_card_or_a_training_can_name_has_words():
    """What other parts call their steps, rules, languages, placeholders and terms."""
    from typing import get_args

    from trustbase.data.corpus.counts import STEPS
    from trustbase.data.corpus.options import Deduplicate, Language, Pii
    from trustbase.data.corpus.quality import RULES
    from trustbase.model.options import Family
    from trustbase.recipe.lookup import OBJECTIVES, TASKS

    wanted = {
        "step": {"read", *STEPS},
        "rule": set(RULES),
        "tongue": set(get_args(Language)),
        "pii": set(get_args(Pii)),
        "deduplicate": set(get_args(Deduplicate)),
        "family": set(get_args(Family)),
        "term": {*OBJECTIVES, "generator", "z"} - set(TASKS),
    }
    for family, names in wanted.items():
        keys = {key.split(".", 1)[1] for key in words("en").table if key.startswith(f"{family}.")}
        assert keys == names, family
