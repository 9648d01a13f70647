"""Parquet, as columns of text. Rows are counted where a format has lines."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trustbase import files
from trustbase.data.rows import BadRow, RawTable
from trustbase.data.template import unknown_column
from trustbase.errors import DataError, Problem


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
        nested: columns that may hold lists and structures; their cells are the JSON of these.

    Raises:
        DataError: not Parquet, a column is not there, or is of a kind that is no text.
    """
    source = source or str(path)
    file = _open(path, source)
    schema = file.schema_arrow
    wanted = list(schema.names) if columns is None else list(columns)
    problems = [unknown_column(source, name, schema.names) for name in wanted if name not in schema.names]
    problems += [
        Problem(source, f"column '{name}' appears more than once") for name in dict.fromkeys(wanted) if schema.names.count(name) > 1
    ]
    if not problems:
        plain = [name for name in wanted if name not in nested or not pa.types.is_nested(schema.field(name).type)]
        problems = [problem for name in plain if (problem := refuse_type(schema.field(name), source, name in whole))]
    if problems:
        raise DataError(f"{source} does not hold the columns that are asked for", problems=problems)
    try:
        table = file.read(columns=wanted).select(wanted)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source} cannot be read: {error}", hint="the file is damaged; write it again") from error
    table, bad = as_text(table)
    rows = np.arange(1, len(table) + 1, dtype=np.int64)
    raw = RawTable(table, rows, rows, (), len(table), source, "sha256:" + files.sha256_file(path), path.stat().st_size)
    return raw.without(bad)


def _open(path: Path, source: str) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
        file.schema_arrow.names  # noqa: B018  decoded here
        return file
    except UnicodeDecodeError as error:
        raise DataError(f"{source} has a column whose name is not UTF-8", hint="the file is damaged; write it again") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source} is not a Parquet file: {error}", hint="check the file, or say what it is with data.format") from error


def refuse_type(column: pa.Field, source: str, whole: bool) -> Problem | None:
    """Why a column of this type cannot be text (or, where it must be `whole`, a label); None where it can."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_nested(kind):
        return Problem(source, f"column '{column.name}' is of type {kind}, which is no text", "write it as text")
    if whole and (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return Problem(source, f"column '{column.name}' holds numbers with fractions ({kind})", "write it as text or integers")
    return None


def as_text(table: pa.Table) -> tuple[pa.Table, list[BadRow]]:
    """Every column as strings, NaN and "" as null, and the rows that hold bytes which are no UTF-8."""
    columns, bad = [], {}
    for name in table.column_names:
        column = as_json(table[name])
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


def as_json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of lists or structures as their JSON; any other as it is."""
    if not pa.types.is_nested(column.type):
        return column
    cells = [None if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(cells, pa.string())])


def _not_utf8(column: pa.ChunkedArray) -> list[int]:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_binary(column.type)):
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
