"""Rows as Hugging Face datasets keeps them, as columns of text: numbers that stand for names become the names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trustbase.data.columnar import as_text, refuse_type
from trustbase.data.rows import BadRow, RawTable
from trustbase.data.template import unknown_column
from trustbase.data.wanted import Wanted
from trustbase.errors import DataError

_LEAST = 0  # `datasets` writes -1 where a row has no label


def usable_columns(schema: pa.Schema, features: Any, wanted: Wanted) -> list[str]:
    """The columns that are asked for.

    Args:
        schema: of the stored table.
        features: what `datasets` says of its columns, as plain JSON.
        wanted: what is asked.

    Raises:
        DataError: one is not there, or is of a kind that is no text.
    """
    source = wanted.source
    columns = list(schema.names) if wanted.columns is None else list(wanted.columns)
    whole = set(wanted.whole) - set(label_names(features))
    problems = [unknown_column(source, name, schema.names) for name in columns if name not in schema.names]
    problems = problems or [
        found for name in columns if (found := refuse_type(schema.field(name), source, name in whole, name in wanted.nested))
    ]
    if problems:
        raise DataError(f"{source} does not hold the columns that are asked for", problems=problems)
    return columns


def named_rows(table: pa.Table, features: Any, source: str, digest: str, size: int, revision: str = "") -> RawTable:
    """The rows of a stored table, numbered from 1; a row whose label has no name, or whose text is no UTF-8, is a bad one.

    Args:
        table: the columns asked for, as stored.
        features: what `datasets` says of its columns, as plain JSON.
        source: its name for messages.
        digest: `sha256:…` of what was read.
        size: bytes of what was read.
        revision: the commit of the hub, where it is of one and that is known.
    """
    table, bad = _named(table, label_names(features))
    table, not_text = as_text(table)
    rows = np.arange(1, len(table) + 1, dtype=np.int64)
    raw = RawTable(table, rows, rows, (), len(table), source, digest, size, revision=revision)
    return raw.without(sorted({item.row: item for item in [*bad, *not_text]}.values(), key=lambda item: item.row))


def label_names(features: Any) -> dict[str, list[str]]:
    """Columns whose whole numbers stand for names, and the names."""
    if not isinstance(features, dict):
        return {}
    found = {column: kind.get("names") for column, given in features.items() if (kind := _class_label(given)) is not None}
    return {column: [str(name) for name in names] for column, names in found.items() if isinstance(names, list) and names}


def _class_label(kind: Any) -> dict[str, Any] | None:
    """What is said of a column of numbers that stand for names, or of lists of such; None of any other."""
    if isinstance(kind, list) and len(kind) == 1:
        kind = kind[0]
    if isinstance(kind, dict) and kind.get("_type") in ("Sequence", "List", "LargeList"):
        kind = kind.get("feature")
    return kind if isinstance(kind, dict) and kind.get("_type") == "ClassLabel" else None


def _name(code: Any, known: list[str]) -> str:
    """The name that a number stands for; the number itself where it has none, which no truth takes for a name."""
    return known[code] if isinstance(code, int) and 0 <= code < len(known) else str(code)


def _named(table: pa.Table, names: dict[str, list[str]]) -> tuple[pa.Table, list[BadRow]]:
    """Numbers in place of names made names; -1 is no label, and a number without a name is a bad row."""
    bad = []
    for column in set(names) & set(table.column_names):
        known, codes = names[column], table[column]
        if pa.types.is_list(codes.type) or pa.types.is_large_list(codes.type):
            lists = [None if cell is None else [_name(code, known) for code in cell] for cell in codes.to_pylist()]
            table = table.set_column(table.column_names.index(column), column, pa.array(lists, pa.list_(pa.string())))
        if not pa.types.is_integer(codes.type):
            continue
        inside = pc.and_(pc.greater_equal(codes, _LEAST), pc.less(codes, len(known)))
        for row in np.flatnonzero(pc.fill_null(pc.invert(inside), False).to_numpy(zero_copy_only=False)).tolist():
            if (code := codes[row].as_py()) != -1:
                bad.append(BadRow(row + 1, row + 1, f"column '{column}' holds a number without a name", f"got {code}"))
        shown = pc.if_else(inside, codes, pa.scalar(None, codes.type)).combine_chunks()
        texts = pa.array(known, pa.string()).take(shown)
        table = table.set_column(table.column_names.index(column), column, texts)
    return table, bad
