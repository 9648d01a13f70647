"""A folder that `datasets` saved with `save_to_disk`, read without that package: Arrow streams and two JSON files beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from trustbase import files
from trustbase.data.named import named_rows, usable_columns
from trustbase.data.rows import RawTable
from trustbase.data.wanted import Wanted
from trustbase.errors import DataError, Problem

_STATE, _INFO, _SEVERAL = "state.json", "dataset_info.json", "dataset_dict.json"


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
    features = _json(path / _INFO, source).get("features")
    columns = usable_columns(schema, features, wanted)
    table = pa.concat_tables([_read(part, source).select(columns) for part in parts])
    size = sum(part.stat().st_size for part in parts)
    return named_rows(table, features, source, saved_digest(path, source), size)


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
