"""Several files of rows as one table: which they are, that their columns agree, and how rows keep the name of their file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from trustbase import files
from trustbase.data.listing import list_files, name_of
from trustbase.data.rows import RawTable, in_quotes
from trustbase.errors import DataError, Problem, problems_of

_T = TypeVar("_T")


@dataclass(frozen=True)
class Listed:
    """One of several files: where it is, and how messages call it."""

    path: Path
    name: str


def listed(base: Path, reference: str, root: Path) -> list[Listed]:
    """The files of a folder or glob, sorted; in folders those whose names begin with `.` or `_` are left out, as writers mark them.

    Raises:
        DataError: there are none.
    """
    found = list_files(base, reference, root)
    if base.is_dir():
        found = [path for path in found if not any(part.startswith("_") for part in path.relative_to(base).parts)]
    if not found:
        raise DataError(f"{reference} holds no files", hint=f"looked at {base}")
    return [Listed(path, name_of(path, base, reference)) for path in found]


def each(parts: Sequence[Listed], work: Callable[[Listed], _T]) -> list[_T]:
    """What `work` gives for each file; the problems of all files are raised together.

    Raises:
        DataError: `work` raised it for some of them.
    """
    done: list[_T] = []
    problems: list[Problem] = []
    for part in parts:
        try:
            done.append(work(part))
        except DataError as error:
            problems += problems_of(
                DataError(error.message.removeprefix(f"{part.name} "), hint=error.hint, problems=error.problems), part.name
            )
            first = error
    if len(problems) == 1:
        raise first
    if problems:
        raise DataError(f"{len(parts) - len(done)} of {len(parts)} files cannot be read", problems=problems)
    return done


def digest_of_many(parts: Sequence[tuple[str, str]], base: Path, reference: str) -> str:
    """`sha256:…` over names and digests of several files; the names are those below the folder, or as the glob has them.

    Args:
        parts: name and `sha256:…` of each.
        base: the folder or glob.
        reference: as the recipe calls it.
    """
    start = reference.rstrip("/") + "/" if base.is_dir() else ""
    return files.digest_json([[name.removeprefix(start), digest] for name, digest in parts])


def refuse_mixed(formats: Sequence[tuple[str, str]], reference: str) -> None:
    """Refuse files of more than one format.

    Raises:
        DataError: naming one file of each format.
    """
    first = {kind: name for name, kind in reversed(formats)}
    if len(first) > 1:
        problems = [Problem(name, f"is {kind}") for kind, name in sorted(first.items())]
        hint = "name the files of one format with a glob, such as folder/*.csv"
        raise DataError(f"{reference} holds files of {len(first)} formats", problems=problems, hint=hint)


def common_columns(columns: Sequence[tuple[str, list[str]]], reference: str) -> list[str]:
    """The columns of all files, in the order of the first.

    Raises:
        DataError: a file has others than the first; each such file, with what it lacks and what it has besides.
    """
    (first, wanted), *others = columns
    problems = []
    for name, own in others:
        lacks, more = ([column for column in a if column not in b] for a, b in ((wanted, own), (own, wanted)))
        said = [f"{word} {', '.join(map(in_quotes, found))}" for word, found in (("lacks", lacks), ("has besides", more)) if found]
        if said:
            problems.append(Problem(name, f"does not have the columns of {first}: {'; '.join(said)}"))
    if problems:
        hint = "give all files the same columns, or name those that have them with a glob"
        raise DataError(f"the files of {reference} have different columns", problems=problems, hint=hint)
    return wanted


def join(tables: Sequence[RawTable], digest: str, reference: str) -> RawTable:
    """The rows of several files one after the other, numbered through; lines stay those of each file.

    Args:
        tables: each file's rows; `source` is the file's name.
        digest: of all of them.
        reference: what they are called together.
    """
    starts = np.cumsum([0, *(table.total for table in tables)]).tolist()
    bad = [
        replace(row, row=row.row + start, file=table.source) for table, start in zip(tables, starts, strict=False) for row in table.bad_rows
    ]
    return RawTable(
        table=pa.concat_tables([table.table for table in tables]),
        row_numbers=np.concatenate([table.row_numbers + start for table, start in zip(tables, starts, strict=False)]),
        lines=np.concatenate([table.lines for table in tables]),
        bad_rows=tuple(bad),
        total=starts[-1],
        source=reference,
        digest=digest,
        size=sum(table.size for table in tables),
        exact=any(table.exact for table in tables),
        notes=tuple(dict.fromkeys(f"{table.source}: {note}" for table in tables for note in table.notes)),
        files=tuple((start + 1, table.source) for table, start in zip(tables, starts, strict=False)),
    )
