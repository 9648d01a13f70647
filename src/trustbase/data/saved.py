"""A folder that `datasets` saved with `save_to_disk`, read without that package: Arrow streams and two JSON files beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trustbase import files
from trustbase.data.columnar import as_text, refuse_type
from trustbase.data.rows import BadRow, RawTable
from trustbase.data.template import unknown_column
from trustbase.data.wanted import Wanted
from trustbase.errors import DataError, Problem

_STATE, _INFO, _SEVERAL = "state.json", "dataset_info.json", "dataset_dict.json"
_LEAST = 0  # `datasets` writes -1 where a row has no label


def is_saved(path: Path) -> bool:
    """Whether a folder is one that `datasets` saved."""
    return (path / _STATE).is_file() or (path / _SEVERAL).is_file()


def saved_columns(path: Path, source: str) -> list[str]:
    """The column names.

    Raises:
        DataError: the folder is damaged, or holds several data sets.
    """
    return list(_schema(_data_files(path, source), source).names)


def saved_digest(path: Path, source: str) -> str:
    """`sha256:…` over the files of rows, in order, and what their columns mean.

    Raises:
        DataError: as `saved_columns`.
    """
    names = _data_files(path, source)
    features = _json(path / _INFO, source).get("features")
    return files.digest_json([[[item.name, files.sha256_file(_there(item, source))] for item in names], features])


def read_saved(path: Path, wanted: Wanted) -> RawTable:
    """A folder that `datasets` saved; labels stored as numbers become their names.

    Raises:
        DataError: as `saved_columns`; or a column is not there, or is of a kind that is no text.
    """
    source = wanted.source
    parts = _data_files(path, source)
    schema = _schema(parts, source)
    columns = list(schema.names) if wanted.columns is None else list(wanted.columns)
    names = _label_names(_json(path / _INFO, source).get("features"))
    whole = set(wanted.whole) - set(names)
    problems = [unknown_column(source, name, schema.names) for name in columns if name not in schema.names]
    problems = problems or [
        found for name in columns if (found := refuse_type(schema.field(name), source, name in whole, name in wanted.nested))
    ]
    if problems:
        raise DataError(f"{source} does not hold the columns that are asked for", problems=problems)
    table = pa.concat_tables([_read(part, source).select(columns) for part in parts])
    table, bad = _named(table, names)
    table, not_text = as_text(table)
    rows = np.arange(1, len(table) + 1, dtype=np.int64)
    size = sum(part.stat().st_size for part in parts)
    raw = RawTable(table, rows, rows, (), len(table), source, saved_digest(path, source), size)
    return raw.without(sorted({item.row: item for item in [*bad, *not_text]}.values(), key=lambda item: item.row))


def _data_files(path: Path, source: str) -> list[Path]:
    """The files of rows, in order, as the folder lists them."""
    if (path / _SEVERAL).is_file():
        inside = sorted(item.name for item in path.iterdir() if (item / _STATE).is_file())
        start = source.rstrip("/")
        hint = f"name one of them: {', '.join(f'{start}/{name}' for name in inside)}"
        raise DataError(f"{source} holds {len(inside)} data sets", problems=[Problem(source, "holds several data sets", hint)], hint=hint)
    listed = _json(path / _STATE, source).get("_data_files")
    items = listed if isinstance(listed, list) else []
    names = [str(item.get("filename")) for item in items if isinstance(item, dict)]
    if not names or len(names) < len(items) or any(PurePath(name).name != name for name in names):
        raise _damaged(source, f"{_STATE} lists no files of this folder")
    return [path / name for name in names]


def _schema(parts: Sequence[Path], source: str) -> pa.Schema:
    """The columns, which all files must have alike."""
    found = []
    for part in parts:
        try:
            with pa.OSFile(str(_there(part, source))) as stream, pa.ipc.open_stream(stream) as reader:
                found.append(reader.schema.remove_metadata())
        except (pa.ArrowException, OSError) as error:
            raise _damaged(source, f"{part.name}: {error}") from error
    if any(schema != found[0] for schema in found):
        raise _damaged(source, "its files have different columns")
    return found[0]


def _read(part: Path, source: str) -> pa.Table:
    try:
        with pa.OSFile(str(part)) as stream, pa.ipc.open_stream(stream) as reader:
            table = reader.read_all().replace_schema_metadata(None)
        _as_bytes(table).validate(full=True)  # offsets that lead out of the file; a text that is no UTF-8 is a bad row, found later
        return table
    except (pa.ArrowException, OSError) as error:
        raise _damaged(source, f"{part.name}: {error}") from error


def _as_bytes(table: pa.Table) -> pa.Table:
    kinds = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    schema = pa.schema([field.with_type(kinds.get(field.type, field.type)) for field in table.schema])
    return table.cast(schema)


def _label_names(features: Any) -> dict[str, list[str]]:
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


def _json(path: Path, source: str) -> dict[str, Any]:
    try:
        found = json.loads(_there(path, source).read_bytes())
    except (ValueError, RecursionError) as error:
        raise _damaged(source, f"{path.name}: {error}") from error
    if not isinstance(found, dict):
        raise _damaged(source, f"{path.name} holds no object")
    return found


def _there(path: Path, source: str) -> Path:
    if not path.is_file():
        raise _damaged(source, f"{path.name} is not there")
    return path


def _damaged(source: str, why: str) -> DataError:
    what = f"is no whole folder of `save_to_disk`: {why}"
    return DataError(f"{source} {what}", problems=[Problem(source, what)], hint="save it again")
