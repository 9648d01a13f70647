"""An audit goes by the registry; what fails is seen as failed, and a failure is never a number."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trustbase.audit import run
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.run import machine_facts, run_audit, write_scores
from trustbase.errors import Interrupted, TrainingError, UsageError
from trustbase.recipe.entries import Entry
from trustbase.records import ArtifactInfo, AuditReport, Decision, Finding, LabelSchema, Split

LABELS = LabelSchema(("no", "yes"), "yes", "yes")


def context(folder: Path, **more: Any) -> AuditContext:
    groups = {"sex": np.array(["f", "m", "unknown"], object)}
    test = Split("test", ["secret text", "b", "c"], np.array([0, 1, 1]), groups, pa.table({}), np.array([4, 7, 9]), "x", "sha256:d")
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    return AuditContext(test, LABELS, Decision(), Answers(scores, scores.argmax(1)), Evidence(folder), 3, **more)


def audits(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    """Put these functions into the registry, as `dimension` or `dimension__kind`."""
    table = {}
    for name, function in functions.items():
        dimension, _, kind = name.partition("__")
        monkeypatch.setattr(run, f"_fake_{name}", function, raising=False)
        table[(dimension, kind or "*")] = Entry(f"trustbase.audit.run:_fake_{name}", "a fake")
    monkeypatch.setattr(run, "AUDITS", table)


def good(ctx: AuditContext) -> list[Finding]:
    return [Finding.exact("efficiency.parameters", 5.0)]


def test_an_empty_cell_is_not_applicable_by_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audits(monkeypatch, efficiency=good)
    report = run_audit(context(tmp_path), ["privacy", "efficiency"], policy_digest="sha256:p")
    assert [(f.id, f.status) for f in report.findings] == [("privacy.audit", "not_applicable"), ("efficiency.parameters", "ok")]
    assert "no privacy audit for answers of kind 'classes'" in report.findings[0].reason
    assert report.policy_digest == "sha256:p" and report.policy_set_before is True and report.data == {"digest": "sha256:d", "rows": 3}
    assert AuditReport.from_json(report.to_json()) == report


def test_the_cell_of_the_answer_kind_comes_before_the_one_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def special(ctx: AuditContext) -> list[Finding]:
        return [Finding.exact("efficiency.parameters", 7.0)]

    audits(monkeypatch, efficiency=good, efficiency__classes=special)
    assert run_audit(context(tmp_path), ["efficiency"], policy_digest=None).findings[0].value == 7.0
    assert run_audit(context(tmp_path), ["efficiency"], policy_digest=None, answer_kind="tokens").findings[0].value == 5.0


@pytest.mark.parametrize("error", [TrainingError("no luck"), ZeroDivisionError("division by zero"), KeyError("x")])
def test_a_dimension_that_raises_is_failed_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(ctx: AuditContext) -> list[Finding]:
        raise error

    events: list[str] = []
    audits(monkeypatch, quality=broken, efficiency=good)
    emit = lambda event, /, **fields: events.append(f"{event}: {fields.get('text', '')}")  # noqa: E731
    report = run_audit(context(tmp_path), ["quality", "efficiency"], policy_digest=None, emit=emit)
    failed, fine = report.findings
    assert (failed.id, failed.status, failed.value) == ("quality.audit", "failed", None)
    assert type(error).__name__ in failed.reason and fine.value == 5.0
    assert any(line.startswith("warning: the quality audit failed") for line in events)


def test_a_full_disk_is_no_finding_about_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(ctx: AuditContext) -> list[Finding]:
        raise OSError(errno.ENOSPC, "No space left on device")

    def missing(ctx: AuditContext) -> list[Finding]:
        raise FileNotFoundError(errno.ENOENT, "gone")

    audits(monkeypatch, quality=full, efficiency=missing)
    with pytest.raises(OSError, match="No space left"):
        run_audit(context(tmp_path), ["quality"], policy_digest=None)
    assert [finding.status for finding in run_audit(context(tmp_path), ["efficiency"], policy_digest=None).findings] == ["failed"]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ([], "no findings"),
        ([Finding.exact("quality.accuracy", 1.0)], "another dimension"),
        ([Finding.exact("efficiency.parameters", 1.0), Finding.exact("efficiency.parameters", 2.0)], "twice"),
    ],
)
def test_an_audit_that_breaks_its_contract_is_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returned: list[Finding], words: str
) -> None:
    audits(monkeypatch, efficiency=lambda ctx: returned)
    finding = run_audit(context(tmp_path), ["efficiency"], policy_digest=None).findings[0]
    assert finding.status == "failed" and words in finding.reason


def test_an_interruption_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(ctx: AuditContext) -> list[Finding]:
        raise Interrupted("stopped", signal_number=15)

    audits(monkeypatch, efficiency=stopped)
    with pytest.raises(Interrupted):
        run_audit(context(tmp_path), ["efficiency"], policy_digest=None)


def test_unknown_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="speed"):
        run_audit(context(tmp_path), ["speed"], policy_digest=None)


def test_the_model_is_named_or_said_to_be_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audits(monkeypatch, efficiency=good)
    assert run_audit(context(tmp_path), ["efficiency"], policy_digest=None).model["runtime"] == "given answers"
    info = ArtifactInfo(tmp_path, "sha256:m", "text-classification", "classes", LABELS, "onnx", "fp32", 64, "base", "1.0")
    report = run_audit(context(tmp_path, artifact=info), ["efficiency"], policy_digest=None)
    assert dict(report.model) == {"digest": "sha256:m", "runtime": "onnx", "precision": "fp32", "base": "base", "revision": "1.0"}


def test_scores_are_kept_by_row_and_never_with_a_text(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    write_scores(tmp_path / "scores.parquet", ctx.test, LABELS, ctx.answers)
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.column_names == ["row", "label", "predicted", "group:sex", "score:no", "score:yes"]
    assert table["row"].to_pylist() == [4, 7, 9] and table["label"].to_pylist() == ["no", "yes", "yes"]
    assert table["predicted"].to_pylist() == ["no", "yes", "no"] and table["group:sex"].to_pylist() == ["f", "m", "unknown"]
    assert table["score:yes"].to_pylist() == [0.1, 0.8, 0.4]
    assert b"secret" not in (tmp_path / "scores.parquet").read_bytes()
    write_scores(tmp_path / "labels.parquet", ctx.test, LABELS, Answers(None, ctx.answers.predicted))
    assert "score:yes" not in pq.read_table(tmp_path / "labels.parquet").column_names


def test_machine_facts_are_the_same_each_time_and_json() -> None:
    from trustbase import files

    facts = machine_facts()
    assert facts == machine_facts() and files.canonical_json(facts)
    assert facts["cores"] >= 1 and facts["memory_bytes"] > 0 and "numpy" in facts["libraries"]
