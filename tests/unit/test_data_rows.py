"""Every kind of bad row is named with its file and line, all at once, and counted exactly; good rows survive unchanged."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustbase.data import delimited
from trustbase.data.columnar import refuse_type
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.rows import check_rows, in_quotes
from trustbase.data.source import read_columns, read_delimited, read_jsonl, read_parquet
from trustbase.data.split_options import ToleranceOptions
from trustbase.errors import DataError

BIG = "x" * 10_000_000
GOOD = [(f"text number {i}", "yes" if i % 2 else "no") for i in range(60)]

# kind → (the bad row as bytes, lines it takes, a word of its reason)
CSV_ROWS: dict[str, tuple[bytes, int, str]] = {
    "too few columns": (b"only one", 1, "too few columns: expected 2, got 1"),
    "too many columns": (b"a,yes,b", 1, "too many columns: expected 2, got 3"),
    "bad utf-8": (b"caf\xe9 au lait,yes", 1, "not UTF-8"),
    "utf-8 surrogate": (b"half \xed\xa0\x80,yes", 1, "not UTF-8"),
    "overlong utf-8": (b"\xc0\xaf,yes", 1, "not UTF-8"),
    "latin-1": ("éclair à la crème,yes".encode("latin-1"), 1, "not UTF-8, reads as Windows-1252"),
    "gbk": ("服务态度很好,yes".encode("gb18030"), 1, "not UTF-8, reads as GB18030"),
    "nul": (b"a\0b,yes", 1, "NUL byte"),
    "empty label": (b"a text,", 1, "(label) is empty"),
    "blank label": (b"a text,  ", 1, "(label) is empty"),
    "empty text": (b",yes", 1, "(text) is empty"),
    "blank text": (b" \t ,yes", 1, "(text) is empty"),
    "quoted empty text": (b'"",yes', 1, "(text) is empty"),
    "both empty": (b",", 1, "(label) is empty; column 'text' (text) is empty"),
    "empty line": (b"", 1, "empty line"),
    "10 MB cell": (BIG.encode() + b",yes", 1, "longer than 1,000,000 bytes"),
    "10 MB quoted cell of many lines": (b'"' + b"x\n" * 600_000 + b'",yes', 600_001, "longer than 1,000,000 bytes"),
    "unclosed quote": (b'"never closed,yes', 1, "quote that is never closed"),
    "text after quote": (b'"closed" too early,yes', 1, "text after a closing quote"),
    "lone carriage return": (b"one\rtwo,yes", 1, "carriage return inside a line"),
    "repeated header": (b"text,label", 1, "repeats the header"),
    "quoted newline, too many columns": (b'"two\nlines",yes,more', 2, "too many columns"),
}
JSON_ROWS: dict[str, tuple[bytes, str]] = {
    "bad json": (b'{"text": "a", "label": "yes"', "not valid JSON"),
    "single quotes": (b"{'text': 'a', 'label': 'yes'}", "not valid JSON"),
    "two objects": (b'{"text": "a", "label": "yes"}{"text": "a", "label": "yes"}', "not valid JSON"),
    "list": (b'["a", "yes"]', "not a JSON object: got a list"),
    "string": (b'"a"', "not a JSON object"),
    "null": (b"null", "not a JSON object: got null"),
    "missing key": (b'{"text": "a"}', "missing key: 'label'"),
    "duplicate key": (b'{"text": "a", "text": "b", "label": "yes"}', "key given twice: 'text'"),
    "null label": (b'{"text": "a", "label": null}', "(label) is empty"),
    "fraction label": (b'{"text": "a", "label": 1.5}', "column 'label' is not text: the number 1.5"),
    "whole label with fraction": (b'{"text": "a", "label": 1.0}', "column 'label' is not text: the number 1.0"),
    "list label": (b'{"text": "a", "label": ["yes"]}', "column 'label' is not text: got a list"),
    "object text": (b'{"text": {"a": 1}, "label": "yes"}', "column 'text' is not text: got an object"),
    "nan": (b'{"text": "a", "label": NaN}', "NaN or infinity"),
    "infinity": (b'{"text": "a", "label": "yes", "weight": -Infinity}', "NaN or infinity"),
    "lone surrogate": (b'{"text": "half \\ud800 pair", "label": "yes"}', "half of a surrogate pair"),
    "escaped nul": (b'{"text": "a\\u0000b", "label": "yes"}', "NUL character in column 'text'"),
    "raw nul": (b'{"text": "a\0b", "label": "yes"}', "NUL byte"),
    "bad utf-8": (b'{"text": "caf\xe9", "label": "yes"}', "not UTF-8"),
    "latin-1": ('{"text": "éclair à la crème", "label": "yes"}'.encode("latin-1"), "not UTF-8, reads as Windows-1252"),
    "gbk": ('{"text": "服务态度很好", "label": "yes"}'.encode("gb18030"), "not UTF-8, reads as GB18030"),
    "raw newline": (b'{"text": "a\x01b", "label": "yes"}', "not valid JSON"),
    "10 MB cell": (json.dumps({"text": BIG, "label": "yes"}).encode(), "longer than 1,000,000 bytes"),
    "nested too deeply": (b'{"text": ' + b"[" * 200_000, "not valid JSON"),
    "empty line": (b"", "empty line"),
    "empty text": (b'{"text": "", "label": "yes"}', "(text) is empty"),
}


def csv_file(folder: Path, rows: list[bytes], *, end: bytes = b"\n", head: bytes = b"text,label") -> Path:
    path = folder / "rows.csv"
    path.write_bytes(end.join([head, *rows]) + end)
    return path


def good_lines() -> list[bytes]:
    return [f"{text},{label}".encode() for text, label in GOOD]


def options(path: Path, **more) -> DataOptions:
    return DataOptions(**{"train": path.name, "text": "text", "label": "label", "split": {"test": 0.3, "validation": 0.3}, **more})


# an empty line at the end of a file is no row
ENDS = (0, 30, 60)  # the beginning, the middle and the end of the good rows
PLACES = [(kind, place) for kind in CSV_ROWS for place in ENDS if (kind, place) != ("empty line", 60)]


@pytest.mark.parametrize(("kind", "place"), PLACES)
def test_a_bad_csv_row_is_named_and_only_it(tmp_path, kind, place):
    row, taken, reason = CSV_ROWS[kind]
    lines = good_lines()
    path = csv_file(tmp_path, [*lines[:place], row, *lines[place:]])
    raw = check_rows(read_delimited(path, columns=["text", "label"], source="rows.csv"), label="label", text=["text"])
    assert [problem.where for problem in raw.bad] == [f"rows.csv:{place + 2}"]
    assert reason in raw.bad[0].message
    assert raw.total == 61 and len(raw) == 60
    assert raw.table["text"].to_pylist() == [text for text, _ in GOOD]
    assert raw.row_numbers.tolist() == [*range(1, place + 1), *range(place + 2, 62)]
    assert raw.lines.tolist() == [*range(2, place + 2), *range(place + 2 + taken, 62 + taken)]


@pytest.mark.parametrize(("kind", "place"), [(kind, place) for kind in JSON_ROWS for place in ENDS if (kind, place) != ("empty line", 60)])
def test_a_bad_json_line_is_named_and_only_it(tmp_path, kind, place):
    row, reason = JSON_ROWS[kind]
    lines = [json.dumps({"text": text, "label": label}).encode() for text, label in GOOD]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([*lines[:place], row, *lines[place:]]) + b"\n")
    raw = read_jsonl(path, columns=["text", "label"], source="rows.jsonl", whole=["label"])
    raw = check_rows(raw, label="label", text=["text"])
    assert [str(problem).split(": ")[0] for problem in raw.bad] == [f"rows.jsonl:{place + 1}"]
    assert reason in raw.bad[0].message
    assert raw.total == 61 and raw.table["text"].to_pylist() == [text for text, _ in GOOD]


def test_the_cases_above_are_of_at_least_25_kinds():
    reasons = {reason.split(":")[0] for _, reason in JSON_ROWS.values()} | {reason.split(":")[0] for *_, reason in CSV_ROWS.values()}
    elsewhere = {"unknown label", "repeated id", "no part's name"}  # the tests below
    assert len(CSV_ROWS) + len(JSON_ROWS) >= 40
    assert len(reasons | elsewhere) >= 25


def test_all_bad_rows_are_reported_at_once_and_stop_the_run(tmp_path):
    lines, expected = good_lines(), []
    body: list[bytes] = []
    line = 2
    for index, (row, taken, reason) in enumerate(CSV_ROWS.values()):
        body += [lines[index], row]
        expected.append((f"rows.csv:{line + 1}", reason))
        line += 1 + taken
    csv_file(tmp_path, [*body, *lines[len(CSV_ROWS) :]])
    with pytest.raises(DataError) as caught:
        load(options(tmp_path / "rows.csv"), root=tmp_path, seed=0)
    assert caught.value.exit_code == 2
    assert [problem.where for problem in caught.value.problems] == [where for where, _ in expected]
    assert all(reason in problem.message for problem, (_, reason) in zip(caught.value.problems, expected, strict=True))
    assert f"{len(expected)} of {60 + len(expected)} rows cannot be used" in str(caught.value)


PASSING = (2, {"rows": 2}, 0.05, "5%", {"rows": 9, "share": "3.5 %"})


@pytest.mark.parametrize(
    ("tolerance", "passes"), [*((tolerance, True) for tolerance in PASSING), (1, False), (0.01, False), ("1%", False), (0, False)]
)
def test_tolerated_rows_are_left_out_counted_and_listed_without_their_content(tmp_path, tolerance, passes):
    path = csv_file(tmp_path, [*good_lines(), b"secret,", b"secret,yes,secret"])
    if not passes:
        with pytest.raises(DataError):
            load(options(path, tolerance=tolerance), root=tmp_path, seed=0)
        return
    dataset = load(options(path, tolerance=tolerance), root=tmp_path, seed=0)
    assert sum(map(len, dataset.splits.values())) == 60
    assert dataset.facts["bad_rows"] == {
        "count": 2,
        "kinds": {"column 'label' (label) is empty": 1, "too many columns": 1},
        "rows": ["rows.csv:62: column 'label' (label) is empty", "rows.csv:63: too many columns"],
    }
    assert "secret" not in json.dumps(dataset.facts)


@pytest.mark.parametrize(
    ("tolerance", "allowed"), [(0, "none may be left out"), (3, "data.tolerance allows 3"), ("4%", "data.tolerance allows 2")]
)
def test_too_many_bad_rows_are_counted_by_reason_beside_what_was_allowed(tmp_path, tolerance, allowed):
    path = csv_file(tmp_path, [*good_lines(), b"a,", b"b,yes,secret", b"c,", b"d,", b"e,"])
    with pytest.raises(DataError) as caught:
        load(options(path, tolerance=tolerance), root=tmp_path, seed=0)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"5 of 65 rows cannot be used, and {allowed}, by reason"
    assert lines[1:4] == ["  4: column 'label' (label) is empty", "  1: too many columns", "one by one"] and "rows.csv:62" in lines[4]
    assert len(caught.value.problems) == 5 and "secret" not in "".join(lines[:4])


def test_a_share_allows_the_rows_that_it_names():
    assert ToleranceOptions.model_validate("29%").most(100) == 29, "0.29 * 100 is a little less than 29"
    assert ToleranceOptions.model_validate({"rows": 20, "share": 0.01}).most(900) == 9 and ToleranceOptions(rows=20).most(900) == 20
    assert ToleranceOptions().most(900) == 0


def test_unknown_label_duplicate_id_and_split_value_are_bad_rows(tmp_path):
    rows = [f"text {i},{'yes' if i % 2 else 'no'},{i},{'test' if i > 40 else 'train'}".encode() for i in range(60)]
    rows[50] = b"text 50,maybe,50,test"
    rows[20] = b"text 20,no,7,train"
    rows[21] = b"text 21,yes,21,holdout"
    rows[22] = b"text 22,no,22,"
    csv_file(tmp_path, rows, head=b"text,label,key,part")
    with pytest.raises(DataError) as caught:
        load(options(tmp_path / "rows.csv", id="key", split={"column": "part"}), root=tmp_path, seed=0)
    found = {problem.where: problem.message for problem in caught.value.problems}
    assert list(found) == ["rows.csv:22", "rows.csv:23", "rows.csv:24", "rows.csv:52"]
    assert "repeats an earlier value: first on line 9" in found["rows.csv:22"]
    assert "neither train, validation, calibration nor test: got 'holdout'" in found["rows.csv:23"]
    assert "got nothing" in found["rows.csv:24"]
    assert "none of the training rows: got 'maybe'" in found["rows.csv:52"]


def test_problems_of_all_files_are_raised_together(tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_bytes(b"\n".join([b"text,label", *good_lines(), b"broken"]) + b"\n")
    with pytest.raises(DataError) as caught:
        load(DataOptions(train="train.csv", test="test.csv", text="text", label="label"), root=tmp_path, seed=0)
    assert [problem.where for problem in caught.value.problems] == ["train.csv:62", "test.csv:62"]


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf\n", "empty"),
        (b"text,text,label\na,b,c\n", "named twice"),
        (b"te\xffxt,label\na,b\n", "not UTF-8"),
        ("text,label\n服务态度很好,好\n价格有点贵,差\n".encode("gb18030"), "reads as GB18030"),
        (b'"text,label\na,b\n', "never closed"),
        (b"\xff\xfet\0e\0", "UTF-16"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"te\0xt,label\na,b\n", "NUL"),
        (b"txt,label\na,b\n", "did you mean 'txt'"),
    ],
)
def test_a_file_that_is_no_table_is_refused_as_a_whole(tmp_path, contents, reason):
    (tmp_path / "rows.csv").write_bytes(contents)
    with pytest.raises(DataError, match=reason):
        read_delimited(tmp_path / "rows.csv", columns=["text", "label"])
    with pytest.raises(DataError, match=reason):
        load(options(tmp_path / "rows.csv"), root=tmp_path, seed=0)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_mark_do_not_change_the_rows(tmp_path, end, bom):
    path = csv_file(tmp_path, good_lines(), end=end, head=bom + b"text,label")
    raw = read_delimited(path)
    assert list(zip(*raw.table.to_pydict().values(), strict=True)) == GOOD
    assert raw.lines.tolist() == list(range(2, 62)) and not raw.bad
    assert read_columns("rows.csv", root=tmp_path) == ["text", "label"]


def test_mixed_line_ends_and_trailing_empty_lines_are_fine(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'text,label\r\n"a\r\nb",yes\nc,no\r\n"d ""e""",no\n\n\r\n')
    raw = read_delimited(path)
    assert raw.table.to_pydict() == {"text": ["a\r\nb", "c", 'd "e"'], "label": ["yes", "no", "no"]}
    assert raw.lines.tolist() == [2, 4, 5] and raw.total == 3


def test_quotes_can_be_ordinary_characters(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_bytes(b'text\tlabel\n"open\tyes\n5" pipe\tno\n')
    assert read_delimited(path, quoted=False).table["text"].to_pylist() == ['"open', '5" pipe']
    with_quotes = read_delimited(path)
    assert with_quotes.table["text"].to_pylist() == ['5" pipe'] and [bad.line for bad in with_quotes.bad_rows] == [2]


CELL = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"', '""', ",", "\n", 'a"b', " "]
)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=12), quote_all=st.booleans(), end=st.sampled_from(["\n", "\r\n"]))
def test_fast_and_strict_readers_agree_with_the_csv_module(rows, quote_all, end):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL, lineterminator=end)
    writer.writerows([("a", "b", "c"), *rows])
    data = stream.getvalue().encode("utf-8")
    reader = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
    expected, lines, before = [], [], 0
    for cells in reader:
        expected.append([cell or None for cell in cells])
        lines.append(before + 1)
        before = data.decode("utf-8").count("\n", 0, 0) + reader.line_num
    dialect = delimited.dialect_of(data, ",", quoted=True)
    _, start = delimited.read_record(data, 0, dialect)
    header = ["a", "b", "c"]
    parsed = delimited.parse(data, header, start, header, dialect)
    strict = delimited._read_strict(data, start, header, header, dialect, 1_000_000)
    assert not parsed.bad and not strict.bad
    assert not parsed.exact, "the fast reader must take every well-formed file"
    assert [list(row.values()) for row in parsed.table.to_pylist()] == expected[1:]
    assert strict.table.equals(parsed.table)
    assert parsed.lines.tolist() == strict.lines.tolist() == lines[1:]


@settings(max_examples=400, deadline=None)
@given(body=st.lists(st.sampled_from([b"a", b'"', b",", b"\n", b"\r\n", b"\r", b"\xff", b"\0", b"\xc3\xa9"]), max_size=30).map(b"".join))
def test_where_the_fast_reader_takes_a_file_the_strict_one_finds_nothing_wrong(body):
    data = b"x,y\n" + body
    dialect = delimited.dialect_of(data, ",", quoted=True)
    parsed = delimited.parse(data, ["x", "y"], 4, ["x", "y"], dialect)
    strict = delimited._read_strict(data, 4, ["x", "y"], ["x", "y"], dialect, 1_000_000)
    assert parsed.table.to_pydict() == strict.table.to_pydict()
    assert [(bad.row, bad.line, bad.kind) for bad in parsed.bad] == [(bad.row, bad.line, bad.kind) for bad in strict.bad]
    assert parsed.lines.tolist() == strict.lines.tolist()


def test_json_values_keep_the_form_they_were_written_in(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('\ufeff{"a": 1.50, "b": true, "label": 3}\r\n{"a": 10000000000000000000000, "b": null, "label": false}\n'.encode())
    raw = read_jsonl(path, columns=["a", "b", "label"], whole=["label"])
    assert raw.table.to_pydict() == {"a": ["1.50", "10000000000000000000000"], "b": ["true", None], "label": ["3", "false"]}
    with pytest.raises(DataError, match="did you mean 'label'"):
        read_jsonl(path, columns=["lable"])


def test_parquet_columns_become_text(tmp_path):
    path = tmp_path / "rows.parquet"
    table = {
        "text": pa.array(["a", "", None]).dictionary_encode(),
        "age": pa.array([39, None, 41], pa.int64()),
        "rate": pa.array([0.5, float("nan"), None]),
        "flag": pa.array([True, False, None]),
        "raw": pa.array([b"ok", b"\xff", b"fine"]),
        "many": pa.array([[1], [2], [3]]),
    }
    pq.write_table(pa.table(table), path)
    raw = read_parquet(path, columns=["text", "age", "rate", "flag"])
    assert raw.table.to_pydict() == {
        "text": ["a", None, None],
        "age": ["39", None, "41"],
        "rate": ["0.5", None, None],
        "flag": ["true", "false", None],
    }
    bad = read_parquet(path, columns=["raw", "age"], source="rows.parquet")
    assert [str(problem) for problem in bad.bad] == ["rows.parquet:2: column 'raw' is not UTF-8"]
    assert bad.table.to_pydict() == {"raw": ["ok", "fine"], "age": ["39", "41"]}
    with pytest.raises(DataError, match="which is no text"):
        read_parquet(path, columns=["many"])
    with pytest.raises(DataError, match="numbers with fractions"):
        read_parquet(path, columns=["rate"], whole=["rate"])
    (tmp_path / "false.parquet").write_bytes(b"text,label\n")
    with pytest.raises(DataError, match="not a Parquet file"):
        read_parquet(tmp_path / "false.parquet")


def test_values_in_messages_are_short_and_harmless():
    assert in_quotes("a\x1b[31m\n\ud800") == "'a\\x1b[31m\\n\\ud800'"
    assert len(in_quotes("x" * 10_000)) < 70 and in_quotes("中文") == "'中文'"


def test_a_parquet_column_whose_name_is_no_text_is_told(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"nameofcolumn": ["a"]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"nameofcolumn", b"nameof\xffolumn"))
    for read in (lambda: read_columns("rows.parquet", root=tmp_path), lambda: read_parquet(path)):
        with pytest.raises(DataError, match="name is not UTF-8"):
            read()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kinds", [CSV_ROWS, JSON_ROWS], ids=["csv", "jsonl"])
def test_any_number_of_any_kind_at_any_place_is_counted_exactly(tmp_path, kinds, seed):
    """Every kind at least once, some often, shuffled among good rows: each line and reason is named, and no good row is lost."""
    rng = np.random.default_rng(seed)
    commas = kinds is CSV_ROWS
    good = good_lines() if commas else [json.dumps({"text": text, "label": label}).encode() for text, label in GOOD]
    drawn = [name for name in kinds if "10 MB" not in name or not seed]
    drawn += rng.choice([name for name in drawn if "10 MB" not in name], 60).tolist()
    items: list[str | int] = [*drawn, *range(len(good))]
    body, expected, line = [], [], 2 if commas else 1
    for place in rng.permutation(len(items)).tolist():
        item = items[place]
        if isinstance(item, int):
            body.append(good[item])
            line += 1
            continue
        row, *taken, reason = kinds[item]
        body.append(row)
        expected.append((line, reason))
        line += taken[0] if taken else 1
    body.append(good[0])  # an empty line at the end of a file is no row
    data = b"\n".join([*([b"text,label"] if commas else []), *body]) + b"\n"
    path = tmp_path / ("rows.csv" if commas else "rows.jsonl")
    path.write_bytes(data)
    if commas:
        raw = read_delimited(path, columns=["text", "label"], source="rows")
    else:
        raw = read_jsonl(path, columns=["text", "label"], source="rows", whole=["label"])
    raw = check_rows(raw, label="label", text=["text"])
    found = [(int(problem.where.split(":")[1]), problem.message) for problem in raw.bad]
    pairs = list(zip(expected, found, strict=True))
    wrong = [(asked, told) for asked, told in pairs if asked[0] != told[0] or asked[1] not in told[1]]
    assert not wrong, wrong[:3]
    assert len(raw) == len(good) + 1 and raw.total == len(raw) + len(expected)


BYTES = [pa.large_binary(), pa.binary(2), pa.binary_view(), pa.dictionary(pa.int32(), pa.large_binary())]


@pytest.mark.parametrize("kind", BYTES, ids=str)
def test_bytes_that_are_no_text_are_bad_rows_whatever_holds_them(tmp_path, kind):
    values = pa.array([b"ab", b"\xff\xfe", None, b"cd"], pa.binary(2) if kind == pa.binary(2) else pa.large_binary())
    column = values.dictionary_encode() if pa.types.is_dictionary(kind) else values.cast(kind)
    pq.write_table(pa.table({"raw": column}), tmp_path / "rows.parquet")
    raw = read_parquet(tmp_path / "rows.parquet", source="rows.parquet")
    assert raw.table["raw"].to_pylist() == ["ab", None, "cd"]
    assert [str(problem) for problem in raw.bad] == ["rows.parquet:2: column 'raw' is not UTF-8"]


def test_types_of_an_extension_are_read_as_what_holds_them(tmp_path):
    held = pa.array([b"\xff" * 16, None], pa.binary(16))
    told = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}', None]))
    pq.write_table(pa.table({"id": pa.ExtensionArray.from_storage(pa.uuid(), held), "told": told}), tmp_path / "rows.parquet")
    raw = read_parquet(tmp_path / "rows.parquet", columns=["told"], source="rows.parquet")
    assert raw.table["told"].to_pylist() == ['{"a": 1}', None]
    assert [bad.row for bad in read_parquet(tmp_path / "rows.parquet", source="rows.parquet").bad_rows] == [1]


def test_what_no_text_can_be_made_of_is_refused():
    refused = refuse_type(pa.field("gap", pa.month_day_nano_interval()), "rows", whole=False)
    assert refused is not None and "which is no text" in refused.message
