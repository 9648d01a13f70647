"""Rows as they were read: good ones as a table of strings, bad ones with their line and reason; and the checks all formats share."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trustbase.data import marked
from trustbase.data.columns import number_of
from trustbase.data.pair import CELL, SEPARATOR
from trustbase.errors import Problem
from trustbase.escapes import escaped

Mark = Callable[[Any, str], None]  # (mask of rows, kind) → None

DECIMAL_COMMA = "is written with a comma, decimal or between thousands"
_DIGITS = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE]\+?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?(?:(?:\d*|\d{1,3}(?:\.\d{3})+),\d+|\d{1,3}(?:,\d{3})+(?:\.\d+)?)(?:[eE][+-]?\d+)?", re.ASCII)

CELL_LIMIT = 1_000_000  # bytes; a longer cell is a broken quote or a wrong column far more often than a text


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: `kind` never holds a value of the data, `detail` may."""

    row: int  # 1-based data row
    line: int  # 1-based physical line in its file (Parquet: the row)
    kind: str
    detail: str = ""
    file: str = ""  # the one of several files that it stands in

    def where(self, source: str) -> str:
        """`file:line`; `source` names the file where there is one alone."""
        return f"{self.file or source}:{self.line}"

    @property
    def reason(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


def in_quotes(value: str, limit: int = 60) -> str:
    """A value of the data for a message: quoted, cut, and without anything that a terminal or log could take for more than text."""
    text = value if len(value) <= limit else value[:limit] + "…"
    return f"'{escaped(text)}'"


@dataclass(frozen=True, eq=False)
class RawTable:
    """What one file holds.

    Attributes:
        table: string columns of the good rows; null is an empty cell, `(rows, columns)`.
        row_numbers: 1-based data row of each good row, int64 `(rows,)`.
        lines: physical line on which each good row begins, int64 `(rows,)`; the row itself where a format has no lines.
        bad_rows: the other rows, in file order.
        total: rows of the file, good and bad.
        source: the file's name for messages.
        digest: `sha256:…` of the file.
        size: bytes of the file.
        exact: whether the strict reader had to go through the file row by row.
        files: where the rows are of several files in turn, the first row number and the name of each.
        notes: what was found of their form, for log and card.
        revision: the commit of a hub that the rows are of; "" where they are of none, or it is not known.
    """

    table: pa.Table
    row_numbers: NDArray[np.int64]
    lines: NDArray[np.int64]
    bad_rows: tuple[BadRow, ...]
    total: int
    source: str
    digest: str
    size: int
    exact: bool = False
    files: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()
    revision: str = ""

    def __len__(self) -> int:
        return len(self.row_numbers)

    @property
    def bad(self) -> list[Problem]:
        """`file:line: reason` of every bad row."""
        return [Problem(bad.where(self.source), bad.reason) for bad in self.bad_rows]

    def without(self, bad: Sequence[BadRow]) -> RawTable:
        """This table less the rows of `bad`, which join its bad rows."""
        if not bad:
            return self
        keep = ~np.isin(self.row_numbers, np.array([item.row for item in bad], dtype=np.int64))
        rows = tuple(sorted([*self.bad_rows, *bad], key=lambda item: item.row))
        table = self.table.filter(pa.array(keep))
        return replace(self, table=table, row_numbers=self.row_numbers[keep], lines=self.lines[keep], bad_rows=rows)

    def as_bad(self, index: int, kind: str, detail: str = "") -> BadRow:
        """The `index`-th good row as a bad one."""
        row = int(self.row_numbers[index])
        return BadRow(row, int(self.lines[index]), kind, detail, self.file_of(row))

    def file_of(self, row: int) -> str:
        """The file that a row stands in, where there are several; else ""."""
        return self.files[bisect_right(self.files, row, key=lambda item: item[0]) - 1][1] if self.files else ""


def check_rows(
    raw: RawTable,
    *,
    label: str | None = None,
    text: Sequence[str] = (),
    shown: Sequence[Sequence[str]] = (),
    spans: Sequence[str] = (),
    cells: Sequence[str] = (),
    numeric: Sequence[str] = (),
    unique: str | None = None,
    repeats: Mapping[int, str] = MappingProxyType({}),
    cell_limit: int = CELL_LIMIT,
) -> RawTable:
    """Move rows whose cells cannot be used to the bad rows; every reason of a row is named.

    Args:
        raw: the rows as read.
        label: column that must not be empty.
        text: columns that must not be empty: texts as they stand.
        shown: columns of each template; not all of one may be empty.
        spans: columns of two spans in the text of `text`, which are marked in it.
        cells: columns whose cells are asked beside the text; they may be empty.
        numeric: those of them whose cells must be numbers where they are not empty.
        unique: column whose values must not repeat.
        repeats: row number → where the value of `unique` stood first, where `raw` is a piece of a file; else it is found here.
        cell_limit: bytes that no cell may exceed.
    """
    raw = replace(raw, table=blank_to_null(raw.table, keep=text))
    kinds: dict[int, list[str]] = {}
    details: dict[int, str] = {}

    def mark(mask: pa.Array | pa.ChunkedArray, kind: str) -> None:
        for index in np.flatnonzero(mask.to_numpy(zero_copy_only=False)).tolist():
            kinds.setdefault(index, []).append(kind)

    def tell(index: int, kind: str, detail: str) -> None:
        kinds.setdefault(index, []).append(kind)
        details[index] = "; ".join(filter(None, (details.get(index), detail)))

    _check_cells(raw, mark, cell_limit)
    if label is not None:
        mark(_empty(raw.table[label]), f"column '{label}' (label) is empty")
    for name in text:
        mark(_empty(raw.table[name]), f"column '{name}' (text) is empty")
    for names in shown:
        mark(_all_null(raw.table, names), "every column of the template is empty")
    for name in numeric:
        for index, (kind, detail) in not_numbers(raw.table[name]).items():
            tell(index, f"column '{name}' (numeric feature) {kind}", detail)
    if spans:
        for index, (found, detail) in marked.faults(raw.table, (*text, *spans)).items():
            tell(index, "; ".join(found), detail)
        held = pc.fill_null(pc.match_substring_regex(raw.table[text[0]], f"[{marked.HEAD}{marked.TAIL}{marked.TYPED}]"), False)
        mark(held, f"column '{text[0]}' holds U+0002, U+000E or U+000F, which stand around entities")
    for name in dict.fromkeys([*text, *(name for names in shown for name in names), *cells]):
        held = pc.fill_null(pc.match_substring(raw.table[name], SEPARATOR), False)
        if pc.any(held).as_py():
            mark(held, f"column '{name}' holds U+001F, which stands between the texts of a pair")
        held = pc.fill_null(pc.match_substring(raw.table[name], CELL), False)
        if pc.any(held).as_py():
            mark(held, f"column '{name}' holds U+001E, which stands between cells")
    if len(raw.table.column_names) > 1:
        mark(_repeats_header(raw.table), "repeats the header")
    if unique is not None:
        for index, first in repeats_in(raw, unique, repeats).items():
            tell(index, f"column '{unique}' repeats an earlier value", first)
    return raw.without([raw.as_bad(index, "; ".join(found), details.get(index, "")) for index, found in sorted(kinds.items())])


def repeats_in(raw: RawTable, unique: str, known: Mapping[int, str]) -> dict[int, str]:
    """Index of each row whose value stood in an earlier one → where that is."""
    if known:
        there = np.flatnonzero(np.isin(raw.row_numbers, np.fromiter(known, np.int64, len(known))))
        return {index: known[int(raw.row_numbers[index])] for index in there.tolist()}
    return {index: first_place(raw, first) for index, first in _repeated(raw.table[unique]).items()}


def first_place(raw: RawTable, index: int) -> str:
    """Where a value stood first, for a message."""
    other = raw.file_of(int(raw.row_numbers[index]))
    return f"first on line {raw.lines[index]}{f' of {other}' if other else ''}"


def _check_cells(raw: RawTable, mark: Mark, cell_limit: int) -> None:
    for name in raw.table.column_names:
        column = raw.table[name]
        longest = pc.max(pc.binary_length(column)).as_py() or 0
        if longest > cell_limit:
            mark(
                pc.fill_null(pc.greater(pc.binary_length(column), cell_limit), False),
                f"column '{name}' is longer than {cell_limit:,} bytes",
            )
        nul = pc.fill_null(pc.match_substring(column, "\0"), False)
        if pc.any(nul).as_py():
            mark(nul, f"NUL character in column '{name}'")


def not_numbers(column: pa.ChunkedArray) -> dict[int, tuple[str, str]]:
    """Row → why its cell is no number that can be computed with, and what it holds; an empty cell is none of these."""
    encoded = column.combine_chunks().dictionary_encode()
    values = enumerate(encoded.dictionary.to_pylist())
    wrong = {code: (_no_number(value), f"got {in_quotes(value)}") for code, value in values if number_of(value) is None}
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return {row: wrong[int(codes[row])] for row in np.flatnonzero(np.isin(codes, list(wrong))).tolist()} if wrong else {}


def _no_number(cell: str) -> str:
    """Why a cell is no finite number."""
    if has_decimal_comma(cell):
        return DECIMAL_COMMA
    return "is beyond the numbers that can be computed with" if _DIGITS.fullmatch(cell.strip()) else "is not a finite number"


def has_decimal_comma(cell: str) -> bool:
    """Whether a cell is a number but for its commas: `1,5`, `-0,25`, `1.234,5`, `1,234.5`. What `1,234` means is never guessed."""
    return _COMMA.fullmatch(cell.strip()) is not None


def blank_to_null(table: pa.Table, *, keep: Collection[str]) -> pa.Table:
    """Cells of nothing but white space are empty cells."""
    for index, name in enumerate(table.column_names):
        if name not in keep:
            column = table[name]
            blank = pc.equal(pc.utf8_trim_whitespace(column), "")
            if pc.any(blank).as_py():
                table = table.set_column(index, name, pc.if_else(blank, pa.scalar(None, column.type), column))
    return table


def _empty(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True)


def _all_null(table: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    mask = pc.is_null(table[names[0]])
    for name in names[1:]:
        mask = pc.and_(mask, pc.is_null(table[name]))
    return mask


def _repeats_header(table: pa.Table) -> pa.ChunkedArray:
    mask = None
    for name in table.column_names:
        same = pc.fill_null(pc.equal(table[name], name), False)
        mask = same if mask is None else pc.and_(mask, same)
        if not pc.any(mask).as_py():
            break
    return mask


def _repeated(column: pa.ChunkedArray) -> dict[int, int]:
    """Index of each repeated value → index of its first appearance."""
    first: dict[str, int] = {}
    found = {}
    for index, value in enumerate(column.to_pylist()):
        if value is not None and first.setdefault(value, index) != index:
            found[index] = first[value]
    return found
