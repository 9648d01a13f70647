"""Every registered source gives back the rows that were written, and names each row it cannot use; one that does not is noticed."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archives_kit import save_table
from hub_kit import put, stand_in
from trustbase.data.rows import RawTable
from trustbase.data.samples import SAMPLES
from trustbase.data.source import read_table
from trustbase.data.wanted import Wanted
from trustbase.errors import DataError
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import SOURCES

ROWS = [
    {"text": "plain", "label": "yes", "sex": "f"},
    {"text": 'with, comma, "quotes"\tand tab', "label": "no", "sex": "m"},
    {"text": "中文 ünïcode 🙂", "label": "yes", "sex": None},
    {"text": "two\nlines", "label": "no", "sex": "f"},
    {"text": " spaces kept ", "label": "007", "sex": "NA"},
]
Read = Callable[[Path, Wanted], RawTable]


def write_delimited(path: Path, rows: list[dict[str, Any]], delimiter: str, *, bad: bool) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, delimiter=delimiter, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([[value or "" for value in row.values()] for row in rows])
        if bad:
            handle.write("one cell only\n")


def write_jsonl(path: Path, rows: list[dict[str, Any]], *, bad: bool) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows] + (["{broken"] if bad else [])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_parquet(path: Path, rows: list[dict[str, Any]], *, bad: bool) -> None:
    columns = {name: [None if row[name] is None else str(row[name]).encode() for row in rows] for name in rows[0]}
    if bad:
        columns = {name: [*values, b"\xff\xfe" if name == "text" else b"x"] for name, values in columns.items()}
    texts = {name: pa.array(values, pa.binary()).view(pa.string()) for name, values in columns.items()}
    pq.write_table(pa.table(texts), path)


WRITERS: dict[str, Callable[..., None]] = {
    "csv": lambda path, rows, *, bad: write_delimited(path, rows, ",", bad=bad),
    "tsv": lambda path, rows, *, bad: write_delimited(path, rows, "\t", bad=bad),
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


def check_source(read: Read, write: Callable[..., None], path: Path) -> None:
    """The rows come back as text, in order and numbered; a row that cannot be read is named and counted, and the others stay."""
    for bad in (False, True):
        write(path, ROWS, bad=bad)
        found = read(path, Wanted("rows"))
        assert found.table.to_pylist() == ROWS
        assert found.row_numbers.tolist() == [1, 2, 3, 4, 5]
        assert found.total == 5 + bad == len(found) + len(found.bad_rows), "a row is neither good nor bad"
        assert [problem.where.partition(":")[0] for problem in found.bad] == ["rows"] * bad
        assert all(row.row == 6 and row.reason for row in found.bad_rows)
    some = read(path, Wanted("rows", columns=["sex", "text"]))
    assert some.table.to_pylist() == [{"sex": row["sex"], "text": row["text"]} for row in ROWS]
    with pytest.raises(DataError) as caught:
        read(path, Wanted("rows", columns=["text", "lable"]))
    assert "lable" in str(caught.value) and "label" in str(caught.value)


def test_how_many_sources_are_covered() -> None:
    known = [name for name in SOURCES if name != "conll"]  # whose rows are sentences: tests/unit/test_data_entities.py
    assert [*WRITERS, "saved", "sql", "hub", "modelscope", "sample"] == known and len(SOURCES) == 10


def write_saved(path: Path, rows: list[dict[str, Any]], *, bad: bool) -> None:
    shutil.rmtree(path, ignore_errors=True)
    write_parquet(path.parent / "same.parquet", rows, bad=bad)
    save_table(path, pq.read_table(path.parent / "same.parquet"), parts=2)


def test_a_folder_that_datasets_saved_keeps_the_contract_and_a_broken_one_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    check_source(load(SOURCES["saved"]), write_saved, path)
    write_saved(path, ROWS, bad=False)
    assert read_table("rows", root=tmp_path).table.to_pylist() == ROWS
    for mutant in (dropping, hiding, turning, stripping):
        with pytest.raises(AssertionError):
            check_source(mutant(load(SOURCES["saved"])), write_saved, path)


def write_database(path: Path, rows: list[dict[str, Any]], *, bad: bool) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table rows (id integer primary key, text, label, sex)")
        found = [*rows, *([{"text": b"\xff\xfe", "label": "x", "sex": "f"}] if bad else [])]
        connection.executemany("insert into rows (text, label, sex) values (:text, :label, :sex)", found)
        connection.commit()


def test_a_database_keeps_the_contract_and_a_broken_one_is_noticed(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    path = tmp_path / "rows.db"

    def asking(source: Read) -> Read:
        """The same query for every question of the contract; messages call it `rows`, as the contract asks."""

        def read(place: Path, wanted: Wanted) -> RawTable:
            found = source(
                place.parent, replace(wanted, source=f"sqlite:///{place.name}", query="select text, label, sex from rows order by id")
            )
            return replace(found, source=wanted.source)

        return read

    check_source(asking(load(SOURCES["sql"])), write_database, path)
    for mutant in (dropping, hiding, turning, stripping):
        with pytest.raises(AssertionError):
            check_source(mutant(asking(load(SOURCES["sql"]))), write_database, path)


def write_hub(path: Path, rows: list[dict[str, Any]], *, bad: bool) -> None:
    shutil.rmtree(path, ignore_errors=True)
    write_parquet(path.parent / "same.parquet", rows, bad=bad)
    put(path, "owner/name/kind", {"train": pq.read_table(path.parent / "same.parquet")})


@pytest.mark.parametrize("kind", ["hub", "modelscope"])
def test_a_data_set_of_a_hub_keeps_the_contract_and_a_broken_one_is_noticed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stand_in(tmp_path / "cache", monkeypatch)

    def asking(source: Read) -> Read:
        """The same part for every question of the contract; messages call it `rows`, as the contract asks."""

        def read(place: Path, wanted: Wanted) -> RawTable:
            return replace(source(place, replace(wanted, source=f"{kind}:owner/name/kind:train")), source=wanted.source)

        return read

    check_source(asking(load(SOURCES[kind])), write_hub, path)
    for mutant in (dropping, hiding, turning, stripping):
        with pytest.raises(AssertionError):
            check_source(mutant(asking(load(SOURCES[kind]))), write_hub, path)


@pytest.mark.parametrize("kind", list(WRITERS))
def test_every_source_keeps_the_contract(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    check_source(load(SOURCES[kind]), WRITERS[kind], path)
    assert read_table(path.name, root=tmp_path).table.to_pylist() == ROWS


def test_all_formats_hold_the_same_rows(tmp_path: Path) -> None:
    tables = []
    for kind, write in WRITERS.items():
        write(tmp_path / f"rows.{kind}", ROWS, bad=False)
        tables.append(read_table(f"rows.{kind}", root=tmp_path).table)
    assert len(tables) == 4 and all(table.equals(tables[0]) for table in tables)


def check_sample(read: Read) -> None:
    """A shipped data set: every row of the file that ships, in the columns asked for."""
    sample = SAMPLES["census-income"]
    wanted = pq.read_table(sample.path, columns=["age", "income"])
    found = read(sample.path, Wanted(f"sample:{sample.name}", columns=["age", "income"]))
    assert found.total == sample.rows == len(found) and not found.bad_rows
    ages = [None if age is None else str(age) for age in wanted.column("age").to_pylist()]
    # compared outside of `assert`, which would look for the difference between long lists for minutes
    alike = (
        found.table.column("age").to_pylist() == ages and found.table.column("income").to_pylist() == wanted.column("income").to_pylist()
    )
    assert alike, "other rows, or in another order"
    with pytest.raises(DataError, match="no sample"):
        read(sample.path, Wanted("sample:census"))


def test_the_sample_keeps_the_contract() -> None:
    check_sample(load(SOURCES["sample"]))


def test_a_sample_of_another_package_keeps_the_contract() -> None:
    sample = SAMPLES["reviews-zh"]
    found = load(SOURCES["sample"])(sample.path, Wanted("sample:reviews-zh", columns=["label", "text"]))
    lines = [line for path in sample.paths for line in path.read_text("utf-8").split("\n") if line.strip()]
    assert found.table["text"].to_pylist() == lines and found.total == sample.rows == len(lines) == 35_123
    assert found.table["label"].to_pylist() == ["positive"] * 16_548 + ["negative"] * 18_575
    assert read_table("sample:reviews-zh", root=Path()).table.column_names == ["text", "label"]
    with pytest.raises(DataError, match="columns that are asked for"):
        load(SOURCES["sample"])(sample.path, Wanted("sample:reviews-zh", columns=["review"]))


def without(table: RawTable, keep: Any) -> RawTable:
    return replace(table, table=table.table.take(keep), row_numbers=table.row_numbers[keep], lines=table.lines[keep])


def dropping(read: Read) -> Read:
    """Leaves out the last row, and says nothing of it."""

    def broken(path: Path, wanted: Wanted) -> RawTable:
        found = read(path, wanted)
        return replace(without(found, np.arange(len(found) - 1)), total=found.total - 1)

    return broken


def hiding(read: Read) -> Read:
    """Forgets the rows that it could not read."""
    return lambda path, wanted: replace(found := read(path, wanted), bad_rows=(), total=len(found))


def turning(read: Read) -> Read:
    return lambda path, wanted: without(found := read(path, wanted), np.arange(len(found))[::-1])


def stripping(read: Read) -> Read:
    def broken(path: Path, wanted: Wanted) -> RawTable:
        found = read(path, wanted)
        rows = [{name: value and value.strip() for name, value in row.items()} for row in found.table.to_pylist()]
        return replace(found, table=pa.Table.from_pylist(rows, schema=found.table.schema))

    return broken


@pytest.mark.parametrize("mutant", [dropping, hiding, turning, stripping], ids=lambda mutant: mutant.__name__)
@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_broken_source_is_noticed(kind: str, mutant: Callable[[Read], Read], tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        check_source(mutant(load(SOURCES[kind])), WRITERS[kind], tmp_path / f"rows.{kind}")


@pytest.mark.parametrize("mutant", [dropping, turning], ids=lambda mutant: mutant.__name__)
def test_a_broken_sample_is_noticed(mutant: Callable[[Read], Read]) -> None:
    with pytest.raises(AssertionError):
        check_sample(mutant(load(SOURCES["sample"])))
