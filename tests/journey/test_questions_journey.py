"""Questions about texts go the whole way: answers in characters, windows, no answer, and rivals that they beat by far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from question_world import write_question_world, write_questions
from typer.testing import CliRunner

from hurry import time_quickly
from trustbase import files
from trustbase.cli.main import app
from trustbase.errors import RecipeError
from trustbase.flow import run
from trustbase.recheck_command import recheck
from trustbase.recipe.read import read_recipe


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)


def said(row: Mapping[str, Any], answer: Mapping[str, Any] | None) -> str | None:
    return None if answer is None else str(row["context"][answer["start"] : answer["end"]])


def true(row: Mapping[str, Any]) -> str | None:
    cell = row["answers"]
    return next(iter(cell["text"] if isinstance(cell, dict) else [each["text"] for each in cell]), None)


def test_answers_are_found_in_windows_and_beat_the_rivals_by_forty_points(tmp_path: Path) -> None:
    result = run(write_question_world(tmp_path), [], out=tmp_path / "run")
    assert result.exit_code == 0 and not [finding.id for finding in result.audit.findings if finding.status == "failed"]
    gains = [finding for finding in result.audit.findings if finding.id.startswith("quality.gain_over_")]
    assert len(gains) == 2 and min(finding.low or 0 for finding in gains) > 0.4
    bundle = tmp_path / "run" / "bundle"
    shipped = files.read_json(bundle / "model" / "artifact.json")
    assert (shipped["stride"], shipped["answer_tokens"], shipped["text"]) == (6, 4, "question\x1fcontext")
    card = files.read_json(tmp_path / "run" / "data_card.json")["splits"]["train"]
    assert card["labels"]["no answer"] > 0 and card["answers"] == {"found": card["rows"], "between_tokens": 0, "not_read": 0}
    rows = [json.loads(line) for line in write_questions(tmp_path / "new.jsonl", 80, seed=3).read_text(encoding="utf-8").splitlines()]
    told = CliRunner().invoke(
        app, ["predict", str(bundle), "--input", str(tmp_path / "new.jsonl"), "--output", str(tmp_path / "out.jsonl")]
    )
    assert told.exit_code == 0, told.output
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    right = float(np.mean([said(row, answer["answer"]) == true(row) for row, answer in zip(rows, answers, strict=True)]))
    assert right > 0.8 and any(answer["answer"] is None for answer in answers)
    assert all(answer["answer"] is None or 0 < answer["answer"]["score"] <= 1 for answer in answers)
    asked = [
        "audit",
        str(bundle),
        "--data",
        str(tmp_path / "new.jsonl"),
        "--label",
        "answers",
        "--only",
        "quality",
        "--out",
        str(tmp_path / "again"),
    ]
    again = CliRunner().invoke(app, asked)
    found = {item["id"]: item["value"] for item in files.read_json(tmp_path / "again" / "audit.json")["findings"]}
    assert found["quality.exact_match"] == right, again.output
    assert recheck(tmp_path / "run").exit_code == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "F1 over words" in page and "No answer rightly told" in page and "\x1f" not in page


@pytest.mark.parametrize(("runtime", "adapt"), [("onnx", "lora"), ("torch", "{method: frozen, layers: 1}")])
def test_other_runtimes_and_adaptations(runtime: str, adapt: str, tmp_path: Path) -> None:
    recipe = write_question_world(tmp_path, rows=300, epochs=1, runtime=runtime, adapt=adapt, limit=0.0)
    result = run(recipe, ["audit=[quality]", "data.stride=null"], out=tmp_path / "run")
    assert result.exit_code in (0, 3) and not [finding.id for finding in result.audit.findings if finding.status == "failed"]
    card = files.read_json(tmp_path / "run" / "data_card.json")["splits"]["train"]
    assert card["answers"]["not_read"] > 0 and card["tokens"]["truncated_share"] > 0.5


def test_what_cannot_be_asked_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    recipe = write_question_world(tmp_path, rows=10)
    for overrides, wanted in (
        (["data.question=null"], "asks a question about data.text"),
        (["task=text-classification"], "data.question is asked of a text"),
        (["data.question=context"], "question and text are both"),
        (["adapt=frozen"], "every token may be an answer"),
        (["train.label_smoothing=0.1"], "never tried with parts of a text"),
        (["data.text_pair=sex"], "question is asked of text alone"),
    ):
        with pytest.raises(RecipeError) as error:
            read_recipe(recipe, overrides)
        assert any(wanted in str(problem) for problem in error.value.problems), (overrides, error.value.problems)
