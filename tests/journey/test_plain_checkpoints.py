"""A plain checkpoint that reads more than one text is told what by options, audited and compared; what does not fit is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_task import WORLDS
from typer.testing import CliRunner

import trustbase
from hurry import time_quickly
from trustbase import files
from trustbase.audit.named_texts import NamedTexts
from trustbase.cli.main import app
from trustbase.data.marked import columns_of
from trustbase.data.pair import join
from trustbase.data.single import load_single
from trustbase.data.truth.span import SCORES
from trustbase.errors import TrustbaseError, UsageError
from trustbase.model.answering import QUESTION_ANSWERING
from trustbase.model.artifact import read_artifact
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.task import MULTIPLE_CHOICE, RELATION_EXTRACTION
from trustbase.model.tokenizer import load_tokenizer
from trustbase.outputs.answers.base import decided
from trustbase.records import LabelSchema

pytestmark = pytest.mark.usefixtures("one_thread")

RELATIONS = LabelSchema(("none", "pupil", "teacher"), "teacher", "teacher")
CHOICES = LabelSchema(("first", "second", "third"), "third", "third")
SPANS = LabelSchema(SCORES, SCORES[-1], SCORES[-1])
CASES: dict[str, tuple[Any, LabelSchema, dict[str, Any], str, str]] = {
    "question-answering": (
        QUESTION_ANSWERING,
        SPANS,
        {"text": "context", "question": "question"},
        join("question", "context"),
        "exact_match",
    ),
    "multiple-choice": (
        MULTIPLE_CHOICE,
        CHOICES,
        {"text": "question", "choices": ["first", "second", "{third} it"]},
        join("question", "first", "second", "{third} it"),
        "accuracy",
    ),
    "relation-extraction": (
        RELATION_EXTRACTION,
        RELATIONS,
        {"text": "text", "head": "head", "tail": "tail"},
        columns_of("text", "head", "tail"),
        "accuracy",
    ),
}


def options(named: dict[str, Any]) -> list[str]:
    return [part for name, value in named.items() for part in (f"--{name}", value if isinstance(value, str) else ",".join(value))]


@pytest.mark.parametrize("task", list(CASES))
def test_a_plain_checkpoint_is_audited_and_compared(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch, forked=False)
    made, labels, named, whole, metric = CASES[task]
    world = WORLDS[task]
    world.write(tmp_path)
    base = resolve_base(str(tmp_path / "base"))
    for seed in (0, 1):
        made.build(base, labels, seed=seed).save_pretrained(tmp_path / f"model{seed}")
        load_tokenizer(base.folder).save_pretrained(tmp_path / f"model{seed}")
    rows = tmp_path / world.rows
    shared = ["--data", str(rows), "--label", world.label, *options(named)]
    told = CliRunner().invoke(app, ["audit", str(tmp_path / "model0"), *shared, "--only", "quality", "--out", str(tmp_path / "out")])
    assert told.exit_code == 0, (told.output, told.exception)
    found = {finding["id"]: finding for finding in files.read_json(tmp_path / "out" / "audit.json")["findings"]}
    assert not [id for id, finding in found.items() if finding["status"] == "failed"]

    info = NamedTexts(**{**named, "choices": tuple(named.get("choices", ()))}).of(read_artifact(tmp_path / "model0"))[0]
    assert info.task == task and info.labels.names == labels.names
    split = load_single(str(rows), text=whole, label=world.label, labels=labels, answers=info.answer_kind)[0]
    with Predictor.open(info) as predictor:  # another way to the same number
        said = decided(predictor.scores(list(split.texts)), labels, info.decision, info.answer_kind)
    if metric == "accuracy":
        assert found["quality.accuracy"]["value"] == pytest.approx(float((said == split.labels).mean()))
    else:
        exact = [bool(answer) == bool(true) and (not true or answer[0] in true) for answer, true in zip(said, split.labels, strict=True)]
        assert found["quality.exact_match"]["value"] == pytest.approx(float(np.mean(exact)), abs=0.02)

    compared = ["compare", str(tmp_path / "model0"), str(tmp_path / "model1"), *shared, "--calls", "0", "--out", str(tmp_path / "both")]
    told = CliRunner().invoke(app, compared)
    assert told.exit_code == 0, (told.output, told.exception)
    facts = files.read_json(tmp_path / "both" / "compare.json")
    champion = next(item["champion"] for item in facts["metrics"] if item["metric"] == metric)
    assert champion == pytest.approx(found[f"quality.{metric}"]["value"]) and facts["main"] == world.main

    if (wanted := {"question-answering": "--question", "multiple-choice": "--choices"}.get(task)) is not None:
        with pytest.raises(UsageError) as error:  # without it nobody knows what is asked
            trustbase.audit(tmp_path / "model0", data=rows, text=named["text"], label=world.label, out=tmp_path / "no")
        assert [problem.where for problem in error.value.problems] == [wanted]


def test_options_that_do_not_go_together_are_all_told() -> None:
    every = NamedTexts(None, "b", "q", ("one",), "h")
    assert [problem.where for problem in every.problems()] == [
        "--text-pair",
        "--text-pair and --question and --choices and --head",
        "--tail",
        "--choices",
    ]
    assert not list(NamedTexts("a", head="h", tail="t").problems()) and not list(NamedTexts("a", "b").problems())


def test_models_that_read_otherwise_refuse_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    WORLDS["relation-extraction"].write(tmp_path)
    base = resolve_base(str(tmp_path / "base"))
    RELATION_EXTRACTION.build(base, RELATIONS, seed=0).save_pretrained(tmp_path / "model")
    load_tokenizer(base.folder).save_pretrained(tmp_path / "model")
    for named, where in (({"question": "head"}, "--question"), ({"choices": ["head", "tail"]}, "--choices"), ({"head": "head"}, "--tail")):
        with pytest.raises(TrustbaseError) as error:
            trustbase.audit(tmp_path / "model", data=tmp_path / "rows.jsonl", text="text", label="relation", out=tmp_path / "out", **named)  # type: ignore[arg-type]
        assert [problem.where for problem in error.value.problems] == [where] and error.value.exit_code == 2
