"""Folders and globs of rows: one format, the same columns, sorted order, and a bad row named by its own file."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archives_kit import pack
from trustbase import files
from trustbase.data.card import data_card
from trustbase.data.card_page import card_markdown
from trustbase.data.gather import check_columns
from trustbase.data.load import load, source_digests
from trustbase.data.options import DataOptions
from trustbase.data.single import load_single
from trustbase.data.source import read_columns, read_table
from trustbase.errors import DataError


def rows(count, start=0):
    return [f"text {i},{'yes' if i % 2 else 'no'},{i}" for i in range(start, start + count)]


def write(path, lines, header="text,label,key"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "rows" / "b.csv", rows(30, 30))
    write(tmp_path / "rows" / "a.csv", rows(30))
    write(tmp_path / "rows" / "deep" / "c.csv", rows(30, 60))
    (tmp_path / "rows" / ".hidden").write_text("x")
    (tmp_path / "rows" / "_SUCCESS").write_text("")
    return tmp_path


def opts(train="rows", **more):
    return DataOptions(train=train, text="text", label="label", **more)


def test_a_folder_reads_as_its_files_one_after_the_other(folder):
    write(folder / "whole.csv", rows(90))
    whole, found = load(opts("whole.csv"), root=folder, seed=0), load(opts("rows/"), root=folder, seed=0)
    assert found.digest == whole.digest
    assert found.splits["train"].row_numbers.tolist() == whole.splits["train"].row_numbers.tolist()
    source = found.facts["sources"]["train"]
    assert (source["name"], source["files"], source["rows"]) == ("rows/", 3, 90)
    assert "`rows/`, 3 files, 90 rows" in card_markdown(data_card(found))
    assert load(opts("rows"), root=folder, seed=0).digest == load(opts("rows/**/*.csv"), root=folder, seed=0).digest == whole.digest
    one, _, _ = load_single(folder / "rows", text="text", label="label")
    assert len(one) == 90


def test_a_glob_takes_only_what_it_matches_and_a_file_may_look_like_one(folder):
    assert len(read_table("rows/*.csv", root=folder)) == 60
    write(folder / "rows[1].csv", rows(4))
    assert len(read_table("rows[1].csv", root=folder)) == 4
    odd = folder / "root[x]"
    shutil.copytree(folder / "rows", odd / "rows")
    assert len(read_table("rows/*.csv", root=odd)) == 60  # signs of a glob in the folder of the recipe have no meaning


def test_bad_rows_name_their_own_file_and_line(folder):
    write(folder / "rows" / "a.csv", ["one cell", *rows(3)])
    write(folder / "rows" / "b.csv", [*rows(3, 30), "text,,31"])
    with pytest.raises(DataError) as caught:
        load(opts(id="key"), root=folder, seed=0)
    assert [str(item) for item in caught.value.problems] == [
        "rows/a.csv:2: too few columns: expected 3, got 1",
        "rows/b.csv:5: column 'label' (label) is empty; column 'key' repeats an earlier value: first on line 3 of rows/b.csv",
    ]
    dataset = load(opts(tolerance=2), root=folder, seed=0)
    kinds = ["rows/a.csv:2: too few columns", "rows/b.csv:5: column 'label' (label) is empty"]
    assert dataset.facts["bad_rows"]["rows"] == kinds and dataset.facts["sources"]["train"]["rows"] == 38


def test_rows_that_turn_out_bad_later_name_their_file_too(folder):
    write(folder / "rows" / "b.csv", [f"{row},c{i}" for i, row in enumerate(rows(3))], header="text,label,key,customer")
    write(folder / "rows" / "a.csv", [f"{row}," for row in rows(3)], header="text,label,key,customer")
    shutil.rmtree(folder / "rows" / "deep")
    with pytest.raises(DataError) as caught:
        load(opts(split={"by": {"entity": "customer"}}), root=folder, seed=0)
    assert [item.where for item in caught.value.problems] == ["rows/a.csv:2", "rows/a.csv:3", "rows/a.csv:4"]


def test_files_of_other_columns_are_refused_and_the_difference_is_named(folder):
    write(folder / "rows" / "b.csv", ["yes,text,1,2"], header="label,text,kez,more")
    found = check_columns(opts(), folder)
    assert [str(item) for item in found] == [
        "data.train: rows/b.csv: does not have the columns of rows/a.csv: lacks 'key'; has besides 'kez', 'more'"
        " (give all files the same columns, or name those that have them with a glob)"
    ]
    write(folder / "rows" / "b.csv", ["1,yes,text"], header="key,label,text")  # another order is no difference
    assert not check_columns(opts(), folder)
    assert read_table("rows", root=folder).table.slice(30, 1).to_pylist() == [{"text": "text", "label": "yes", "key": "1"}]


def test_files_of_several_formats_are_refused(folder):
    (folder / "rows" / "d.jsonl").write_text('{"text": "a", "label": "b", "key": "c"}\n')
    told = str(check_columns(opts(), folder))
    assert "rows/a.csv" in told and "rows/d.jsonl" in told and "is jsonl" in told
    (folder / "rows" / "d.jsonl").rename(folder / "rows" / "d.txt")
    assert "rows/d.txt does not say what it is" in str(check_columns(opts(), folder)[0])
    assert not check_columns(opts("rows/*.csv"), folder)


def test_all_files_that_cannot_be_read_are_named_at_once(folder):
    (folder / "rows" / "a.csv").write_bytes(b"")
    (folder / "rows" / "b.csv").write_bytes(b"text,text\n")
    told = str(check_columns(opts(), folder))
    assert "rows/a.csv:1" in told and "the file is empty" in told and "rows/b.csv:1" in told and "named twice" in told


def test_folders_of_other_formats(tmp_path):
    for name in ("p", "j", "z"):
        (tmp_path / name).mkdir()
    for part in range(2):
        pq.write_table(pa.table({"text": [f"t{part}"], "label": [part]}), tmp_path / "p" / f"{part}.parquet")
        row = {"text": f"t{part}", "label": part, **({"x": 1} if part else {})}
        (tmp_path / "j" / f"{part}.jsonl").write_text(json.dumps(row) + "\n")
    pack(tmp_path / "z" / "0.csv.gz", b"text,label\nt0,0\n")
    write(tmp_path / "z" / "1.csv", ["t1,1"], header="text,label")
    expected = [{"text": "t0", "label": "0"}, {"text": "t1", "label": "1"}]
    for name in ("p", "j", "z"):
        assert read_table(name, root=tmp_path, columns=["text", "label"]).table.to_pylist() == expected
    assert read_columns("j", root=tmp_path) == ["text", "label", "x"]


def test_the_digest_follows_every_change_and_not_the_place(folder):
    def digest():
        return source_digests(opts(), root=folder)["train"]

    first = digest()
    assert first == read_table("rows", root=folder).digest == source_digests(opts(str(folder / "rows")), root=folder)["train"]
    shutil.copytree(folder / "rows", folder / "moved")
    assert source_digests(opts("moved/"), root=folder)["train"] == first
    (folder / "rows" / "_SUCCESS").write_text("other")
    assert digest() == first  # not read, so not counted
    (folder / "rows" / "b.csv").rename(folder / "rows" / "e.csv")
    renamed = digest()
    write(folder / "rows" / "f.csv", rows(1, 95))
    added = digest()
    write(folder / "rows" / "f.csv", rows(1, 96))
    assert len({first, renamed, added, digest()}) == 4
    glob = opts("rows/*.csv")
    assert source_digests(glob, root=folder)["train"] == read_table("rows/*.csv", root=folder).digest
    names = [["rows/a.csv"], ["rows/e.csv"], ["rows/f.csv"]]
    assert source_digests(glob, root=folder)["train"] == files.digest_json(
        [[name, "sha256:" + files.sha256_file(folder / name)] for (name,) in names]
    )


@pytest.mark.parametrize(
    ("train", "words"),
    [("empty", "empty holds no files"), ("none/*.csv", "matches no file"), ("nothing", "does not exist"), ("only", "holds no files")],
)
def test_what_is_not_there_is_said(train, words, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "_SUCCESS").write_text("")
    assert words.removeprefix("empty ") in str(check_columns(opts(train), tmp_path)[0])
    with pytest.raises(DataError, match=r"data\.train"):
        source_digests(opts(train), root=tmp_path)
