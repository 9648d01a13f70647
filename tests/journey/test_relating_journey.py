"""Two released bundles together: one finds the people in a text, the other says of each pair what `predict` says of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from relation_world import write_relation_world
from typer.testing import CliRunner

import trustbase
from hurry import time_quickly
from trustbase import files
from trustbase.cli.main import app
from trustbase.errors import UsageError, VerificationError
from trustbase.flow import run

pytestmark = pytest.mark.usefixtures("one_thread")

FINDER = """
task: token-classification
base: base
data: {train: people.jsonl, text: words, label: people}
train: {epochs: 8, learning_rate: 4e-3, max_length: 32, batch_tokens: 512, precision: fp32, seed: 0}
release: {runtime: torch, precision: fp32}
audit: [quality]
gates: {quality.entity_f1: ">= 0.9"}
"""
OTHER_WAY = {"teacher": "pupil", "pupil": "teacher", "none": "none"}
TEXTS, NEW, MARGIN = 400, 120, 0.3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with both bundles, and rows of new texts."""
    folder = tmp_path_factory.mktemp("relating")
    patch = pytest.MonkeyPatch()
    patch.setenv("TRUSTBASE_HOME", str(folder / "home"))
    time_quickly(patch)
    recipe = write_relation_world(folder, rows=TEXTS + NEW, epochs=24, limit=0.7)
    texts = text_by_text(folder / "rows.jsonl")
    write(folder / "rows.jsonl", [row for text in texts[:-NEW] for row in both_ways(text)])
    write(folder / "new.jsonl", [row for text in texts[-NEW:] for row in both_ways(text)])
    people = [{"words": row["text"], "people": sorted([*row[side], "PER"] for side in ("head", "tail"))} for row in texts[:-NEW]]
    write(folder / "people.jsonl", people)
    files.write_text(folder / "people.yaml", FINDER)
    finder = run(folder / "people.yaml", out=folder / "finder")
    teller = run(recipe, ["audit=[quality]", "train.learning_rate=2e-3"], out=folder / "teller")
    assert (finder.exit_code, teller.exit_code) == (0, 0)
    yield folder
    patch.undo()


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def text_by_text(path: Path) -> list[dict[str, Any]]:
    """One row of each text, spans as `[start, end]`."""
    rows = {row["text"]: row for row in read(path)}
    for row in rows.values():
        row["head"] = [row["head"]["start"], row["head"]["end"]]
        row["tail"] = list(map(int, row["tail"].split(":"))) if isinstance(row["tail"], str) else row["tail"]
    return list(rows.values())


def both_ways(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A text's two ordered pairs, with types."""
    spans = [{"start": start, "end": end, "type": "person"} for start, end in (row["head"], row["tail"])]
    turned = {**row, "head": spans[1], "tail": spans[0], "relation": OTHER_WAY[row["relation"]]}
    return [{**row, "head": spans[0], "tail": spans[1]}, turned]


def bundles(world: Path) -> tuple[Path, Path]:
    return world / "finder" / "bundle", world / "teller" / "bundle"


def relations_of(rows: Sequence[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """Text, places of head and tail, and label of each relation that holds."""
    told = [(row["text"], *(row[side][end] for side in ("head", "tail") for end in ("start", "end")), row["relation"]) for row in rows]
    return {item for item in told if item[-1] != "none"}


def f1_of(told: set[tuple[Any, ...]], true: set[tuple[Any, ...]]) -> float:
    return 2 * len(told & true) / (len(told) + len(true))


def by_dictionary(train: Sequence[dict[str, Any]], texts: Sequence[str], label: str) -> set[tuple[Any, ...]]:
    """Every pair of words that were an entity in training, with the same relation."""
    known = {row["text"][row[side]["start"] : row[side]["end"]] for row in train for side in ("head", "tail")}
    found = set()
    for text in texts:
        ends = np.cumsum([len(word) + 1 for word in text.split(" ")]) - 1
        places = [(int(end) - len(word), int(end)) for word, end in zip(text.split(" "), ends, strict=True) if word in known]
        found |= {(text, *one, *other, label) for one in places for other in places if one != other}
    return found


def test_the_audit_of_both_is_what_they_answer_and_beats_a_dictionary_with_the_commonest_relation(world: Path) -> None:
    finder, teller = bundles(world)
    rows = read(world / "new.jsonl")
    texts = list(dict.fromkeys(row["text"] for row in rows))
    write(world / "texts.jsonl", [{"text": text} for text in texts])
    both = ["--entities", str(finder), "--types", "PER=person"]
    asked = ["predict", str(teller), *both, "--input", str(world / "texts.jsonl"), "--output", str(world / "answers.jsonl")]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0 and f"answered {len(texts)} of {len(texts)} rows" in told.output, told.output
    answers = read(world / "answers.jsonl")
    found = trustbase.relations(finder, teller, texts, types={"PER": "person"})
    assert [item.to_json() for item in found] == answers and {line["pairs"] for line in answers} >= {2}

    said = relations_of(
        [
            {"text": text, **{side: line["entities"][item[side]] for side in ("head", "tail")}, "relation": item["label"]}
            for text, line in zip(texts, answers, strict=True)
            for item in line["relations"]
        ]
    )
    own, true = f1_of(said, relations_of(rows)), relations_of(rows)
    limit = world / "limit.yaml"
    files.write_text(limit, '"quality.relation_f1#end-to-end": ">= 0.5"\n')
    audited = ["audit", str(teller), *both, "--data", str(world / "new.jsonl"), "--label", "relation", "--only", "quality"]
    result = CliRunner().invoke(app, [*audited, "--policy", str(limit), "--out", str(world / "audited"), "--lang", "zh"])
    assert result.exit_code == 0 and "quality.relation_f1#end-to-end" in result.output, result.output
    model = files.read_json(world / "audited" / "audit.json")["model"]
    digests = [files.read_json(bundle / "audit.json")["model"]["digest"] for bundle in (finder, teller)]
    assert [model["entities"]["digest"], model["digest"]] == digests
    measured = {item["id"]: item for item in files.read_json(world / "audited" / "audit.json")["findings"]}
    f1 = measured["quality.relation_f1#end-to-end"]
    assert f1["value"] == pytest.approx(own) and f1["n"] == len(true) and "sets of texts" in f1["method"]
    assert measured["quality.relation_recall#end-to-end"]["value"] == pytest.approx(len(said & true) / len(true))
    assert measured["quality.relation_f1"]["status"] == "ok" and measured["quality.relation_f1"]["method"] != f1["method"]

    train = read(world / "rows.jsonl")
    common = Counter(row["relation"] for row in train if row["relation"] != "none").most_common()
    rival = max(f1_of(by_dictionary(train, texts, label), true) for label, _ in common)
    assert rival > 0.3 and f1["low"] > rival + MARGIN, (f1, rival)
    page = (world / "audited" / "report.html").read_text(encoding="utf-8")
    assert "关系的结果（两步合计）" in page and "两步合计，实体由模型找出" in page and digests[0] in page and texts[0] not in page


def test_the_people_of_a_text_are_related_as_predict_relates_them(world: Path) -> None:
    finder, teller = bundles(world)
    texts = list(dict.fromkeys(row["text"] for row in read(world / "new.jsonl")))[:60]
    found = trustbase.relations(finder, teller, texts, types={"PER": "person"})
    asked = [{"text": item.text, "head": one, "tail": other} for item in found for one, other in ordered(item)]
    write(world / "pairs.jsonl", [{**row, "relation": "?"} for row in asked])
    trustbase.predict(teller, input=world / "pairs.jsonl", output=world / "alone.jsonl")
    alone = [line["label"] for line in read(world / "alone.jsonl")]
    assert [answer for item in found for answer in labels(item)] == alone and len(set(alone)) > 1 and len(alone) > 100


def ordered(item: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    places = [{"start": entity.start, "end": entity.end, "type": "person"} for entity in item.entities]
    return [(one, other) for one in places for other in places if one != other]


def labels(item: Any) -> list[str]:
    """The answer to each pair, in the order of `ordered`."""
    answers = {(item.entities[pair.head].start, item.entities[pair.tail].start): pair.label for pair in item.relations}
    return [answers.get((one["start"], other["start"]), "none") for one, other in ordered(item)]


def test_bad_rows_and_crowded_texts_get_an_error_of_their_own(world: Path) -> None:
    finder, teller = bundles(world)
    rows = [
        {"text": "today anna met boris again"},
        {"text": ""},
        {"text": "x\u000ey"},
        {"text": "anna met boris met clara"},
        {"text": "again " * 60},
    ]
    write(world / "odd.jsonl", rows)
    (world / "odd.jsonl").open("a").write("{no json\n")
    more = ["--entities", str(finder), "--types", "PER=person", "--most-pairs", "2"]
    told = CliRunner().invoke(app, ["predict", str(teller), *more, "--input", str(world / "odd.jsonl"), "--output", str(world / "odd.out")])
    lines = read(world / "odd.out")
    assert told.exit_code == 0 and "answered 2 of 6 rows, 4 with an error" in told.output, told.output
    kinds = [line["error"]["type"] if "error" in line else line["pairs"] for line in lines]
    assert kinds == [2, "bad_row", "bad_input", "too_many_pairs", 0, "bad_row"]
    assert lines[4]["unread_tokens"] > 0 and "odd.jsonl:2" in lines[1]["error"]["message"]


def test_what_does_not_fit_together_is_refused_before_anything_is_written(world: Path, tmp_path: Path) -> None:
    finder, teller = bundles(world)
    texts, rows = ["--input", str(world / "new.jsonl"), "--output", str(tmp_path / "o")], ["--data", str(world / "new.jsonl")]
    predict, audit = ["predict", str(teller), *texts], ["audit", str(teller), *rows, "--label", "relation", "--out", str(tmp_path / "a")]
    named = ["--entities", str(finder)]
    refused = [
        ([*predict, *named], "finds PER, which relations were never trained on: their rows told person"),
        ([*predict, *named, "--types", "PER=persona"], "says persona, which relations were never trained on"),
        ([*predict, *named, "--types", "PER"], "takes NAME=MEANING"),
        ([*predict, *named, "--types", "PER=person", "--farthest", "-1"], "must be a number of characters"),
        ([*predict, "--entities", str(teller)], "is a model of task relation-extraction"),
        (["predict", str(finder), "--entities", str(finder), *texts], "is a model of task token-classification"),
        ([*predict, "--types", "PER=person", "--most-pairs", "9"], "--most-pairs: is of two models that are asked together"),
        ([*audit, *named], "finds PER, which relations were never trained on"),
        ([*audit, "--entities", str(teller)], "is a model of task relation-extraction"),
        ([*audit, "--farthest", "9"], "--farthest: is of two models that are asked together"),
        ([*audit, *named, "--types", "PER=person", "--only", "efficiency"], "leaves out quality"),
    ]
    for arguments, why in refused:
        told = CliRunner().invoke(app, arguments)
        assert isinstance(told.exception, UsageError) and why in str(told.exception), (arguments, told.output, told.exception)
    broken = tmp_path / "broken"
    files.replace_folder(
        broken,
        lambda target: [
            files.write_bytes(target / p.relative_to(finder), p.read_bytes()) for p in sorted(finder.rglob("*")) if p.is_file()
        ],
    )
    weights = broken / "model" / "model.safetensors"
    files.write_bytes(weights, weights.read_bytes()[:-1] + b"\x00\x01")
    for arguments in (predict, audit):
        told = CliRunner().invoke(app, [*arguments, "--entities", str(broken), "--types", "PER=person"])
        assert isinstance(told.exception, VerificationError), told.output
    assert not (tmp_path / "o").exists() and not (tmp_path / "a" / "audit.json").exists()
