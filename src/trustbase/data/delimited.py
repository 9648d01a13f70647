"""Comma- and tab-separated values: pyarrow where a file is regular, a strict reader that names every bad row where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from trustbase.data.encodings import not_utf8
from trustbase.data.rows import CELL_LIMIT, BadRow

_QUOTE, _NEWLINE, _RETURN = 34, 10, 13


@dataclass(frozen=True)
class Dialect:
    """How the cells of a file are told apart."""

    delimiter: bytes
    quoted: bool
    newline: bytes = b"\n"


@dataclass
class Parsed:
    """Columns of the good rows and the reasons of the bad ones."""

    table: pa.Table
    row_numbers: NDArray[np.int64]
    lines: NDArray[np.int64]
    bad: list[BadRow] = field(default_factory=list)
    exact: bool = False

    @property
    def total(self) -> int:
        return len(self.row_numbers) + len(self.bad)


class Malformed(ValueError):  # noqa: N818  (the state of a record, caught where it is read)
    """A record whose quotes do not pair."""


def dialect_of(data: bytes, delimiter: str, *, quoted: bool) -> Dialect:
    """The dialect of a file; line ends are carriage returns only where there is no newline at all."""
    newline = b"\n" if b"\n" in data or b"\r" not in data else b"\r"
    return Dialect(delimiter.encode(), quoted, newline)


def content_end(data: bytes) -> int:
    """Where the file ends when line ends and empty lines at its end are left away."""
    end = len(data)
    if data.endswith(b"\r") and b"\n" not in data:
        return len(data.rstrip(b"\r"))
    while end and data[end - 1] == _NEWLINE:
        end -= 2 if data[end - 2 : end - 1] == b"\r" else 1
    return end


def parse(
    data: bytes, header: Sequence[str], start: int, columns: Sequence[str], dialect: Dialect, *, cell_limit: int = CELL_LIMIT
) -> Parsed:
    """All rows after the header.

    Args:
        data: the file, without a byte order mark.
        header: names of all columns.
        start: offset of the first byte after the header record.
        columns: the columns wanted.
        dialect: delimiter and quoting.
        cell_limit: bytes that no cell may exceed.
    """
    lines = regular_lines(data, start, len(header), dialect, cell_limit)
    if lines is not None:
        table = _read_fast(data, start, header, columns, dialect)
        if table is not None and len(table) == len(lines):
            return Parsed(table, np.arange(1, len(lines) + 1, dtype=np.int64), lines)
    return _read_strict(data, start, header, columns, dialect, cell_limit)


def regular_lines(data: bytes, start: int, width: int, dialect: Dialect, cell_limit: int) -> NDArray[np.int64] | None:
    """The physical line of each record, if every record is well formed; None where the strict reader must look.

    Works on positions of bytes, so it costs a fraction of parsing: quotes must pair and stand at cell borders, every record must
    have `width` cells, none may be empty or longer than a cell may be; no NUL, no lone carriage return, valid UTF-8.
    """
    if dialect.newline != b"\n" or b"\0" in data or not _valid_utf8(data):
        return None
    end = content_end(data)
    if end <= start:
        return np.zeros(0, np.int64)
    body = np.frombuffer(data, np.uint8)[start:end]
    newlines, cells = np.flatnonzero(body == _NEWLINE), np.flatnonzero(body == dialect.delimiter[0])
    returns = np.flatnonzero(body == _RETURN)
    quotes = np.flatnonzero(body == _QUOTE) if dialect.quoted else np.zeros(0, np.int64)
    ends = newlines
    if len(quotes):
        if not _quotes_pair(body, quotes, dialect.delimiter[0]):
            return None
        ends, cells, returns = (where[np.searchsorted(quotes, where) % 2 == 0] for where in (newlines, cells, returns))
    followed = body[np.minimum(returns + 1, len(body) - 1)] == _NEWLINE
    if not np.all(followed | ((returns == len(body) - 1) & (end == len(data)))):
        return None
    starts = np.concatenate([[0], ends + 1])
    starts = starts[starts < len(body)]
    bounds = np.append(starts, len(body))
    lengths = np.diff(bounds)
    blank = (body[starts] == _NEWLINE) | (body[starts] == _RETURN)
    if lengths.max() > cell_limit or blank.any() or np.any(np.diff(np.searchsorted(cells, bounds)) != width - 1):
        return None
    first_line = 1 + data.count(b"\n", 0, start)
    return (first_line + np.searchsorted(newlines, starts)).astype(np.int64)


def _valid_utf8(data: bytes) -> bool:
    """Whether all of it is UTF-8, without a copy."""
    offsets = pa.py_buffer(np.array([0, len(data)], np.int64))
    whole = pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(data))
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _quotes_pair(body: NDArray[np.uint8], quotes: NDArray[np.int64], delimiter: int) -> bool:
    """Whether every opening quote begins a cell and every closing one ends it (`""` inside counts as closing and opening)."""
    if len(quotes) % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    before = np.where(opening == 0, _NEWLINE, body[opening - 1])
    last = len(body) - 1
    after = np.where(closing == last, _NEWLINE, body[np.minimum(closing + 1, last)])
    begins = np.isin(before, [delimiter, _NEWLINE, _QUOTE])
    return bool(np.all(begins) and np.all(np.isin(after, [delimiter, _NEWLINE, _RETURN, _QUOTE])))


def _read_fast(data: bytes, start: int, header: Sequence[str], columns: Sequence[str], dialect: Dialect) -> pa.Table | None:
    if content_end(data) <= start:
        return _table(columns, [[] for _ in columns])
    quoted = dialect.quoted and b'"' in data
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(pa.py_buffer(data).slice(start)),
            read_options=pyarrow.csv.ReadOptions(column_names=list(header), block_size=1 << 23),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=dialect.delimiter.decode(), quote_char='"' if quoted else False, newlines_in_values=quoted
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(columns),
                column_types={name: pa.string() for name in columns},
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid:
        return None  # the strict reader reads it, or says what is wrong with it


def _read_strict(data: bytes, start: int, header: Sequence[str], columns: Sequence[str], dialect: Dialect, cell_limit: int) -> Parsed:
    wanted = [list(header).index(name) for name in columns]
    kept: list[list[str | None]] = [[] for _ in columns]
    numbers, lines, bad = [], [], []
    end = content_end(data)
    position, line, row = start, 1 + data.count(dialect.newline, 0, start), 0
    while position < end:
        row += 1
        try:
            cells, following = read_record(data, position, dialect)
            kind, detail = _check_record(cells, data[position:following], header, cell_limit)
        except Malformed as error:
            cells, kind, detail = [], str(error), ""
            following = _next_line(data, position, dialect)
        if kind:
            bad.append(BadRow(row, line, kind, detail))
        else:
            numbers.append(row)
            lines.append(line)
            for store, index in zip(kept, wanted, strict=True):
                store.append(cells[index].decode("utf-8") or None)
        line += data.count(dialect.newline, position, following)
        position = following
    return Parsed(_table(columns, kept), np.array(numbers, np.int64), np.array(lines, np.int64), bad, exact=True)


def _table(columns: Sequence[str], values: Sequence[Sequence[str | None]]) -> pa.Table:
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(columns, values, strict=True)})


def _check_record(cells: Sequence[bytes], record: bytes, header: Sequence[str], cell_limit: int) -> tuple[str, str]:
    """What is wrong with a record: kind and detail, both empty where nothing is."""
    if b"\0" in record:
        return "NUL byte", ""
    if not record.strip(b"\r\n"):
        return "empty line", ""
    if len(record) > cell_limit and max(map(len, cells)) > cell_limit:
        longest = max(range(len(cells)), key=lambda index: len(cells[index]))
        name = header[longest] if longest < len(header) else f"number {longest + 1}"
        return f"column '{name}' is longer than {cell_limit:,} bytes", f"{len(cells[longest]):,} bytes"
    if len(cells) != len(header):
        return ("too few columns" if len(cells) < len(header) else "too many columns"), f"expected {len(header)}, got {len(cells)}"
    try:
        record.decode("utf-8")
    except UnicodeDecodeError as error:
        return not_utf8(record), f"byte 0x{record[error.start]:02x} at byte {error.start + 1} of the row"
    return "", ""


def _next_line(data: bytes, position: int, dialect: Dialect) -> int:
    end = data.find(dialect.newline, position)
    return len(data) if end < 0 else end + 1


def read_record(data: bytes, position: int, dialect: Dialect) -> tuple[list[bytes], int]:
    """The cells of the record that begins at `position`, and where the next one begins.

    Raises:
        Malformed: a quote that is not closed, text after a closing quote, or a carriage return in the middle of a line.
    """
    following = _next_line(data, position, dialect)
    line = data[position:following].removesuffix(dialect.newline)
    if dialect.newline == b"\n":
        line = line.removesuffix(b"\r")
    if not dialect.quoted or b'"' not in line:
        if b"\r" in line:
            raise Malformed("carriage return inside a line")
        return line.split(dialect.delimiter), following
    return _read_quoted(data, position, dialect)


def _read_quoted(data: bytes, position: int, dialect: Dialect) -> tuple[list[bytes], int]:
    cells: list[bytes] = []
    while True:
        if data[position : position + 1] == b'"':
            cell, position = _quoted_cell(data, position, dialect)
        else:
            cell, position = _plain_cell(data, position, dialect)
        cells.append(cell)
        if position >= len(data):
            return cells, position
        if data[position : position + 1] != dialect.delimiter:
            return cells, position + (2 if data[position : position + 2] == b"\r\n" else 1)
        position += 1


def _plain_cell(data: bytes, position: int, dialect: Dialect) -> tuple[bytes, int]:
    stop = data.find(dialect.newline, position)
    stop = len(data) if stop < 0 else stop
    border = data.find(dialect.delimiter, position, stop)
    end = stop if border < 0 else border
    cell = data[position:end]
    if border < 0 and cell.endswith(b"\r") and dialect.newline == b"\n":
        cell, end = cell[:-1], end - 1
    if b"\r" in cell:
        raise Malformed("carriage return inside a line")
    return cell, end


def _quoted_cell(data: bytes, position: int, dialect: Dialect) -> tuple[bytes, int]:
    close = data.find(b'"', position + 1)
    while close >= 0 and data[close + 1 : close + 2] == b'"':
        close = data.find(b'"', close + 2)
    if close < 0:
        raise Malformed("quote that is never closed")
    after = data[close + 1 : close + 3]
    if after[:1] not in (b"", dialect.delimiter, dialect.newline) and after != b"\r\n" and not (after == b"\r" and close + 2 == len(data)):
        same_line = data.find(dialect.newline, position, close) < 0
        raise Malformed("text after a closing quote" if same_line else "quote that is never closed")
    return data[position + 1 : close].replace(b'""', b'"'), close + 1
