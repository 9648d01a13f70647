"""The white-box parts of the explanation audit: what they measure, of what, and what is told where they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from inside_kit import classifier
from typer.testing import CliRunner

from tiny import WORDS
from trustbase import files
from trustbase.audit.askers.asking import Alone
from trustbase.audit.catalogue import why_never
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.explain import influence_audit, inside_rows
from trustbase.audit.explain.influence_audit import influence_findings
from trustbase.audit.explain.inside_rows import METRICS, inside_findings
from trustbase.audit.measured import Part, measure_parts
from trustbase.audit.options import AuditOptions
from trustbase.cli.main import app
from trustbase.errors import PredictionError
from trustbase.model.predict import Predictor
from trustbase.records import Decision, Split


def split_of(name: str, texts: list[str], labels: Any) -> Split:
    table = pa.table({"text": texts})
    return Split(name, texts, np.asarray(labels, dtype=np.int64), {}, table, np.arange(1, len(texts) + 1), "made", f"sha256:{name}")


def sentences(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(WORDS[place] for place in rng.integers(0, len(WORDS), rng.integers(4, 9))) for _ in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier(tmp_path_factory.mktemp("model"), num_hidden_layers=1)


@pytest.fixture
def context(model: Path, tmp_path: Path) -> Iterator[AuditContext]:
    """Training rows are labelled as the model answers, but for one in forty."""
    texts, lessons = sentences(30, 0), sentences(400, 1)
    with Predictor.open(model) as predictor:
        scores, taught = predictor.class_scores(texts), predictor.class_scores(lessons).argmax(1)
        taught[::40] = 1 - taught[::40]
        told = scores.argmax(1)
        options = AuditOptions.model_validate({"explanation": {"texts": 30, "evaluations": 40}})
        yield AuditContext(
            split_of("test", texts, told),
            predictor.info.labels,
            Decision(),
            Answers(scores, told),
            Evidence(tmp_path),
            0,
            predictor=predictor,
            askers=Alone(predictor),
            artifact=predictor.info,
            train=split_of("train", lessons, taught),
            options=options,
        )


def test_white_box_methods_are_held_against_what_ships(context: AuditContext, tmp_path: Path) -> None:
    found = {finding.id: finding for finding in inside_findings(context)}
    assert set(found) == set(METRICS) and {finding.status for finding in found.values()} == {"ok"}
    for id, finding in found.items():
        assert "white-box" in finding.method and why_never(finding.parts, [], "classes") is None, id
    assert found["explanation.method_agreement#integrated_gradients"].value > 0.2  # type: ignore[operator]
    written = files.read_json(tmp_path / "explanation.inside.json")
    assert written["integrated_gradients"]["followed"] == 30 and written["integrated_gradients"]["sum_missed"]["most"] < 0.02


def test_where_rules_are_not_known_the_other_method_is_measured(context: AuditContext) -> None:
    odd = classifier(context.artifact.folder.parent / "odd", hidden_act="gelu_new", num_hidden_layers=1)  # type: ignore[union-attr]
    with Predictor.open(odd) as predictor:
        asked = replace(context, predictor=predictor, askers=Alone(predictor), artifact=predictor.info)
        status = {finding.id.partition("#")[2]: finding.status for finding in inside_findings(asked)}
    assert status == {"integrated_gradients": "ok", "attention_relevance": "not_applicable"}


def test_what_breaks_is_no_reason_that_a_method_does_not_apply(context: AuditContext, monkeypatch: pytest.MonkeyPatch) -> None:
    real = inside_rows.explained_inside

    def broken(predictor: Any, subjects: Any, method: str, **how: Any) -> Any:
        if method == "integrated_gradients":
            raise PredictionError("the engine stopped")
        return real(predictor, subjects, method, **how)

    monkeypatch.setattr(inside_rows, "explained_inside", broken)
    status = {finding.id.partition("#")[2]: (finding.status, finding.reason) for finding in inside_findings(context)}
    assert status["integrated_gradients"] == ("failed", "PredictionError: the engine stopped")
    assert status["attention_relevance"][0] == "ok"
    part = Part("influence", influence_audit.METRICS, influence_findings)
    monkeypatch.setattr(influence_audit, "_taught", lambda context, train: broken(None, None, "integrated_gradients"))
    (failed,) = measure_parts(context, "explanation", [part], {})
    assert failed.status == "failed" and "the engine stopped" in failed.reason


def test_training_rows_are_told_and_controls_find_themselves(context: AuditContext, tmp_path: Path) -> None:
    (finding,) = influence_findings(context)
    assert finding.status == "ok", finding.reason
    assert finding.value > 0.1 and -1 <= finding.low <= finding.value <= finding.high <= 1  # type: ignore[operator]
    assert "white-box" in finding.method and finding.n == 30
    written = files.read_json(tmp_path / "explanation.influence.json")
    assert written["training_rows"] == 400 and written["controls_found"] >= 0.9 and 1 <= written["effective_rows"] <= 400
    assert influence_findings(context) == [finding]
    turned = replace(context, train=split_of("train", list(context.train.texts)[::-1], context.train.labels[::-1]))  # type: ignore[union-attr]
    assert influence_findings(turned)[0].value == pytest.approx(finding.value, abs=1e-6)  # the order of the rows means nothing


def test_without_training_rows_or_its_control_nothing_is_told(context: AuditContext, monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = influence_findings(replace(context, train=None))
    assert finding.status == "insufficient" and "--train" in finding.reason
    few = split_of("train", list(context.train.texts)[:20], context.train.labels[:20])  # type: ignore[union-attr]
    assert influence_findings(replace(context, train=few))[0].status == "insufficient"
    real = influence_audit.taught

    def mixed(lessons: Any, asked: Any) -> Any:
        return real(lessons, asked)[:, ::-1]  # the rows of a matrix in another order than its columns

    monkeypatch.setattr(influence_audit, "taught", mixed)
    (finding,) = influence_findings(context)
    assert finding.status == "insufficient" and "positive control" in finding.reason


def test_the_command_tells_the_rows_that_taught_an_answer(model: Path, tmp_path: Path) -> None:
    text, rows = "the film was good", [*sentences(30, 5), *["the film was good"] * 2]
    with Predictor.open(model) as predictor:
        told = [predictor.info.labels.names[place] for place in predictor.class_scores(rows).argmax(1)]
    train = tmp_path / "train.csv"
    train.write_text("text,label\n" + "".join(f"{row},{label}\n" for row, label in zip(rows, told, strict=True)), encoding="utf-8")
    asked = ["explain", str(model), text, "--method", "occlusion", "--train", str(train)]
    said = CliRunner().invoke(app, [*asked, "--train-label", "label"])
    assert said.exit_code == 0, said.output
    assert "training rows that taught this answer most, among 32;" in said.stdout and "an estimate" in said.stdout
    first = [line.split("(")[0].strip() for line in said.stdout.splitlines() if line.startswith("  row ")]
    assert {"row 31", "row 32"} <= set(first[:5]), said.stdout  # the same text taught it
    refused = CliRunner().invoke(app, asked)
    assert "--train-label" in str(refused.exception)
