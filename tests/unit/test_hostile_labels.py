"""Label cells that are built to break the reader, contradict themselves or are too large: bad rows with their reason, never an accident."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.errors import DataError
from trustbase.recipe.look import look_at
from trustbase.recipe.propose import propose

DEEP = "[" * 100_000
GOOD: dict[str, dict[str, Any]] = {
    "tokens": {"x": "anna met", "y": [[0, 4, "PER"]]},
    "labels": {"x": "anna met", "y": ["a"]},
    "span": {"x": "anna met", "q": "who", "y": [{"start": 0, "text": "anna"}]},
    "number": {"x": "anna met", "y": 1},
}


def rows_of(answers: str, count: int = 40) -> list[dict[str, Any]]:
    """Rows of which each has a text of its own; some of several labels have none, and numbers differ."""
    rows = [{**GOOD[answers], "x": f"{GOOD[answers]['x']} {number}"} for number in range(count)]
    for number, row in enumerate(rows):
        if answers == "labels" and number % 2:
            row["y"] = ["b"]
        if answers == "number":
            row["y"] = number
    return rows


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def problems_of(folder: Path, answers: str, *cells: Any, **more: Any) -> list[str]:
    """What is said of rows with these label cells, which stand behind good ones."""
    write(folder, [*rows_of(answers), *({**GOOD[answers], "y": cell} for cell in cells)])
    asked = {"question": "q"} if answers == "span" else {}
    with pytest.raises(DataError) as caught:
        load(DataOptions(train="rows.jsonl", text="x", label="y", **asked, **more), root=folder, seed=0, answers=answers)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ("tokens", "is no JSON list of entities {start, end, label}: got '[[["),
        ("labels", "is neither names between semicolons nor a JSON list of names: got '[[["),
        ("span", "is neither SQuAD's {text, answer_start} nor a list of {start, text}: got '[[["),
    ],
)
def test_lists_deeper_than_the_parser_goes_are_one_bad_row(tmp_path: Path, answers: str, reason: str) -> None:
    (problem,) = problems_of(tmp_path, answers, DEEP)
    assert problem.startswith(f"rows.jsonl:41: column 'y' (label) {reason}")


def test_tags_of_such_lists_leave_the_rows_beside_them_as_they_are(tmp_path: Path) -> None:
    rows = [{"x": ["anna", "met", str(number)], "y": ["B-PER", "O", "O"]} for number in range(40)]
    write(tmp_path, [*rows, {"x": DEEP, "y": DEEP}])
    options = DataOptions(train="rows.jsonl", text="x", label="y", tolerance=1)
    facts = load(options, root=tmp_path, seed=0, answers="tokens").facts
    assert facts["bad_rows"]["count"] == 1 and sum(part["rows"] for part in facts["splits"].values()) == 40


@pytest.mark.parametrize("task", [None, "token-classification", "multi-label-classification", "question-answering", "relation-extraction"])
def test_no_recipe_is_guessed_of_such_lists(tmp_path: Path, task: str | None) -> None:
    path = write(tmp_path, [{"text": f"the film was good and bad {number} again", "label": DEEP} for number in range(30)])
    with pytest.raises(DataError):
        propose(look_at(str(path), root=Path()), task=task)


@pytest.mark.parametrize(
    ("answers", "cell", "reason"),
    [
        ("tokens", [{"start": 0, "begin": 5, "end": 8, "label": "PER"}], "names a span whose start or end is told twice, and not alike"),
        ("tokens", [{"start": 0, "end": 4, "stop": 8, "label": "PER"}], "names a span whose start or end is told twice, and not alike"),
        ("span", [{"start": 5, "end": 7, "text": "met"}], "names an answer that does not end where its text does: got 'met' from 5 to 7"),
        ("span", [{"start": 5, "answer_start": 0, "text": "met"}], "is neither SQuAD's {text, answer_start} nor a list"),
        ("span", [{"start": 1, "text": "anna"}], "names an answer that does not stand where it says: got 'anna' at 1"),
        ("span", {"text": ["anna"], "answer_start": [3]}, "names an answer that does not stand where it says: got 'anna' at 3"),
        ("span", [{"start": 90, "text": "anna"}], "names an answer that is not in the text: got [90, 94) of 8 characters"),
        ("span", [{"start": -1, "text": "anna"}], "names an answer that is not in the text: got [-1, 3) of 8 characters"),
        ("span", [[0, 90]], "names an answer that is not in the text: got [0, 90) of 8 characters"),
        ("span", [[5, 2]], "names an answer that ends where it begins, or before: got [5, 2)"),
        ("span", [[5, 5]], "names an answer that ends where it begins, or before: got [5, 5)"),
        ("span", [[4, 5]], "names an answer of blanks: got [4, 5)"),
        ("span", {"text": ["anna", ""], "answer_start": [0, 0]}, "names an answer without words; an empty list says that there is none"),
        (
            "span",
            {"text": [""], "answer_start": [-1]},
            "names an answer without words; an empty list says that there is none",
        ),
        ("span", {"text": [], "answer_start": [0]}, "is neither SQuAD's {text, answer_start} nor a list"),
        ("span", {"text": ["anna"], "answer_start": [0], "is_impossible": True}, "contradicts itself: is_impossible must be true where"),
        ("span", {"text": [], "answer_start": [], "is_impossible": False}, "contradicts itself: is_impossible must be true where"),
        ("tokens", [[0, 4, "PER"], [2, 8, "PER"]], "names spans that overlap: got [0, 4) and [2, 8)"),
        ("tokens", [[0, 8, "PER"], [0, 4, "PER"]], "names spans that overlap: got [0, 4) and [0, 8)"),
        ("tokens", [[0, 4, "PER"], [0, 4, "PER"]], "names spans that overlap: got [0, 4) and [0, 4)"),
        ("tokens", [[5, 2, "PER"]], "names a span that ends where it begins, or before: got [5, 2) of 8 characters"),
        ("tokens", [[5, 5, "PER"]], "names a span that ends where it begins, or before: got [5, 5) of 8 characters"),
        ("tokens", [[0, 90, "PER"]], "names a span that is not in the text: got [0, 90) of 8 characters"),
        ("tokens", [[-4, 4, "PER"]], "names a span that is not in the text: got [-4, 4) of 8 characters"),
        ("tokens", [[0, 4, ""]], "names an entity of an empty type: got '[[0, 4, \"\"]]'"),
        ("tokens", [[0, 4, "PER"], {"start": 5, "end": 8, "label": " "}], "names an entity of an empty type"),
        ("tokens", [{"start": 0, "end": 4, "label": "PER", "type": "LOC"}], "names an entity whose type is told twice, and not alike"),
        ("tokens", [{"start": 0, "end": 4, "label": "PER", "text": "met"}], "names a span that does not hold the text that it says"),
    ],
)
def test_a_cell_that_contradicts_itself_is_a_bad_row(tmp_path: Path, answers: str, cell: Any, reason: str) -> None:
    (problem,) = problems_of(tmp_path, answers, cell)
    assert problem.startswith(f"rows.jsonl:41: column 'y' (label) {reason}")


@pytest.mark.parametrize(
    ("tokens", "tags", "reason"),
    [
        (
            ["anna", "met"],
            ["B-PER"],
            "column 'y' (label) is a list of words, and not of one tag for each token of the text: got '[\"B-PER\"]'",
        ),
        (["anna", "met"], ["B-PER", "Q"], "column 'y' (label) is a list of words, and not of one tag for each token of the text"),
        (["anna", "met"], ["B-PER", ""], "column 'y' (label) is a list of words, and not of one tag for each token of the text"),
        (["anna", "met"], [], "column 'y' (label) is empty"),
        ([], [], "column 'y' (label) is empty; column 'x' (text) is empty"),
    ],
)
def test_tags_that_are_not_those_of_the_tokens_are_a_bad_row(tmp_path: Path, tokens: list[str], tags: list[str], reason: str) -> None:
    rows = [{"x": ["anna", "met", str(number)], "y": ["B-PER", "O", "O"]} for number in range(40)]
    write(tmp_path, [*rows, {"x": tokens, "y": tags}])
    with pytest.raises(DataError) as caught:
        load(DataOptions(train="rows.jsonl", text="x", label="y"), root=tmp_path, seed=0, answers="tokens")
    (problem,) = caught.value.problems
    assert problem.where == "rows.jsonl:41" and problem.message.startswith(reason)


def test_what_is_told_twice_alike_is_read(tmp_path: Path) -> None:
    entity = {"start": 0, "begin": 0, "end": 4, "label": "PER", "type": "PER", "entity": "anna", "text": "anna", "word": "ann"}
    write(tmp_path, [*rows_of("tokens"), {"x": "anna met", "y": [entity]}])
    assert load(DataOptions(train="rows.jsonl", text="x", label="y"), root=tmp_path, seed=0, answers="tokens").labels.names[1] == "B-PER"
    answer = {"start": 0, "answer_start": 0, "end": 4, "text": "anna"}
    none = [{"text": [], "answer_start": [], "is_impossible": said} for said in (True, None)]
    write(tmp_path, [*rows_of("span")[:-2], *({"x": "anna met", "q": "who", "y": cell} for cell in ([answer], *none))])
    options = DataOptions(train="rows.jsonl", text="x", question="q", label="y")
    assert sum(map(len, load(options, root=tmp_path, seed=0, answers="span").splits.values())) == 41


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1.1e30", "-3e31"])
def test_a_number_that_no_score_can_be_is_a_bad_row(tmp_path: Path, number: str) -> None:
    (problem,) = problems_of(tmp_path, "number", number)
    told = "is beyond 1e+30, the largest number that can be learned"
    assert problem == f"rows.jsonl:41: column 'y' (label) {told}: got '{number}'; write them in another unit"


def numbers(folder: Path, values: list[float], **more: Any) -> Any:
    write(folder, [{"x": f"anna met {number}", "y": value} for number, value in enumerate(values)])
    return load(DataOptions(train="rows.jsonl", text="x", label="y", **more), root=folder, seed=0, answers="number")


@pytest.mark.parametrize("values", [[1e308 * (-1) ** n for n in range(40)], [(5 + n) * 1e200 for n in range(40)]])
def test_where_all_numbers_are_too_large_every_training_row_is_named(tmp_path: Path, values: list[float]) -> None:
    with pytest.raises(DataError) as caught:
        numbers(tmp_path, values)
    assert len(caught.value.problems) == 40
    assert [problem.where for problem in caught.value.problems] == [f"rows.jsonl:{line}" for line in range(1, 41)]
    assert all("is beyond 1e+30" in problem.message for problem in caught.value.problems) and caught.value.exit_code == 2


def test_what_is_left_beside_tolerated_ones_must_still_differ(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        numbers(tmp_path, [7.0] * 38 + [1e300, 1e301], tolerance=2)
    assert "must be numbers that differ" in str(caught.value.problems[0]) and "all 7" in str(caught.value.problems[0])


def test_numbers_that_hardly_differ_are_told_by_their_ends(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        numbers(tmp_path, [(5 + n) * 1e-200 for n in range(40)])
    message = str(caught.value.problems[0])
    assert "a standard deviation over 1e-30" in message and " numbers from " in message and "another unit" in message


@pytest.mark.parametrize("unit", [1e29, 1.0, 1e-29])
def test_what_is_usable_holds_as_a_score_of_float32(tmp_path: Path, unit: float) -> None:
    found = numbers(tmp_path, [n * unit / 4 for n in range(40)])
    for part in found.splits.values():
        scores = ((part.labels - found.labels.center) / found.labels.scale).astype(np.float32)
        again = (found.labels.center + found.labels.scale * scores.astype(np.float64)).astype(np.float32)
        assert np.isfinite(scores**2).all() and np.allclose(again / unit, part.labels / unit, rtol=1e-6, atol=1e-5)


def test_a_number_too_far_from_the_training_rows_is_a_bad_row(tmp_path: Path) -> None:
    for name, values in (("train.jsonl", [n * 1e-10 for n in range(40)]), ("test.jsonl", [2e-10, 1e20])):
        write(tmp_path, [{"x": f"{name} {number}", "y": value} for number, value in enumerate(values)]).rename(tmp_path / name)
    with pytest.raises(DataError) as caught:
        load(DataOptions(train="train.jsonl", test="test.jsonl", text="x", label="y"), root=tmp_path, seed=0, answers="number")
    (problem,) = caught.value.problems
    assert problem.where == "test.jsonl:2" and "is too far from the training rows' numbers" in problem.message
