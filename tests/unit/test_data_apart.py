"""Columns that a model reads one by one: one slip makes no categories of numbers, and is told with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from plain_world import table_rows
from trustbase.audit.rival_inputs import column_matrix
from trustbase.data.card import data_card
from trustbase.data.card_page import card_markdown
from trustbase.data.columns import kind_of_column
from trustbase.data.dataset import Dataset
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.save import load_dataset, save_dataset
from trustbase.data.single import load_single
from trustbase.errors import DataError
from trustbase.report.datacard import data_section
from trustbase.report.words import words

OPTIONS = {"train": "rows.csv", "text": "{age} years, {job}: {note}", "label": "label", "positive": "yes"}


def write(path: Path, *, wrong: dict[int, str], rows: int = 400) -> None:
    """Rows with an age, a job and a note; `wrong` is the age of some, by their number."""
    ages = [wrong.get(n, str(20 + n % 60)) for n in range(rows)]
    lines = [f"{age},{('cook', 'clerk')[n % 2]},note {n} of many,{('no', 'yes')[n % 3 % 2]}" for n, age in enumerate(ages)]
    path.write_text("\n".join(["age,job,note,label", *lines]) + "\n", encoding="utf-8")


def read(folder: Path, said: list[str] | None = None, **options: Any) -> Dataset:
    def emit(kind: str, /, **fields: Any) -> None:
        if said is not None:
            said.append(f"{kind}: {fields['text']}")

    return load(DataOptions.model_validate({**OPTIONS, **options}), root=folder, seed=0, apart=True, emit=emit)


@pytest.mark.parametrize(
    ("numbers", "others", "kind"),
    [(99, 1, "numbers"), (98, 1, "categories"), (990, 10, "numbers"), (990, 11, "categories"), (3, 0, "numbers"), (0, 200, "categories")],
)
def test_a_hundredth_of_a_hundred_values_are_slips(numbers: int, others: int, kind: str) -> None:
    assert kind_of_column([*(str(n % 50) for n in range(numbers)), *(["n/a"] * others), None, ""]) == kind


def test_distinct_numbers_with_a_slip_are_no_texts() -> None:
    assert kind_of_column([*(f"{n / 7:.3f}" for n in range(300)), "forty"]) == "numbers"


@pytest.mark.parametrize("cell", ["1_000", "nan", "inf", "-inf", "1e999", "1,5"])
def test_what_is_no_number_of_a_table_counts_as_none(cell: str) -> None:
    assert kind_of_column(["1", "2", cell]) == "categories"


def test_a_row_whose_number_is_none_is_named(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", wrong={7: "forty", 11: "", 200: '"4,5"'})
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert [(item.where, item.message) for item in caught.value.problems] == [
        ("rows.csv:9", "column 'age' (a column of numbers) is not a finite number: got 'forty'"),
        ("rows.csv:202", "column 'age' (a column of numbers) is written with a comma, decimal or between thousands: got '4,5'"),
    ]
    assert "leave a cell empty that tells none" in caught.value.hint and "data.tolerance" in caught.value.hint


def test_tolerated_rows_are_left_out_and_log_and_card_say_how_columns_are_taken(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", wrong={7: "forty", 200: "n/a", 300: ""})
    said: list[str] = []
    dataset = read(tmp_path, said, tolerance=2)
    assert sum(map(len, dataset.splits.values())) == 398
    assert "note: columns are read one by one, age: numbers; job: category (2); note: words" in said
    assert [found["kind"] for found in dataset.facts["columns"].values()] == ["numbers", "categories", "texts"]
    save_dataset(dataset, tmp_path / "data")
    card = data_card(load_dataset(tmp_path / "data"))
    assert card["bad_rows"]["count"] == 2 and not any("forty" in row for row in card["bad_rows"]["rows"])
    page = card_markdown(card)
    assert "| `age` | numbers |" in page and "| `job` | categories | 2 |" in page and "| `note` | words |" in page
    assert ("Columns read one by one", "age (numbers); job (names); note (words)") in data_section(card, words("en"))["facts"]


def test_a_cell_of_another_file_is_held_against_the_training_rows(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", wrong={})
    write(tmp_path / "test.csv", wrong=dict.fromkeys(range(30), "old"), rows=60)
    with pytest.raises(DataError) as caught:
        read(tmp_path, test="test.csv")
    assert len(caught.value.problems) == 30 and caught.value.problems[0].where == "test.csv:2"


def test_a_column_of_fewer_numbers_is_categories_and_no_row_is_bad(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", wrong=dict.fromkeys(range(0, 400, 20), "old"))
    assert read(tmp_path).facts["columns"]["age"]["kind"] == "categories"


def test_of_other_models_cells_are_words_of_the_text(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", wrong={7: "forty"})
    dataset = load(DataOptions.model_validate(OPTIONS), root=tmp_path, seed=0)
    assert sum(map(len, dataset.splits.values())) == 400 and data_card(dataset)["columns"] is None


def test_rows_that_are_audited_alone_are_held_against_the_model(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", wrong={3: "forty"}, rows=20)
    named: dict[str, Any] = {"text": OPTIONS["text"], "label": "label", "root": tmp_path}
    with pytest.raises(DataError, match=r"1 of 20 rows") as caught:
        load_single("rows.csv", numbers=["age"], **named)
    assert caught.value.problems[0].where == "rows.csv:5" and "'forty'" in caught.value.problems[0].message
    assert len(load_single("rows.csv", **named)[0]) == 20


def test_such_rows_are_never_streamed(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", wrong={})
    options = DataOptions.model_validate({**OPTIONS, "memory": "stream"})
    with pytest.raises(DataError, match="columns that a model reads one by one"):
        load(options, root=tmp_path, seed=0, store=tmp_path, apart=True)
    assert load(options, root=tmp_path, seed=0, store=tmp_path).facts.get("columns") is None


def test_a_rival_takes_numbers_with_a_slip_for_numbers() -> None:
    split = table_rows(400, 0)
    ages = split.table.column("age").to_pylist()
    place = next(n for n, age in enumerate(ages) if age)
    ages[place] = "forty"
    table = split.table.set_column(0, "age", pa.array(ages))
    object.__setattr__(split, "table", table.select(["age", "job"]))
    encode, categorical = column_matrix(split)
    assert categorical == [False, True] and (encode(split)[:, 0] > 17).sum() > 300
