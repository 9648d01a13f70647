"""Input rows of a batch, a chunk at a time: each row is a text, or the reason why it is none. Memory does not grow with the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from trustbase.data import delimited, jsonl
from trustbase.data.cells import Reading
from trustbase.data.reference import Format, suffix_of
from trustbase.data.rows import RawTable, check_rows
from trustbase.data.source import format_of, read_columns, read_parquet
from trustbase.data.template import unknown_column
from trustbase.errors import DataError, Problem

BLOCK = 4_000_000
_LONGEST_LINE = 64_000_000
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class BadInput:
    """A row that cannot be asked about."""

    where: str  # "rows.csv:3"
    reason: str


Row = str | BadInput


@dataclass(frozen=True)
class Chunk:
    """Some rows, and how much of the file (in bytes) was read with them."""

    rows: list[Row]
    read: int


def read_rows(path: Path, reading: Reading, *, quoted: bool = True, block: int = BLOCK) -> Iterator[Chunk]:
    """Chunks of rows, in the order of the file.

    Args:
        path: csv, tsv, jsonl or parquet (Parquet is read as a whole, its needed columns only).
        reading: which columns make the text, and which are asked as cells.
        quoted: whether csv/tsv cells may be quoted.
        block: bytes read at a time.

    Raises:
        DataError: the file as a whole cannot be read, or lacks a column.
    """
    if not path.is_file():
        raise DataError(
            f"the input {path} {'is a folder' if path.is_dir() else 'does not exist'}", hint="name a csv, tsv, jsonl or parquet file"
        )
    if suffix_of(path)[1]:
        raise DataError(f"the input {path} is compressed, and answers are given from plain files", hint="unpack it first")
    kind = format_of(path)
    if kind == "parquet":
        raw = read_parquet(path, columns=reading.needed, source=path.name, nested=reading.template.entities)
        yield from _chunks(_rows(raw, reading), path.stat().st_size)
        return
    header = read_columns(str(path), root=Path(), format=kind, quoted=quoted)
    problems = [unknown_column(f"{path.name}:1", name, header) for name in reading.needed if name not in header]
    if problems and kind != "jsonl":
        raise DataError(f"{path} lacks columns that the model reads", problems=problems, hint="the bundle answers the recipe's own columns")
    with path.open("rb") as stream:
        yield from (_json_blocks if kind == "jsonl" else _delimited_blocks)(stream, path, reading, header, kind, quoted, block)


def _json_blocks(
    stream: BinaryIO, path: Path, reading: Reading, header: Sequence[str], kind: Format, quoted: bool, block: int
) -> Iterator[Chunk]:
    done = 0
    for data in _blocks(stream, path, block, lambda buffer, last: len(buffer) if last else buffer.rfind(b"\n") + 1):
        parsed = jsonl.parse(data, reading.needed, nested=reading.template.entities)
        yield Chunk(_rows(_raw(parsed, path, rows=done, lines=done), reading), stream.tell())
        done += parsed.total


def _delimited_blocks(
    stream: BinaryIO, path: Path, reading: Reading, header: Sequence[str], kind: Format, quoted: bool, block: int
) -> Iterator[Chunk]:
    head = stream.read(block).removeprefix(_BOM)
    dialect = delimited.dialect_of(head, "\t" if kind == "tsv" else ",", quoted=quoted)
    _, start = delimited.read_record(head, 0, dialect)
    rows, lines = 0, head.count(dialect.newline, 0, start)
    for data in _blocks(stream, path, block, lambda buffer, last: _border(buffer, last, dialect), head[start:]):
        parsed = delimited.parse(data, header, 0, reading.needed, dialect)
        yield Chunk(_rows(_raw(parsed, path, rows=rows, lines=lines), reading), stream.tell())
        rows += parsed.total
        lines += data.count(dialect.newline)


def _border(buffer: bytes, last: bool, dialect: delimited.Dialect) -> int:
    """Where the last record ends that is known to be whole."""
    position = 0
    while position < len(buffer):
        doubtful = False
        try:
            _, following = delimited.read_record(buffer, position, dialect)
        except ValueError:  # reported by the parser; here it may only mean that the rest was not read yet
            end = buffer.find(dialect.newline, position)
            following = len(buffer) if end < 0 else end + 1
            doubtful = len(buffer) - position < BLOCK
        if not last and (following >= len(buffer) or doubtful):
            break
        position = following
    return position


def _blocks(stream: BinaryIO, path: Path, block: int, border: object, buffer: bytes | None = None) -> Iterator[bytes]:
    """Pieces of a file that end where a row ends; empty lines at the very end belong to no row."""
    assert callable(border)
    buffer = stream.read(block).removeprefix(_BOM) if buffer is None else buffer
    while True:
        more = stream.read(block)
        last = not more
        buffer += more
        end = border(buffer, last)
        content = len(buffer[:end].rstrip(b"\r\n"))
        if not last:  # an empty line is a row where another row follows it: keep it until that is known
            newline = buffer.find(b"\n", content, end)
            end = newline + 1 if content and newline >= 0 else 0
        if content and end:
            yield buffer[:end]
            buffer = buffer[end:]
        if last:
            return
        if len(buffer) > _LONGEST_LINE:
            raise DataError(
                f"{path} has a row of more than {_LONGEST_LINE:,} bytes", problems=[Problem(str(path), "no end of a row was found")]
            )


def _raw(parsed: delimited.Parsed, path: Path, *, rows: int, lines: int) -> RawTable:
    bad = tuple(replace(item, row=item.row + rows, line=item.line + lines) for item in parsed.bad)
    numbers, places = parsed.row_numbers + rows, parsed.lines + lines
    return RawTable(parsed.table, numbers, places, bad, parsed.total, path.name, "", 0, parsed.exact)


def cells_of(row: Mapping[str, Any], reading: Reading) -> dict[str, str | None]:
    """The cells of one row, read and checked as a line of a jsonl file is; None where one is empty.

    Args:
        row: every column that the model reads; others are passed over.
        reading: which columns make the text, and which are asked as cells.

    Raises:
        DataError: the row cannot be asked about; every reason.
    """
    told = {name: jsonl.written(row[name]) if name in reading.template.entities else row[name] for name in reading.needed}
    parsed = jsonl.parse(json.dumps(told).encode(), reading.needed)
    checked = _checked(_raw(parsed, Path("input"), rows=0, lines=0), reading)
    if not len(checked):
        raise DataError("this input cannot be asked", problems=[Problem("input", bad.reason) for bad in checked.bad_rows])
    found: dict[str, str | None] = checked.table.to_pylist()[0]
    return found


def _checked(raw: RawTable, reading: Reading) -> RawTable:
    return check_rows(
        raw,
        text=reading.template.whole,
        shown=reading.template.composed,
        spans=reading.template.entities,
        cells=reading.columns,
        numeric=reading.numeric,
    )


def _rows(raw: RawTable, reading: Reading) -> list[Row]:
    """Good and bad rows in file order, checked as training rows are."""
    checked = _checked(raw, reading)
    inputs = reading.render_table(checked.table) if len(checked) else []
    rows: list[tuple[int, Row]] = list(zip(checked.row_numbers.tolist(), inputs, strict=True))
    rows += [(bad.row, BadInput(f"{raw.source}:{bad.line}", bad.reason)) for bad in checked.bad_rows]
    return [row for _, row in sorted(rows, key=lambda item: item[0])]


def _chunks(rows: list[Row], size: int, at_once: int = 4096) -> Iterator[Chunk]:
    for start in range(0, len(rows), at_once):
        yield Chunk(rows[start : start + at_once], size * min(start + at_once, len(rows)) // len(rows))
