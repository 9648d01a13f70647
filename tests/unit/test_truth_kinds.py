"""Truth of each answer kind: what a label column says, what it may not say, and that it comes back from disk as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trustbase.data.single import load_single
from trustbase.data.truth.base import Named, truth_of
from trustbase.data.truth.labels import LABELS
from trustbase.data.truth.number import NUMBER
from trustbase.errors import DataError
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import LabelSchema

CELLS = {
    "classes": ["no", " yes", "no", "yes"],
    "labels": ["late;rude", "[]", '["rude"]', " late "],
    "number": ["1.5", " -2", "3e2", "0"],
}
BESIDE_TEXTS = {"tokens", "span"}  # whose cells say nothing without their texts: test_data_entities.py and test_spans.py try them
BAD = {
    "classes": [("maybe", "is none that the model knows")],
    "labels": [
        ("cheap", "names what is none that the model knows"),
        ("late;late", "names a label twice"),
        ("[1]", "is neither names between semicolons nor a JSON list"),
        ('["late"', "is neither names between semicolons nor a JSON list"),
        ('{"late": 1}', "names what is none that the model knows"),
        (";", "is neither names between semicolons nor a JSON list"),
    ],
    "number": [(cell, "is no finite number") for cell in ("12 EUR", "nan", "inf", "1_000", "twelve", "1 5")]
    + [("1,5", "is written with a comma"), ("1e999", "is beyond 1e+30")],
}


def column(cells: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(cells, pa.string())])


def test_every_kind_is_tried_here() -> None:
    assert set(CELLS) == set(BAD) == set(ANSWER_KINDS) - BESIDE_TEXTS


@pytest.mark.parametrize("kind", list(CELLS))
def test_what_is_read_is_written_kept_and_counted(kind: str) -> None:
    truth, cells = truth_of(kind), column(CELLS[kind])
    schema = truth.schema(cells, Named("y"))
    read = truth.read(cells, schema, [""] * 4, whose="of the training rows")
    assert not read.bad and read.trimmed == 1 and len(read.values) == 4
    written = truth.write(read.values, schema)
    again = truth.read(column(written), schema, [""] * 4, whose="")
    assert np.array_equal(again.values, read.values) and truth.write(again.values, schema) == written
    kept = truth.from_arrow(pa.chunked_array([truth.to_arrow(read.values, schema)]), schema)
    assert np.array_equal(kept, read.values) and kept.dtype == read.values.dtype
    codes = truth.codes(read.values, schema)
    assert (codes[:, None] == codes[None, :]).tolist() == [[one == other for other in written] for one in written]
    assert "labels" in truth.counts(read.values, schema)


@pytest.mark.parametrize(("kind", "cell", "said"), [(kind, *case) for kind, cases in BAD.items() for case in cases])
def test_a_cell_that_says_nothing_usable_is_a_bad_row_and_no_value(kind: str, cell: str, said: str) -> None:
    truth = truth_of(kind)
    schema = truth.schema(column(CELLS[kind]), Named("y"))
    read = truth.read(column([cell, CELLS[kind][0]]), schema, ["", ""], whose="that the model knows")
    assert list(read.bad) == [0] and said in read.bad[0][0]
    assert cell not in read.bad[0][0], "the kind of a bad row holds a value of the data"


def test_numbers_know_their_mean_and_spread_and_tell_neither_least_nor_largest() -> None:
    values = np.random.default_rng(0).normal(50, 7, 300)
    schema = NUMBER.schema(column([repr(value) for value in values.tolist()]), Named("price"))
    assert (schema.names, schema.center, schema.scale) == (("price",), pytest.approx(values.mean()), pytest.approx(values.std()))
    counts = NUMBER.counts(values, schema)["numbers"]
    assert counts["median"] == np.median(values) and not {values.min(), values.max()} & set(counts.values())


@pytest.mark.parametrize("cells", [["5", "5"], ["x", "y"], ["1e30", "1e30"]])
def test_numbers_that_do_not_differ_teach_nothing(cells: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        NUMBER.schema(column(cells), Named("price"))
    assert "must be numbers that differ" in str(caught.value.problems[0])


@pytest.mark.parametrize("kind", ["labels", "number"])
def test_no_label_of_these_kinds_has_a_role(kind: str) -> None:
    with pytest.raises(DataError) as caught:
        truth_of(kind).schema(column(CELLS[kind]), Named("y", positive="late", favourable="late"))
    assert [problem.where for problem in caught.value.problems] == ["data.positive", "data.favourable"]


def test_a_label_that_all_or_no_rows_have_is_refused() -> None:
    schema = LabelSchema(("a", "b", "c"), "c", "c")
    values = np.array([[True, False, True], [True, False, False]])
    assert [problem.message for problem in LABELS.refused(values, schema)] == [
        "every training row has label 'a', so nothing says when it is right",
        "no training row has label 'b', so nothing says when it is right",
    ]


ROWS = [{"text": "one", "tags": ["late", "rude"]}, {"text": "two", "tags": []}, {"text": "three", "tags": ["rude"]}]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_lists_are_read_as_labels_and_refused_where_names_are_wanted(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"rows.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    rows, schema, _ = load_single(path, text="text", label="tags", answers="labels")
    assert schema.names == ("late", "rude") and rows.labels.tolist() == [[True, True], [False, False], [False, True]]
    with pytest.raises(DataError):
        load_single(path, text="text", label="tags")
    with pytest.raises(DataError):
        load_single(path, text="tags", label="text", answers="labels")


def test_numbers_in_lists_keep_the_form_they_were_written_in() -> None:
    from trustbase.data.jsonl import parse

    line = '{"t": {"at": [1, 2.50, -3e1], "ok": true, "no": null, "名": "é\\""}}\n'.encode()
    cell = parse(line, ["t"], nested=["t"]).table["t"][0].as_py()
    assert cell == '{"at": [1, 2.50, -3e1], "ok": true, "no": null, "名": "é\\""}' and json.loads(cell)["at"] == [1, 2.5, -30]
    assert parse(line, ["t"]).bad[0].kind == "column 't' is not text"


def test_lists_too_deep_to_be_written_again_are_a_bad_row() -> None:
    from trustbase.data.jsonl import parse

    deep = 700  # of which the parser still makes lists
    bad = parse(b'{"t": ' + b"[" * deep + b"]" * deep + b"}\n", ["t"], nested=["t"]).bad
    assert [(row.kind, row.detail) for row in bad] == [("not valid JSON", "nested too deeply")]


def numbers_of_stay(folder: Path, far: dict[int, float], rows: int = 400) -> Path:
    """Numbers from 1 to 20, but for some rows."""
    lines = [f"text {n},{far.get(n, 1 + n % 20)}" for n in range(rows)]
    (folder / "los.csv").write_text("\n".join(["text,days", *lines]) + "\n", encoding="utf-8")
    return folder / "los.csv"


def warned(folder: Path, **options: object) -> list[str]:
    from trustbase.data.load import load
    from trustbase.data.options import DataOptions

    said: list[str] = []

    def emit(event: str, /, **fields: object) -> None:
        if event == "warning":
            said.append(str(fields["text"]))

    asked = {"train": "los.csv", "text": "text", "label": "days", **options}
    dataset = load(DataOptions.model_validate(asked), root=folder, seed=0, answers="number", emit=emit)
    assert "9999" not in json.dumps(dataset.facts)  # neither least nor largest stands in the card
    return said


def test_a_label_that_is_far_from_all_others_is_asked_about_in_the_log_alone(tmp_path: Path) -> None:
    numbers_of_stay(tmp_path, {77: 9999})
    (text,) = warned(tmp_path)
    assert (
        "1 of 400 labels (column 'days') lie more than 20 interquartile ranges beyond the quartiles of the train rows: los.csv:79 (9999)"
        in text
    )
    numbers_of_stay(tmp_path, {**dict.fromkeys(range(10, 70, 10), 9999), 5: -9999.5})
    (text,) = warned(tmp_path)
    assert "7 of 400 labels" in text and "los.csv:7 (-9999.5), los.csv:12 (9999)" in text and text.count("los.csv:") == 5
    assert " and 2 more;" in text
    numbers_of_stay(tmp_path, {3: 200})  # 17 to 19 ranges away
    assert warned(tmp_path) == []


def test_of_numbers_that_are_mostly_one_and_the_same_none_is_far(tmp_path: Path) -> None:
    numbers_of_stay(tmp_path, dict.fromkeys(range(380), 0))
    assert warned(tmp_path) == []


def test_a_bad_row_is_not_asked_about_and_other_files_are(tmp_path: Path) -> None:
    numbers_of_stay(tmp_path, {}).rename(tmp_path / "good.csv")
    numbers_of_stay(tmp_path, {3: 9999})
    (text,) = warned(tmp_path, train="good.csv", test="los.csv")
    assert text.startswith("1 of 400 labels") and "los.csv:5 (9999)" in text
    path = numbers_of_stay(tmp_path, {3: 9999})
    path.write_text(path.read_text(encoding="utf-8").replace("text 3,", ","), encoding="utf-8")
    assert not [text for text in warned(tmp_path, tolerance=1) if "interquartile" in text]


def test_describing_and_auditing_rows_ask_about_them_too(tmp_path: Path) -> None:
    from trustbase.data_command import data

    said: list[str] = []

    def emit(event: str, /, **fields: object) -> None:
        said.append(str(fields["text"]))

    path = numbers_of_stay(tmp_path, {77: 9999})
    found = data(path, text="text", label="days", task="regression", emit=emit)
    load_single(path, text="text", label="days", answers="number", emit=emit)
    assert len(said) == 2 and all(":79 (9999)" in text for text in said) and "9999" not in found.markdown
