"""What a reader of a refusal is told to do: which delimiter, encoding or comma was found, in how many rows, and each of it once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.whole import columns_card
from trustbase.errors import DataError, Problem, problems_of

SAVE_AGAIN = "save it again with commas (csv) or tabs (tsv) in their place"
ROWS = [(f"text {i}", "yes" if i % 2 else "no") for i in range(60)]
DIGITS = "9" * 5_000  # more than Python makes an int of


def refused(folder: Path, data: bytes, name: str = "rows.csv", **more: Any) -> DataError:
    (folder / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        load(DataOptions(**{"train": name, "text": "text", "label": "label", **more}), root=folder, seed=0)
    return caught.value


def table(rows: list[tuple[str, ...]], delimiter: str = ",", head: tuple[str, ...] = ("text", "label")) -> str:
    return "".join(delimiter.join(row) + "\n" for row in [head, *rows])


@pytest.mark.parametrize(
    ("name", "delimiter", "found", "step"),
    [
        (
            "rows.csv",
            ";",
            "has ';' between its cells, where ',' must stand",
            SAVE_AGAIN,
        ),
        (
            "rows.csv",
            "|",
            "has '|' between its cells, where ',' must stand",
            SAVE_AGAIN,
        ),
        ("rows.csv", "\t", "has tabs between its cells, where ',' must stand", "name it .tsv, or say data.format: tsv"),
        ("rows.tsv", ",", "has ',' between its cells, where tabs must stand", "name it .csv, or say data.format: csv"),
        (
            "rows.tsv",
            ";",
            "has ';' between its cells, where tabs must stand",
            SAVE_AGAIN,
        ),
    ],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_another_delimiter_is_named_once_with_what_to_do(
    tmp_path: Path, name: str, delimiter: str, found: str, step: str, quoted: bool
) -> None:
    rows = [(f'"{text}, and more"', f'"{label}"') for text, label in ROWS] if quoted else ROWS
    head = ('"text"', '"label"') if quoted else ("text", "label")
    error = refused(tmp_path, table(rows, delimiter, head).encode(), name)
    assert [(item.where, item.message, item.hint) for item in error.problems] == [("data.train", f"{name}:1: {found}", step)]
    assert str(error).count(step) == 1
    with pytest.raises(DataError, match="between its cells"):  # before anybody says which columns are wanted, too
        columns_card(name, root=tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        "text;label\none\ntwo\n",  # rows of one cell
        "notes; and more\none; two; three\n",
        "text\none; two\n",
    ],
)
def test_a_file_of_one_column_is_read_whatever_its_words_hold(tmp_path: Path, data: str) -> None:
    (tmp_path / "rows.csv").write_text(data, encoding="utf-8")
    assert list(columns_card("rows.csv", root=tmp_path)["columns"]) == [data.partition("\n")[0]]


@pytest.mark.parametrize(
    ("encoding", "text", "said"),
    [
        ("latin-1", "café über", "Windows-1252 (Latin-1)"),
        ("cp1252", "it’s 5 € more", "Windows-1252 (Latin-1)"),
        ("gb18030", "态度很好", "GB18030 (GBK)"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_of_another_encoding_say_which_and_how_the_file_is_converted(
    tmp_path: Path, encoding: str, text: str, said: str, kind: str
) -> None:
    marked = [(f"{text} {one}" if i in (3, 40) else one, other) for i, (one, other) in enumerate(ROWS)]
    lines = [json.dumps({"text": one, "label": other}, ensure_ascii=False) + "\n" for one, other in marked]
    error = refused(tmp_path, (table(marked) if kind == "csv" else "".join(lines)).encode(encoding), f"rows.{kind}")
    first = 2 if kind == "csv" else 1
    assert [item.where for item in error.problems] == [f"rows.{kind}:{first + 3}", f"rows.{kind}:{first + 40}"]
    assert all(f"not UTF-8, reads as {said}: byte 0x" in item.message for item in error.problems)
    name = {"gb18030": "GB18030"}.get(encoding, "WINDOWS-1252")
    step = f"iconv -f {name} -t UTF-8 rows.{kind} > utf-8-rows.{kind}"
    assert f"rows that read as {said}: 2; where all of the file does, {step}" in error.hint and str(error).count("iconv") == 1


def test_a_file_that_is_chinese_in_the_older_encoding_names_its_first_such_line(tmp_path: Path) -> None:
    rows = [(f"服务态度很好 {one}" if i > 1 else one, other) for i, (one, other) in enumerate(ROWS)]
    error = refused(tmp_path, table(rows).encode("gb18030"))
    assert [item.message for item in error.problems] == ["rows.csv:4: is not UTF-8; all of it reads as GB18030 (GBK)"]
    assert str(error).count("convert it: iconv -f GB18030 -t UTF-8 rows.csv > utf-8-rows.csv") == 1


@pytest.mark.parametrize("row", [b"half \xed\xa0\x80", b"\xc0\xaf slash", "Привет, мир, как дела".encode("cp1251"), b"caf\xe9 \x81"])
def test_no_encoding_is_named_where_none_is_likely(tmp_path: Path, row: bytes) -> None:
    error = refused(tmp_path, table(ROWS).encode() + row.replace(b",", b"") + b",yes\n")
    assert "not UTF-8: byte 0x" in error.problems[0].message and "iconv" not in str(error)


@pytest.mark.parametrize(("encoding", "column", "said"), [("latin-1", "téxt", "WINDOWS-1252"), ("gb18030", "文本", "GB18030")])
def test_a_header_of_another_encoding_says_which(tmp_path: Path, encoding: str, column: str, said: str) -> None:
    error = refused(tmp_path, table(ROWS, head=(column, "label")).encode(encoding), text=column)
    assert "rows.csv:1: the header is not UTF-8, reads as" in error.problems[0].message
    assert f"iconv -f {said} -t UTF-8 rows.csv" in error.problems[0].hint


def test_a_hint_is_printed_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(DataOptions(train="no.csv", text="text", label="label"), root=tmp_path, seed=0)
    assert str(caught.value).count("name a csv, tsv, jsonl or parquet file") == 1
    with pytest.raises(DataError) as alone:
        columns_card("no.csv", root=tmp_path)
    assert str(alone.value).count("name a csv, tsv, jsonl or parquet file") == 1
    assert str(DataError("no", hint="do so", problems=[Problem("a", "b", "do so")])) == "no\n  a: b (do so)"
    assert str(DataError("no", hint="do so", problems=[Problem("a", "b", "c")])) == "no\n  a: b (c)\nNext: do so"


def test_a_hint_is_kept_where_an_error_becomes_problems_among_others() -> None:
    several = [Problem("a", "b"), Problem("c", "d", "e")]
    assert problems_of(DataError("no", hint="do so", problems=several), "x") == [Problem("a", "b"), Problem("c", "d", "e; do so")]
    assert problems_of(DataError("no", hint="e", problems=several), "x") == several
    assert problems_of(DataError("no", hint="do so"), "x") == [Problem("x", "no", "do so")]


def numbers(folder: Path, cells: list[Any], column: str = "y", **more: Any) -> DataError:
    rows = [{"x": f"text {i}", "n": i, "y": i} for i in range(40)] + [{"x": "more", "n": 1, "y": 1, column: cell} for cell in cells]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load(DataOptions(train="rows.jsonl", text="x", label="y", **more), root=folder, seed=0, answers="number")
    return caught.value


COMMAS = ["1,5", "-0,25", ",5", "1.234,5", "1,234.5", "1,234,567", "1,5e3"]


@pytest.mark.parametrize("column", ["y", "n"])
def test_commas_in_numbers_are_said_counted_and_have_a_next_step(tmp_path: Path, column: str) -> None:
    error = numbers(tmp_path, [*COMMAS, "1,2,3", "5, 7"], column, features={"numeric": ["n"]} if column == "n" else {})
    told = [item.message for item in error.problems]
    assert [item.where for item in error.problems] == [f"rows.jsonl:{41 + i}" for i in range(9)]
    assert all("is written with a comma, decimal or between thousands" in message for message in told[:7])
    assert all("finite number" in message for message in told[7:])
    assert "rows with a decimal comma, or commas between thousands: 7; write 1.5 for 1,5" in error.hint


@pytest.mark.parametrize(("cells", "step"), [(["1,5"], "40 of them are written with a comma"), (["1;2"], "is it the right column?")])
def test_a_column_without_any_number_is_one_line(tmp_path: Path, cells: list[str], step: str) -> None:
    rows = [{"x": f"text {i}", "y": cells[0]} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = {"train": "rows.jsonl", "text": "x", "label": "y", "test": "rows.jsonl", "validation": "rows.jsonl"}
    with pytest.raises(DataError) as caught:
        load(DataOptions(**options), root=tmp_path, seed=0, answers="number")
    (problem,) = caught.value.problems
    assert f"none of its 40 cells is one, the first is '{cells[0]}'" in problem.message and step in problem.hint


@pytest.mark.parametrize("cell", ["1;2", "5 7", "one two", [1, 2], ["a", "b"], {"value": 1}])
def test_a_label_of_several_numbers_or_words_is_no_number(tmp_path: Path, cell: Any) -> None:
    (problem,) = numbers(tmp_path, [cell]).problems
    shown = cell if isinstance(cell, str) else json.dumps(cell)
    assert problem.message == f"column 'y' (label) is no finite number: got '{shown}'"


def test_cells_that_are_none_are_named_where_the_numbers_beside_them_are_all_alike(tmp_path: Path) -> None:
    rows = [{"x": f"text {i}", "y": "1,5" if i > 30 else "7"} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load(DataOptions(train="rows.jsonl", text="x", label="y"), root=tmp_path, seed=0, answers="number")
    assert [item.where for item in caught.value.problems] == [f"rows.jsonl:{i}" for i in range(32, 41)]


def test_equal_texts_with_two_numbers_are_not_said_to_have_two_labels(tmp_path: Path) -> None:
    rows = [{"x": f"text {i // 2}", "y": i} for i in range(80)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    notes = load(DataOptions(train="rows.jsonl", text="x", label="y"), root=tmp_path, seed=0, answers="number").facts["notes"]
    assert any("texts carry more than one number" in note for note in notes) and not any("than one label" in note for note in notes)


@pytest.mark.parametrize("sign", ["", "-"])
def test_more_digits_than_python_converts_are_a_number_that_is_too_large(tmp_path: Path, sign: str) -> None:
    (problem,) = numbers(tmp_path, [sign + DIGITS]).problems
    assert "(label) is beyond 1e+30, the largest number that can be learned" in problem.message and len(problem.message) < 250
    (problem,) = numbers(tmp_path, [sign + DIGITS], "n", features={"numeric": ["n"]}).problems
    said = f"column 'n' (numeric feature) is beyond the numbers that can be computed with: got '{sign}999"
    assert problem.message.startswith(said) and len(problem.message) < 250


@pytest.mark.parametrize(
    ("answers", "cell", "more"),
    [
        ("tokens", f"[[0, {DIGITS}, 1]]", {}),
        ("span", f'[{{"start": {DIGITS}, "text": "a"}}]', {"question": "q"}),
    ],
)
def test_a_place_of_more_digits_than_python_converts_says_how_many(tmp_path: Path, answers: str, cell: str, more: dict[str, str]) -> None:
    good = {"tokens": [[0, 4, "PER"]], "span": [{"start": 0, "text": "anna"}]}[answers]
    rows = [{"x": f"anna met {i}", "q": "who", "y": good} for i in range(40)] + [{"x": "anna met", "q": "who", "y": cell}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load(DataOptions(train="rows.jsonl", text="x", label="y", **more), root=tmp_path, seed=0, answers=answers)
    (problem,) = caught.value.problems
    assert problem.where == "rows.jsonl:41" and problem.message.endswith("…', a number of 5,000 digits")


def test_spans_of_a_relation_with_too_many_digits_are_no_spans(tmp_path: Path) -> None:
    rows = [{"x": f"anna met bob {i}", "h": "0:4", "t": "9:12", "y": "a" if i % 2 else "b"} for i in range(40)]
    rows += [{"x": "anna met bob", "h": cell, "t": "9:12", "y": "a"} for cell in (f"0:{DIGITS}", f"[0, {DIGITS}]")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load(DataOptions(train="rows.jsonl", text="x", head="h", tail="t", label="y"), root=tmp_path, seed=0)
    assert [item.where for item in caught.value.problems] == ["rows.jsonl:41", "rows.jsonl:42"]
    assert all("column 'h' is no span: expected" in item.message for item in caught.value.problems)


@pytest.mark.parametrize("cell", ["3", "-1", "D", "1.0", DIGITS])
def test_a_choice_that_is_none_says_how_many_there_are(tmp_path: Path, cell: str) -> None:
    rows = [{"q": f"q {i}", "a": f"a {i}", "b": f"b {i}", "c": f"c {i}", "y": i % 3} for i in range(40)]
    rows += [{**rows[0], "q": f"r {i}", "y": cell} for i in range(2)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match="2 of 42 rows cannot be used") as caught:
        load(DataOptions(train="rows.jsonl", text="q", choices=["a", "b", "c"], label="y"), root=tmp_path, seed=0)
    assert [item.where for item in caught.value.problems] == ["rows.jsonl:41", "rows.jsonl:42"]
    told = "column 'y' (label) is none of the 3 choices (numbers 0 to 2, letters A to C, or their columns' names): got '"
    assert all(item.message.startswith(told + cell[:20]) for item in caught.value.problems)
