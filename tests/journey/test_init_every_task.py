"""`trustbase init --data FILE` writes, for every task, a recipe that reads, says why, and runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from every_task import WORLDS
from typer.testing import CliRunner

import trustbase
from entity_world import write_names
from trustbase.cli.main import app
from trustbase.errors import DataError
from trustbase.recipe.look import look_at
from trustbase.recipe.propose import propose
from trustbase.recipe.read import read_recipe
from trustbase.recipe.template import init

#: What of the file is what, task by task; the label column stands in `WORLDS`.
READ: dict[str, dict[str, Any]] = {
    "text-classification": {"text": "text", "positive": "yes", "groups": ["sex"]},
    "text-pair-classification": {"text": "first", "text_pair": "second", "positive": "yes"},
    "relation-extraction": {"text": "text", "head": "head", "tail": "tail", "no_relation": "none"},
    "multi-label-classification": {"text": "text", "groups": ["sex"]},
    "token-classification": {"text": "text"},
    "regression": {"text": "text", "groups": ["sex"]},
    "question-answering": {"text": "context", "question": "question", "groups": ["sex"]},
    "multiple-choice": {"text": "question", "choices": ["first", "second", "third"], "groups": ["sex"]},
}
FOUND_OUT = ("text-classification", "multi-label-classification", "token-classification", "question-answering", "relation-extraction")
RUN = ("relation-extraction", "token-classification", "question-answering", "multiple-choice")
SHORT = ["base=base", "train.max_steps=2", "train.learning_rate=1e-3", "train.precision=fp32", "release.precision=fp32", "audit=[quality]"]


def plain_choices(path: Path) -> None:
    """The label by columns, since `first` and the like share nothing but that the label names them."""
    with path.open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    letters = {"A": "first", "B": "second", "C": "third"}
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "answer": letters.get(row["answer"], row["answer"])} for row in rows)


@pytest.mark.parametrize("task", list(WORLDS))
def test_a_recipe_is_written_read_and_run(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    world = WORLDS[task]
    world.write(tmp_path)
    if task == "multiple-choice":
        plain_choices(tmp_path / world.rows)
    named = {"label": world.label} if task in ("regression", "text-pair-classification") else {}  # other columns may be it as well
    path = init("made", data=world.rows, task=None if task in FOUND_OUT else task, **named)
    recipe = read_recipe(path).finetune
    assert recipe.task == task and recipe.data.label == world.label
    told = recipe.data.model_dump()
    assert {key: told[key] for key in READ[task]} == READ[task]
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("  label:")]
    assert len(lines) == 1 and "    # " in lines[0]
    if task in RUN:
        made = trustbase.run(path, SHORT, out=tmp_path / "run")
        assert made.exit_code in (0, 3) and not [f.id for f in made.audit.findings if f.status == "failed"]
        assert {gate.gate.split()[0] for gate in made.verdict.gates} <= {finding.id for finding in made.audit.findings}


def proposed(rows: list[dict[str, Any]], path: Path, **asked: str) -> str:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return propose(look_at(str(path), root=Path()), **asked)


def test_entities_are_known_as_tags_and_in_conll(tmp_path: Path) -> None:
    words, tags = ["Anna", "Lee", "met", "old", "Tom", "in", "Oslo", "today"], ["B-PER", "I-PER", "O", "O", "B-PER", "O", "B-LOC", "O"]
    made = proposed([{"id": number, "tokens": [*words, str(number)], "ner": [*tags, "O"]} for number in range(40)], tmp_path / "rows.jsonl")
    assert "task: token-classification" in made and "text: tokens" in made and "label: ner" in made
    assert "2 types; rows that have one: LOC 100%, PER 100%" in made and "quality.gain_over_dictionary" in made
    lines = [f"{word}{number} {tag}" for number in range(40) for word, tag in [*zip(words, tags, strict=True), ("", "")]]
    (tmp_path / "rows.conll").write_text("\n".join(line if line.strip("0123456789 ") else "" for line in lines), encoding="utf-8")
    assert "label: entities    # entities of 2 types" in propose(look_at(str(tmp_path / "rows.conll"), root=Path()))


def test_long_contexts_are_searched_in_windows_and_answers_counted(tmp_path: Path) -> None:
    context = " ".join(f"word{number}" for number in range(400))
    rows = [
        {
            "id": str(n),
            "title": f"part {n}",
            "context": f"{context} {n}",
            "question": f"which word comes {n}th of all these words",
            "answers": spans,
        }
        for n, spans in enumerate([{"text": ["word7"], "answer_start": [context.index("word7")]}, {"text": [], "answer_start": []}] * 30)
    ]
    made = proposed(rows, tmp_path / "rows.jsonl")
    for line in ("task: question-answering", "stride: 128", "max_length: 384", "50% of the rows have none", 'quality.token_f1: ">= 0.50"'):
        assert line in made, made


@pytest.mark.parametrize("long", [0, 1, 40])
def test_entities_of_texts_beyond_the_proposed_length_are_read_in_windows(long: int, tmp_path: Path) -> None:
    def row(number: int) -> dict[str, Any]:
        words = " ".join(["Anna met old Tom in the town today"] * (90 if number < long else 2))
        return {"text": f"{words} {number}", "entities": [{"start": 0, "end": 4, "label": "PER"}]}

    made = proposed([row(number) for number in range(40)], tmp_path / "rows.jsonl")
    assert "task: token-classification" in made and ("stride: " in made) is (long > 0)
    if long:  # one of forty is beyond what 95 % of the rows have; all are beyond the longest that is proposed
        assert f"max_length: {512 if long == 40 else 32}" in made and f"stride: {128 if long == 40 else 16} " in made, made


def test_choices_are_known_by_their_names_and_the_label_by_its_cells(tmp_path: Path) -> None:
    def rows(right: Any) -> list[dict[str, Any]]:
        ends = {f"ending{k}": f"then the {k} of them goes home again" for k in range(4)}
        return [{"ctx": f"someone number {n} walks into the house", **ends, "label": right(n)} for n in range(40)]

    made = proposed(rows(lambda n: n % 4), tmp_path / "rows.jsonl", task="multiple-choice")
    assert "choices: [ending0, ending1, ending2, ending3]" in made and "text: ctx" in made and 'quality.accuracy: ">= 0.25"' in made
    with pytest.raises(DataError, match="0 is the first") as error:  # numbers from 1 are never guessed
        proposed(rows(lambda n: n % 4 + 1), tmp_path / "rows.jsonl", task="multiple-choice")
    assert len(error.value.problems) == 6


@pytest.mark.parametrize("task", ["token-classification", "question-answering", "relation-extraction", "multiple-choice"])
def test_what_is_not_in_the_file_is_refused_with_all_that_is(task: str, tmp_path: Path) -> None:
    rows = [{"text": f"a text about thing number {n} of them", "label": "ab"[n % 2], "open": "9:30", "close": "10:45"} for n in range(60)]
    with pytest.raises(DataError) as error:
        proposed(rows, tmp_path / "rows.jsonl", task=task)
    assert {problem.where for problem in error.value.problems} == {"text", "label", "open", "close"}
    assert "--label" in (error.value.hint or "") and error.value.exit_code == 2
    assert "task: text-classification" in proposed(rows, tmp_path / "rows.jsonl")  # two clocks are no two entities


def test_the_command_says_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_names(tmp_path / "names.jsonl", 120)
    told = CliRunner().invoke(app, ["init", "names", "--task", "token-classification", "--data", "names.jsonl"])
    assert told.exit_code == 0 and "wrote names.yaml" in told.output
    assert read_recipe(tmp_path / "names.yaml").finetune.task == "token-classification"
