"""Parquet, as columns of text. Rows are counted where a format has lines."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trustbase import files
from trustbase.data.rows import BadRow, RawTable
from trustbase.data.template import unknown_column
from trustbase.errors import DataError, Problem

_PIECE = 8 << 20  # bytes of text in a piece, about
_FEWEST, _MOST = 64, 65_536  # rows of a piece
_BYTES = (
    *(pa.types.is_string, pa.types.is_large_string),
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary),
)
_BUFFER = 1 << 20  # bytes read of a column at once, so that a row group of any size is read in parts


def parquet_columns(path: Path, source: str) -> list[str]:
    """The column names.

    Raises:
        DataError: the file is not Parquet.
    """
    return list(_open(path, source).schema_arrow.names)


def read_parquet(
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    source: str | None = None,
    whole: Collection[str] = (),
    nested: Collection[str] = (),
) -> RawTable:
    """Read columns of a Parquet file as text; `line` of a bad row is its row.

    Args:
        path: the file.
        columns: the columns wanted; all of them by default.
        source: name for messages; the path by default.
        whole: columns whose numbers must be whole, such as the label.
        nested: columns that may be of lists and structures, which become texts of JSON.

    Raises:
        DataError: not Parquet, a column is not there, or is of a kind that is no text.
    """
    source = source or str(path)
    file = _open(path, source)
    wanted = _usable(file, columns, source, whole, nested)
    try:
        table = file.read(columns=wanted).select(wanted)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(source, error) from error
    table, bad = as_text(table)
    rows = np.arange(1, len(table) + 1, dtype=np.int64)
    raw = RawTable(table, rows, rows, (), len(table), source, "sha256:" + files.sha256_file(path), path.stat().st_size)
    return raw.without(bad)


def parquet_pieces(path: Path, columns: Sequence[str], source: str, whole: Collection[str] = ()) -> Iterator[RawTable]:
    """The rows that `read_parquet` gives, some at a time: few enough that their text stays under some MB, whatever the row groups are.

    The pieces have neither digest nor size.

    Raises:
        DataError: as `read_parquet`.
    """
    file = _open(path, source, buffer_size=_BUFFER)
    wanted = _usable(file, columns, source, whole)
    done = 0
    batches = file.iter_batches(batch_size=_rows_of_a_piece(file, wanted), columns=wanted, use_threads=False)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(source, error) from error
        if batch is None:
            return
        table, bad = as_text(pa.table(batch).select(wanted))
        rows = np.arange(done + 1, done + len(table) + 1, dtype=np.int64)
        moved = [replace(item, row=item.row + done, line=item.line + done) for item in bad]
        yield RawTable(table, rows, rows, (), len(table), source, "", 0).without(moved)
        done += len(rows)


def parquet_bytes(path: Path, columns: Collection[str], source: str) -> int:
    """Bytes that these columns take, unpacked, as the file itself says.

    Raises:
        DataError: the file is not Parquet.
    """
    meta = _open(path, source).metadata
    return sum(sizes for name, sizes in _sizes(meta).items() if name in columns)


def _sizes(meta: pq.FileMetaData) -> dict[str, int]:
    found: dict[str, int] = {}
    for group in range(meta.num_row_groups):
        row_group = meta.row_group(group)
        for place in range(row_group.num_columns):
            column = row_group.column(place)
            found[column.path_in_schema] = found.get(column.path_in_schema, 0) + column.total_uncompressed_size
    return found


def _rows_of_a_piece(file: pq.ParquetFile, columns: Collection[str]) -> int:
    size = sum(found for name, found in _sizes(file.metadata).items() if name in columns)
    return int(min(max(_PIECE * file.metadata.num_rows // max(size, 1), _FEWEST), _MOST))


def _damaged(source: str, error: Exception) -> DataError:
    return DataError(f"{source} cannot be read: {error}", hint="the file is damaged; write it again")


def _usable(
    file: pq.ParquetFile, columns: Sequence[str] | None, source: str, whole: Collection[str], nested: Collection[str] = ()
) -> list[str]:
    """The columns that are asked for.

    Raises:
        DataError: one is not there, or is of a kind that is no text.
    """
    schema = file.schema_arrow
    wanted = list(schema.names) if columns is None else list(columns)
    problems = [unknown_column(source, name, schema.names) for name in wanted if name not in schema.names]
    problems += [
        Problem(source, f"column '{name}' appears more than once") for name in dict.fromkeys(wanted) if schema.names.count(name) > 1
    ]
    if not problems:
        problems = [problem for name in wanted if (problem := refuse_type(schema.field(name), source, name in whole, name in nested))]
    if problems:
        raise DataError(f"{source} does not hold the columns that are asked for", problems=problems)
    return wanted


def _open(path: Path, source: str, buffer_size: int = 0) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path, buffer_size=buffer_size, pre_buffer=False)
        file.schema_arrow.names  # noqa: B018  decoded here
        return file
    except UnicodeDecodeError as error:
        raise DataError(f"{source} has a column whose name is not UTF-8", hint="the file is damaged; write it again") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source} is not a Parquet file: {error}", hint="check the file, or say what it is with data.format") from error


def refuse_type(column: pa.Field, source: str, whole: bool, nested: bool = False) -> Problem | None:
    """Why a column of this type cannot be text (or, where it must be `whole`, a label; `nested`: or JSON); None where it can."""
    kind = column.type.storage_type if isinstance(column.type, pa.BaseExtensionType) else column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_interval(kind) or (pa.types.is_nested(kind) and not (nested and _is_json(kind))):
        return Problem(source, f"column '{column.name}' is of type {kind}, which is no text", "write it as text")
    if whole and (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return Problem(source, f"column '{column.name}' holds numbers with fractions ({kind})", "write it as text or integers")
    return None


def _is_json(kind: pa.DataType) -> bool:
    """Whether every value of a type can be written as JSON."""
    if pa.types.is_nested(kind):
        return not pa.types.is_union(kind) and all(_is_json(kind.field(place).type) for place in range(kind.num_fields))
    known = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(is_known(kind) for is_known in known)


def as_json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of lists or structures as texts of JSON; a missing one stays missing."""
    cells = [None if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(cells, pa.string())])


def as_text(table: pa.Table) -> tuple[pa.Table, list[BadRow]]:
    """Every column as strings, NaN and "" as null, and the rows that hold bytes which are no UTF-8."""
    columns, bad = [], {}
    for name in table.column_names:
        column = table[name]
        if isinstance(column.type, pa.BaseExtensionType):  # what it stands for is a matter of the library; this is what the file holds
            column = column.cast(column.type.storage_type)
        if pa.types.is_binary_view(column.type):
            column = column.cast(pa.large_binary())
        if pa.types.is_nested(column.type):
            column = as_json(column)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        for row in _not_utf8(column):
            bad[row] = BadRow(row + 1, row + 1, f"column '{name}' is not UTF-8")
        column = column if not bad else _without(column, bad)
        text = column.cast(pa.string())
        columns.append(pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text))
    return pa.table(columns, names=table.column_names), [bad[row] for row in sorted(bad)]


def _not_utf8(column: pa.ChunkedArray) -> list[int]:
    if not any(is_bytes(column.type) for is_bytes in _BYTES):
        return []
    raw = column.cast(pa.large_binary())
    try:
        raw.cast(pa.large_string())  # the cast checks
    except pa.ArrowInvalid:
        return [row for row, value in enumerate(raw.to_pylist()) if value is not None and not _decodes(value)]
    return []


def _decodes(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _without(column: pa.ChunkedArray, bad: Collection[int]) -> pa.ChunkedArray:
    mask = np.zeros(len(column), bool)
    mask[list(bad)] = True
    return pc.if_else(pa.array(mask), pa.scalar(None, column.type), column)
