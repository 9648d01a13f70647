"""Texts of another kind, which a recipe or a call names for the audit: read before anything is measured, without labels."""

from __future__ import annotations

from pathlib import Path

from trustbase import files
from trustbase.errors import DataError, Problem
from trustbase.records import ArtifactInfo

_KEY = "audit.robustness.shift"


def read_shift(reference: str | None, info: ArtifactInfo, root: Path) -> tuple[str, ...] | None:
    """What a model is asked for each row of a file; None where no file is named.

    Args:
        reference: the file: csv, tsv, jsonl or parquet with the columns that the model reads.
        info: the model.
        root: folder that relative paths start from.

    Raises:
        DataError: the file cannot be read, or a row of it cannot be asked about; every one.
    """
    if reference is None:
        return None
    from trustbase.bundle.rows import BadInput, read_rows
    from trustbase.data.cells import Reading

    rows = [row for chunk in read_rows(place_of(reference, root), Reading.of(info)) for row in chunk.rows]
    bad = [Problem(row.where, row.reason) for row in rows if isinstance(row, BadInput)]
    if bad or not rows:
        raise DataError(f"{_KEY}: {len(bad)} of {len(rows)} rows of {reference} cannot be asked about", problems=bad[:50])
    return tuple(row for row in rows if isinstance(row, str))


def shift_digest(reference: str | None, root: Path) -> dict[str, str]:
    """The file's digest, for the key of the stage that reads it; nothing where none is named.

    Raises:
        DataError: there is no such file.
    """
    return {} if reference is None else {"shift": f"sha256:{files.sha256_file(place_of(reference, root))}"}


def place_of(reference: str, root: Path) -> Path:
    """Where the file stands.

    Raises:
        DataError: there is none.
    """
    try:
        path = root / Path(reference).expanduser()
        there = path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or ~ of somebody who has no home
        there = False
    if not there:
        raise DataError(f"{_KEY} names {reference[:200]}, and there is no such file", hint="name a csv, tsv, jsonl or parquet file")
    return path
