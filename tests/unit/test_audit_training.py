"""What a training took, as findings: they follow from its record and the assumptions, and what is not known has no number."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiny import tiny_bert
from trustbase import files
from trustbase.audit.context import Evidence
from trustbase.audit.counted import folder_bytes
from trustbase.audit.language_context import Documents, LanguageContext
from trustbase.audit.options import AuditOptions, CostOptions
from trustbase.audit.run import find_audit
from trustbase.audit.training import audit_language
from trustbase.records import ArtifactInfo, Finding, LabelSchema

RECORD = {"flops": 3.6e15, "seconds": 7200.0, "peak_flops": 1e12, "training_tokens": 5_000_000, "step": 611, "precision": "bf16"}
NAMES = [
    *("training_flops", "training_seconds", "training_energy_kwh", "training_carbon_kg", "model_flops_utilisation"),
    *("artifact_bytes", "parameters"),
]


def found(folder: Path, training: dict[str, Any], **cost: Any) -> dict[str, Finding]:
    model = tiny_bert(folder / "model")
    labels = LabelSchema((), "", "")
    artifact = ArtifactInfo(model, "sha256:m", "pretraining", "language", labels, "language", "fp32", 32, "scratch", "0", "text")
    context = LanguageContext(
        artifact, SimpleNamespace(), Documents("sha256:d", 9), SimpleNamespace(), SimpleNamespace(), {}, training, Evidence(folder), 0,
        options=AuditOptions(cost=CostOptions(**cost)),
    )  # fmt: skip
    findings = audit_language(context)
    assert [finding.id for finding in findings] == [f"efficiency.{name}" for name in NAMES]
    return {finding.id.removeprefix("efficiency."): finding for finding in findings}


def test_findings_follow_from_the_record_and_the_assumptions(tmp_path: Path) -> None:
    got = found(tmp_path, {**RECORD, "estimate": {"hours": 1.9}}, watts=100, carbon_grams_per_kwh=500)
    values = {name: got[name].value for name in NAMES[:5]}
    assert values == pytest.approx(
        {
            "training_flops": 3.6e15,
            "training_seconds": 7200,
            "training_energy_kwh": 0.2,
            "training_carbon_kg": 0.1,
            "model_flops_utilisation": 0.5,
        }
    )
    assert all(finding.low == finding.value == finding.high and finding.status == "ok" for finding in got.values())
    assert got["model_flops_utilisation"].direction == "higher" and got["training_seconds"].direction == "lower"
    assert "100 W" in got["training_energy_kwh"].method and "500 g" in got["training_carbon_kg"].method
    evidence = files.read_json(tmp_path / "training.json")
    assert evidence["training_tokens"] == 5_000_000 and evidence["estimate"] == {"hours": 1.9} and evidence["assumptions"]["watts"] == 100


def test_size_is_counted_as_for_any_artefact(tmp_path: Path) -> None:
    got = found(tmp_path, RECORD)
    assert got["artifact_bytes"].value == folder_bytes(tmp_path / "model") > 0
    assert (got["parameters"].value or 0) > 1000


@pytest.mark.parametrize(
    ("missing", "without"),
    [
        ("flops", {"training_flops", "model_flops_utilisation"}),
        ("seconds", {"training_seconds", "training_energy_kwh", "training_carbon_kg", "model_flops_utilisation"}),
        ("peak_flops", {"model_flops_utilisation"}),
    ],
)
def test_what_was_not_recorded_has_no_number(tmp_path: Path, missing: str, without: set[str]) -> None:
    got = found(tmp_path, {**RECORD, missing: None})
    assert {name for name, finding in got.items() if finding.status != "ok"} == without
    assert all(got[name].value is None and got[name].reason for name in without)
    assert ("peak" in got["model_flops_utilisation"].reason) == (missing == "peak_flops")


def test_a_record_of_nothing_is_no_record(tmp_path: Path) -> None:
    got = found(tmp_path, {**RECORD, "seconds": 0.0, "flops": 0.0})
    assert [got[name].status for name in NAMES[:5]] == ["insufficient"] * 5


def test_base_models_get_this_audit_and_classifiers_the_other() -> None:
    assert find_audit("efficiency", "language") is audit_language
    assert find_audit("efficiency", "classes") is not audit_language
