"""Long texts in windows, and questions with choices, go the whole way; windows see what a cut text has lost."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from long_world import write_choice_world, write_long_rows, write_long_world, write_questions
from typer.testing import CliRunner

from hurry import time_quickly
from trustbase import files
from trustbase.cli.main import app
from trustbase.data.load import load
from trustbase.data.pair import CELL
from trustbase.errors import RecipeError
from trustbase.flow import RunResult, run
from trustbase.model.artifact import read_artifact
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.task import MULTIPLE_CHOICE
from trustbase.recheck_command import recheck
from trustbase.recipe.read import read_recipe
from trustbase.train.fit import fit


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)


def value(result: RunResult, id: str) -> float:
    found = result.audit.find(id)
    assert found is not None and found.value is not None, (id, found)
    return found.value


def card(folder: Path) -> dict[str, object]:
    return dict(files.read_json(folder / "data_card.json")["splits"]["train"]["tokens"])


def predicted(bundle: Path, rows: Path, out: Path) -> list[dict[str, object]]:
    told = CliRunner().invoke(app, ["predict", str(bundle), "--input", str(rows), "--output", str(out)])
    assert told.exit_code == 0, told.output
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_windows_read_what_a_cut_text_has_lost(tmp_path: Path) -> None:
    cut = run(write_long_world(tmp_path / "cut", stride=None), ["audit=[quality]"], out=tmp_path / "cut" / "run")
    read = run(write_long_world(tmp_path / "read", stride=4), ["audit=[quality]"], out=tmp_path / "read" / "run")
    assert cut.exit_code == read.exit_code == 0
    assert not [finding.id for finding in read.audit.findings if finding.status == "failed"]
    assert value(cut, "quality.accuracy") < 0.65 and value(read, "quality.accuracy") > 0.9
    assert card(tmp_path / "cut" / "run")["truncated_share"] == 1.0 and card(tmp_path / "read" / "run")["truncated_share"] == 0.0
    bundle = tmp_path / "read" / "run" / "bundle"
    assert files.read_json(bundle / "model" / "artifact.json")["stride"] == 4
    assert "windows that overlap by 4" in (bundle / "README.md").read_text(encoding="utf-8")
    assert "windows that overlap by 4" in (tmp_path / "read" / "run" / "report.html").read_text(encoding="utf-8")
    answers = predicted(bundle, write_long_rows(tmp_path / "new.csv", 60, seed=9), tmp_path / "out.jsonl")
    truth = [row["label"] for row in csv.DictReader((tmp_path / "new.csv").open(encoding="utf-8"))]
    assert np.mean([answer["label"] == label for answer, label in zip(answers, truth, strict=True)]) > 0.85
    assert recheck(tmp_path / "read" / "run").exit_code == 0


@pytest.mark.parametrize(
    ("task", "adapt", "runtime"),
    [("regression", "frozen", "onnx"), ("text-classification", "{method: frozen, layers: 1}", "torch"), ("columns", "full", "onnx")],
)
def test_windows_of_other_answers_and_adaptations(task: str, adapt: str, runtime: str, tmp_path: Path) -> None:
    columns = ["data.features={categorical: [sex]}", "data.groups=[]"] if task == "columns" else []
    own = "text-classification" if columns else task
    recipe = write_long_world(tmp_path, stride=5, task=own, adapt=adapt, runtime=runtime)
    small = ["audit=[quality]", "train.epochs=1", "data.sample={train: 120, validation: 60, test: 60}"]
    result = run(recipe, [*small, *columns], out=tmp_path / "run")
    assert result.exit_code == 0 and not [finding for finding in result.audit.findings if finding.status == "failed"]
    made = read_artifact(tmp_path / "run" / "artifact")
    cells = ["f"] if columns else []
    texts = [CELL.join([" ".join(["good film was very old"] * repeats), *cells]) for repeats in (1, 5, 9)]
    with Predictor.open(made) as windows, Predictor.open(replace(made, stride=None)) as cut:
        assert np.abs(windows.scores(texts[:1]) - cut.scores(texts[:1])).max() == 0
        assert np.abs(windows.scores(texts[1:]) - cut.scores(texts[1:])).min() > 0


@pytest.mark.parametrize(("runtime", "adapt"), [("torch", "full"), ("onnx", "lora")])
def test_questions_and_choices_go_the_whole_way(runtime: str, adapt: str, tmp_path: Path) -> None:
    whole = adapt == "full"
    recipe = write_choice_world(tmp_path, runtime=runtime, adapt=adapt, limit=0.7 if whole else 0.01, epochs=8 if whole else 1)
    result = run(recipe, ["audit=[quality, fairness]"], out=tmp_path / "run")
    assert result.exit_code == 0 and not [finding for finding in result.audit.findings if finding.status == "failed"]
    if whole:
        gains = {f.id: f for f in result.audit.findings if f.id.startswith("quality.gain_over_") and f.status == "ok"}
        assert {"quality.gain_over_shared_words", "quality.gain_over_bag_of_words", "quality.gain_over_majority"} <= set(gains)
        assert min(finding.low or 0 for finding in gains.values()) > 0.2, {id: f.low for id, f in gains.items()}
    bundle = tmp_path / "run" / "bundle"
    labels = files.read_json(bundle / "model" / "artifact.json")["labels"]["names"]
    assert labels == ["first", "second", "third"]
    rows = write_questions(tmp_path / "new.csv", 40, seed=5)
    answers = predicted(bundle, rows, tmp_path / "out.jsonl")
    assert all(list(answer["probabilities"]) == labels and answer["label"] in labels for answer in answers)  # type: ignore[call-overload]
    truth = [
        {"A": "first", "B": "second", "C": "third"}.get(row["answer"], row["answer"]) for row in csv.DictReader(rows.open(encoding="utf-8"))
    ]
    right = float(np.mean([answer["label"] == label for answer, label in zip(answers, truth, strict=True)]))
    asked = ["audit", str(bundle), "--data", str(rows), "--label", "answer", "--only", "quality", "--out", str(tmp_path / "again")]
    told = CliRunner().invoke(app, asked)
    found = files.read_json(tmp_path / "again" / "audit.json")["findings"]
    assert next(finding["value"] for finding in found if finding["id"] == "quality.accuracy") == right, told.output
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert "question ↔ first ↔ second ↔ {third} it" in card and "\x1f" not in card


def test_training_that_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    plan = read_recipe(write_choice_world(tmp_path, rows=200), ["train.epochs=2", "train.save_every=0.001"])
    recipe = plan.finetune
    data = load(recipe.data, root=tmp_path, seed=0)
    base = resolve_base(str(tmp_path / "base"))
    steps: list[int] = []

    def train(folder: Path, stop_at: int) -> Path:
        def told(event: str, /, **fields: object) -> None:
            if event == "resumed":
                steps.append(int(str(fields["step"])))
            if event == "checkpoint" and fields["step"] == stop_at:
                raise KeyboardInterrupt

        parts = (data.splits["train"], data.splits["validation"])
        trained = fit(base, MULTIPLE_CHOICE, data.labels, *parts, adapt=recipe.adapt, options=recipe.train, folder=folder, emit=told)
        return trained.folder / "model.safetensors"

    whole = train(tmp_path / "whole", -1)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "part", 9)
    again = train(tmp_path / "part", -1)
    assert steps == [9] and whole.read_bytes() == again.read_bytes()


def test_what_cannot_be_read_so_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    long, choice = write_long_world(tmp_path / "long", stride=13), write_choice_world(tmp_path / "choice")
    with pytest.raises(RecipeError) as error:
        read_recipe(long)
    assert [problem.hint for problem in error.value.problems] == ["set data.stride: 12 or less"]
    with pytest.raises(RecipeError) as error:
        read_recipe(long, ["data.stride=4", "task=relation-extraction", "data.head=sex", "data.tail=sex"])
    assert any("both entities must stand" in str(problem) for problem in error.value.problems), error.value.problems
    assert read_recipe(long, ["data.stride=4", "task=token-classification"]).finetune.data.stride == 4
    with pytest.raises(RecipeError) as error:
        read_recipe(long, ["task=token-classification"])
    assert [problem.hint for problem in error.value.problems] == ["set data.stride: 12 or less"]
    for overrides, wanted in (
        (["data.choices=[]"], "weighs choices, and none are named"),
        (["data.choices=[first]"], "two or more columns"),
        (["task=text-classification"], "are of a question"),
        (["data.stride=4"], "stride makes windows"),
        (["data.text_pair=first"], "choices and text_pair"),
        (["data.choices=[first, secnod]"], "there is no column 'secnod'"),
    ):
        with pytest.raises(RecipeError) as error:
            read_recipe(choice, overrides)
        assert any(wanted in str(problem) for problem in error.value.problems), (overrides, error.value.problems)
