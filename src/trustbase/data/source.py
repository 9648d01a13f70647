"""Reading files of rows: which format, which columns, which bytes cannot be a table at all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from trustbase import files
from trustbase.data import archive, conll, delimited, jsonl
from trustbase.data.columnar import parquet_columns, read_parquet
from trustbase.data.contents import BOM, content, existing, plain, unpacking
from trustbase.data.database import database_columns, database_digest
from trustbase.data.header import read_header
from trustbase.data.hub import hub_columns, hub_digest
from trustbase.data.hub_name import HUB, is_hub
from trustbase.data.listing import is_many
from trustbase.data.many import Listed, common_columns, digest_of_many, each, join, listed, refuse_mixed
from trustbase.data.reference import SUFFIXES, Format, is_database, suffix_of
from trustbase.data.rows import CELL_LIMIT, BadRow, RawTable
from trustbase.data.samples import find_sample, is_sample, read_sample, sample_digest
from trustbase.data.saved import is_saved, saved_columns, saved_digest
from trustbase.data.template import unknown_column
from trustbase.data.wanted import Wanted
from trustbase.errors import DataError
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import SOURCES

__all__ = ["BadRow", "RawTable", "format_of", "locate", "read_columns", "read_delimited", "read_jsonl", "read_parquet", "read_table"]

_HEAD = 1 << 20  # enough for a header, and for the keys of many JSON lines


def format_of(path: Path, given: Format | None = None, source: str | None = None) -> Format:
    """The format of a file, by the recipe's word or its suffix; `source` names it in messages.

    Raises:
        DataError: neither says it.
    """
    source = source or str(path)
    suffix, compression = suffix_of(path)
    if compression == "zip" and given is None:
        suffix = suffix_of(unpacking(path, source, lambda: archive.member_name(path)))[0]
    kind = given or SUFFIXES.get(suffix)
    if kind == "parquet" and compression:
        raise DataError(f"{source}: Parquet is compressed inside already", hint="unpack it and name the .parquet file")
    if kind is not None:
        return kind
    raise DataError(f"{source} does not say what it is", hint=f"name it with one of {', '.join(SUFFIXES)}, or give data.format")


def locate(reference: str, root: Path) -> Path:
    """The path that a recipe means: relative ones start at `root`."""
    return find_sample(reference).path if is_sample(reference) else root / Path(reference).expanduser()


def read_columns(reference: str, *, root: Path, format: Format | None = None, quoted: bool = True, query: str | None = None) -> list[str]:
    """Column names, from the first bytes of a file, or of every file of a folder or glob; of a hub, or those that a query gives.

    Raises:
        DataError: no such file, nothing in it that names columns, or files whose columns differ.
    """
    if is_sample(reference):
        sample = find_sample(reference)
        return list(sample.columns) if sample.paths else []  # asking where it is refuses a package that is not installed
    if is_database(reference):
        return database_columns(reference, query, root)
    if is_hub(reference):
        return hub_columns(reference)
    path = locate(reference, root)
    if is_saved(path):
        return saved_columns(path, reference)
    if not is_many(path, root):
        return _columns_of(path, reference, format, quoted)
    parts, kind = _several(path, reference, root, format)
    columns = each(parts, lambda part: _columns_of(part.path, part.name, format, quoted))
    if kind == "jsonl":  # a key that no line at the head of a file has may stand further down
        return list(dict.fromkeys(name for found in columns for name in found))
    return common_columns([(part.name, found) for part, found in zip(parts, columns, strict=True)], reference)


def _columns_of(path: Path, source: str, format: Format | None, quoted: bool) -> list[str]:
    kind = format_of(existing(path, source), format)
    if kind == "parquet":
        return parquet_columns(path, source)
    data = plain(content(path, source, _HEAD), source)
    if kind == "conll":
        return conll.columns_of(data)
    if kind == "jsonl":
        complete = data if len(data) < _HEAD - len(BOM) else data[: data.rfind(b"\n") + 1]
        return jsonl.keys_of(complete, lines=100)
    return read_header(data, source, _delimiter(kind), quoted=quoted)[0]


def _several(path: Path, reference: str, root: Path, format: Format | None) -> tuple[list[Listed], Format]:
    """The files of a folder or glob, and the one format that they all are of."""
    parts = listed(path, reference, root)
    kinds = each(parts, lambda part: format_of(part.path, format, part.name))
    refuse_mixed([(part.name, kind) for part, kind in zip(parts, kinds, strict=True)], reference)
    return parts, kinds[0]


def read_table(
    reference: str,
    *,
    root: Path,
    columns: Sequence[str] | None = None,
    format: Format | None = None,
    optional: Collection[str] = (),
    whole: Collection[str] = (),
    quoted: bool = True,
    query: str | None = None,
    nested: Collection[str] = (),
) -> RawTable:
    """Read the rows of a file, of all files of a folder or glob, of a database, a hub, or a sample, in whatever format it is.

    Args:
        reference: `sample:NAME`, a path, a glob, the URL of a database, or a part of a data set of a hub (`hub_name`).
        root: where relative paths start.
        columns: the columns wanted; all of them by default.
        format: what the file is, where its name does not say it.
        optional: columns that a JSON object may lack.
        whole: columns whose numbers must be whole, such as the label.
        quoted: whether csv/tsv cells may be quoted.
        query: which rows of a database.
        nested: columns whose cells may be lists and objects (JSON Lines, Parquet, saved folders), which become texts of JSON.

    Raises:
        DataError: the file as a whole cannot be read; bad rows are in the result instead.
    """
    if is_database(reference):
        return _read("sql", root, Wanted(reference, columns, optional, whole, quoted, query, nested))
    if is_hub(reference):
        hub = "hub" if reference.startswith(HUB) else "modelscope"
        return _read(hub, root, Wanted(reference, columns, optional, whole, quoted, nested=nested))
    path = locate(reference, root)
    if is_sample(reference):
        return _read("sample", path, Wanted(reference, columns, optional, whole, quoted, nested=nested))
    if is_saved(path):
        return _read("saved", path, Wanted(reference, columns, optional, whole, quoted, nested=nested))
    if not is_many(path, root):
        return _read(format_of(existing(path, reference), format), path, Wanted(reference, columns, optional, whole, quoted, nested=nested))
    parts, kind = _several(path, reference, root, format)
    if columns is None:
        columns = read_columns(reference, root=root, format=format, quoted=quoted)
    tables = each(parts, lambda part: _read(kind, part.path, Wanted(part.name, columns, optional, whole, quoted, nested=nested)))
    return join(tables, digest_of_many([(table.source, table.digest) for table in tables], path, reference), reference)


def parquet_parts(reference: str, *, root: Path, format: Format | None = None) -> list[Listed]:
    """The Parquet files that a reference means, by path and name; none where it means anything else.

    Raises:
        DataError: it means nothing that is there.
    """
    if is_sample(reference) or is_database(reference) or is_hub(reference):
        return []
    path = locate(reference, root)
    if is_saved(path):
        return []
    if is_many(path, root):
        parts, kind = _several(path, reference, root, format)
        return parts if kind == "parquet" else []
    return [Listed(path, reference)] if format_of(existing(path, reference), format) == "parquet" else []


def _read(kind: str, path: Path, wanted: Wanted) -> RawTable:
    table: RawTable = load(SOURCES[kind])(path, wanted)
    return table


def source_digest(reference: str, root: Path, query: str | None = None) -> str:
    """`sha256:…` of what a reference means, as `read_table` gives it with the rows.

    Raises:
        DataError: it means nothing that is there.
    """
    if is_sample(reference):
        return sample_digest(find_sample(reference))
    if is_database(reference):
        return database_digest(reference, query, root)
    if is_hub(reference):
        return hub_digest(reference)
    path = locate(reference, root)
    if is_saved(path):
        return saved_digest(path, reference)
    if not is_many(path, root):
        return "sha256:" + files.sha256_file(existing(path, reference))
    parts = listed(path, reference, root)
    return digest_of_many([(part.name, "sha256:" + files.sha256_file(part.path)) for part in parts], path, reference)


def read_csv(path: Path, wanted: Wanted) -> RawTable:
    """Comma-separated values."""
    return read_delimited(path, columns=wanted.columns, source=wanted.source, delimiter=",", quoted=wanted.quoted)


def read_tsv(path: Path, wanted: Wanted) -> RawTable:
    """Tab-separated values."""
    return read_delimited(path, columns=wanted.columns, source=wanted.source, delimiter="\t", quoted=wanted.quoted)


def read_json_lines(path: Path, wanted: Wanted) -> RawTable:
    """One JSON object a line."""
    named = {"optional": wanted.optional, "whole": wanted.whole, "nested": wanted.nested}
    return read_jsonl(path, columns=wanted.columns, source=wanted.source, **named)


def read_conll(path: Path, wanted: Wanted) -> RawTable:
    """One token a line."""
    contents = content(existing(path, wanted.source), wanted.source)
    data = plain(contents, wanted.source)
    known = conll.columns_of(data)
    columns = known if wanted.columns is None else list(wanted.columns)
    missing = [unknown_column(wanted.source, name, known) for name in columns if name not in known]
    if missing:
        raise DataError(f"{wanted.source} does not hold the columns that are asked for", problems=missing)
    parsed, notes = conll.parse(data, columns)
    return replace(_raw(parsed, path, contents, wanted.source), notes=notes)


def read_parquet_file(path: Path, wanted: Wanted) -> RawTable:
    """Apache Parquet."""
    return read_parquet(path, columns=wanted.columns, source=wanted.source, whole=wanted.whole, nested=wanted.nested)


def read_shipped(path: Path, wanted: Wanted) -> RawTable:
    """A data set of Trustbase or of a package beside it; found by its name, not its path, and compared with its digest first."""
    return read_sample(wanted.source, columns=wanted.columns)


def read_delimited(
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    source: str | None = None,
    delimiter: str | None = None,
    quoted: bool = True,
    cell_limit: int = CELL_LIMIT,
) -> RawTable:
    """Read comma- or tab-separated values with a header.

    Raises:
        DataError: no such file, not text, no header, or a column is not there.
    """
    source = source or str(path)
    delimiter = delimiter or ("\t" if path.suffix.lower() in (".tsv", ".tab") else ",")
    contents = content(existing(path, source), source)
    data = plain(contents, source)
    header, start = read_header(data, source, delimiter, quoted=quoted)
    wanted = list(header) if columns is None else list(columns)
    missing = [unknown_column(f"{source}:1", name, header) for name in wanted if name not in header]
    if missing:
        raise DataError(f"{source} does not hold the columns that are asked for", problems=missing)
    dialect = delimited.dialect_of(data, delimiter, quoted=quoted)
    return _raw(delimited.parse(data, header, start, wanted, dialect, cell_limit=cell_limit), path, contents, source)


def read_jsonl(
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    source: str | None = None,
    optional: Collection[str] = (),
    whole: Collection[str] = (),
    nested: Collection[str] = (),
) -> RawTable:
    """Read one JSON object a line.

    Raises:
        DataError: no such file, not text, or a key that no line has.
    """
    source = source or str(path)
    contents = content(existing(path, source), source)
    data = plain(contents, source)
    wanted = jsonl.keys_of(data) if columns is None else list(columns)
    parsed = jsonl.parse(data, wanted, optional=set(wanted) if columns is None else optional, whole=whole, nested=nested)
    if parsed.total and columns is not None:
        absent = [name for name in wanted if parsed.table[name].null_count == len(parsed.table)]
        known = jsonl.keys_of(data) if absent else []
        missing = [unknown_column(source, name, known) for name in absent if name not in known]
        if missing:
            raise DataError(f"{source} does not hold the keys that are asked for", problems=missing)
    return _raw(parsed, path, contents, source)


def _raw(parsed: delimited.Parsed, path: Path, contents: bytes, source: str) -> RawTable:
    """The rows with digest and size of the file as it lies there, packed where it is."""
    packed = suffix_of(path)[1]
    digest = "sha256:" + (files.sha256_file(path) if packed else files.sha256_bytes(contents))
    size = path.stat().st_size if packed else len(contents)
    return RawTable(parsed.table, parsed.row_numbers, parsed.lines, tuple(parsed.bad), parsed.total, source, digest, size, parsed.exact)


def _delimiter(kind: Format) -> str:
    return "\t" if kind == "tsv" else ","
