"""Compressed files of rows: the same rows, the same lines in messages, and a refusal for what is damaged or expands too far."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from archives_kit import pack
from trustbase import files
from trustbase.bundle.rows import read_rows
from trustbase.data import archive
from trustbase.data.cells import Reading
from trustbase.data.gather import check_columns
from trustbase.data.load import load, source_digests
from trustbase.data.options import DataOptions
from trustbase.data.source import read_columns, read_table
from trustbase.data.template import TextTemplate
from trustbase.errors import DataError

TEXTS = {
    "csv": 'text,label\n"two\nlines",yes\n中文,no\nbad\nlast,yes\n',
    "tsv": 'text\tlabel\n"two\nlines"\tyes\n中文\tno\nbad\nlast\tyes\n',
    "jsonl": '{"text": "two\\nlines", "label": "yes"}\n{"text": "中文", "label": "no"}\nbad\n{"text": "last", "label": "yes"}\n',
}


KINDS = (".gz", ".bz2", ".xz", ".zst", ".zip")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", list(TEXTS))
def test_the_same_rows_and_the_same_lines_as_unpacked(format, kind, tmp_path):
    data = TEXTS[format].encode()
    (tmp_path / f"rows.{format}").write_bytes(data)
    path = pack(tmp_path / f"rows.{format}{kind}", data)
    plain, found = (read_table(name, root=tmp_path) for name in (f"rows.{format}", path.name))
    assert found.table.equals(plain.table) and found.lines.tolist() == plain.lines.tolist() and len(found) == 3
    assert [row.line for row in found.bad_rows] == [row.line for row in plain.bad_rows] == [3 if format == "jsonl" else 5]
    assert found.bad[0].where == f"{path.name}:{found.bad_rows[0].line}"
    assert read_columns(path.name, root=tmp_path) == ["text", "label"]
    assert found.digest == "sha256:" + files.sha256_file(path) != plain.digest and found.size == path.stat().st_size


def test_a_zip_says_what_it_holds_by_the_name_inside(tmp_path):
    pack(tmp_path / "rows.zip", TEXTS["tsv"].encode(), inside="export.tsv")
    options = DataOptions(train="rows.zip", text="text", label="label")
    assert not check_columns(options, tmp_path) and len(read_table("rows.zip", root=tmp_path)) == 3
    pack(tmp_path / "rows.zip", TEXTS["tsv"].encode(), inside="export.txt")
    assert "does not say what it is" in check_columns(options, tmp_path)[0].message
    assert len(read_table("rows.zip", root=tmp_path, format="tsv")) == 3
    pack(tmp_path / "rows.zip", b"PAR1", inside="export.parquet")
    assert "compressed inside already" in check_columns(options, tmp_path)[0].message


def test_a_zip_of_anything_but_one_file_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "rows.csv.zip", "w") as made:
        made.writestr("a.csv", "x")
        made.writestr("b\x1b[2J.csv", "x")
    with pytest.raises(DataError, match=r"holds 2 files \('a.csv', 'b\\x1b\[2J.csv'\), and must hold one"):
        read_table("rows.csv.zip", root=tmp_path)
    with zipfile.ZipFile(tmp_path / "rows.csv.zip", "w") as made:
        made.writestr("folder/", "")
    with pytest.raises(DataError, match="holds 0 files, and must hold one"):
        read_table("rows.csv.zip", root=tmp_path)
    path = pack(tmp_path / "rows.csv.zip", TEXTS["csv"].encode())
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02", 0, data.rindex(b"folder/rows.csv"))
    data[place + 8] |= 1  # the bit that says "encrypted"
    path.write_bytes(data)
    with pytest.raises(DataError, match="it is encrypted"):
        read_table("rows.csv.zip", root=tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_archive_is_refused_by_name_and_reason(kind, tmp_path):
    rng = np.random.default_rng(0)
    data = ("text,label\n" + "".join(f"{word},yes\n" for word in rng.integers(0, 1 << 40, 4000))).encode()
    path = pack(tmp_path / f"rows.csv{kind}", data)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"text,label\nplain,yes\n", b""):
        path.write_bytes(broken)
        with pytest.raises(DataError) as caught:
            read_table(path.name, root=tmp_path)
        assert path.name in caught.value.problems[0].where, caught.value
        assert "unpacked" in str(caught.value) or (kind, broken) == (".gz", b"") or "is empty" in str(caught.value)
    expected = read_table(pack(path, data).name, root=tmp_path).table
    for _ in range(40):  # a flipped byte is refused, or (in a header field that nobody reads) changes nothing
        flipped = bytearray(whole)
        flipped[rng.integers(0, len(flipped))] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)
        try:
            found = read_table(path.name, root=tmp_path)
        except DataError as error:
            assert path.name in str(error)
        else:
            assert kind == ".zst" or found.table.equals(expected)  # our zstd writer adds no checksum


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_not_expanded(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "FREE", 1 << 20)
    path = pack(tmp_path / f"rows.csv{kind}", b"text,label\n" + b"a,b\n" * (1 << 16) + b"x" * (1 << 22))
    monkeypatch.setattr(archive, "MOST", 100)
    with pytest.raises(DataError, match="expands to more than"):
        read_table(path.name, root=tmp_path)
    assert read_columns(path.name, root=tmp_path) == ["text", "label"]  # the head alone is no bomb
    monkeypatch.setattr(archive, "FREE", 1 << 26)
    assert read_table(path.name, root=tmp_path).total == (1 << 16) + 1


def test_a_run_reads_compressed_rows_and_knows_them_by_digest(tmp_path):
    rows = "".join(f"text {i},{'yes' if i % 2 else 'no'}\n" for i in range(100))
    (tmp_path / "rows.csv").write_text("text,label\n" + rows)
    packed = pack(tmp_path / "rows.csv.xz", (tmp_path / "rows.csv").read_bytes())
    plain, found = (load(DataOptions(train=name, text="text", label="label"), root=tmp_path, seed=0) for name in ("rows.csv", packed.name))
    assert found.digest == plain.digest
    options = DataOptions(train=packed.name, text="text", label="label")
    assert source_digests(options, root=tmp_path)["train"] == found.facts["sources"]["train"]["digest"]


def test_a_file_that_is_packed_but_not_called_so_is_told_how(tmp_path):
    pack(tmp_path / "rows.csv.gz", TEXTS["csv"].encode()).rename(tmp_path / "rows.csv")
    with pytest.raises(DataError, match=r"its name must end in \.gz"):
        read_table("rows.csv", root=tmp_path)


def test_batch_answers_refuse_compressed_input(tmp_path):
    path = pack(tmp_path / "rows.csv.gz", TEXTS["csv"].encode())
    with pytest.raises(DataError, match="is compressed"):
        next(read_rows(path, Reading(TextTemplate.parse("text", ["text"]))))


@pytest.mark.parametrize("which", ["both", "list of contents", "before the file"])
def test_a_name_in_a_zip_archive_that_is_no_text_is_told(which, tmp_path):
    path = tmp_path / "rows.csv.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("名.csv", TEXTS["csv"])
    name, bad, data = "名".encode(), b"\xff\xfe\xfd", path.read_bytes()
    first, last = data.index(name), data.rindex(name)
    assert first < last
    for place in {"both": (first, last), "list of contents": (last,), "before the file": (first,)}[which]:
        data = data[:place] + bad + data[place + 3 :]
    path.write_bytes(data)
    for read in (read_columns, read_table):
        with pytest.raises(DataError, match=r"cannot be unpacked as \.zip: a name in it is said to be UTF-8, and is not"):
            read(path.name, root=tmp_path)
