"""Rows that a query of a database gives, as columns of text. Nothing is changed there, and no password is kept or shown."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import numpy as np
import pyarrow as pa

from trustbase.data.reference import VARIABLE, refuse_query, refuse_source
from trustbase.data.rows import BadRow, RawTable
from trustbase.data.template import unknown_column
from trustbase.data.wanted import Wanted
from trustbase.errors import DataError, Problem

_ROWS = 10_000  # fetched at once
_SQL = "pip install 'trustbase[sql]'"


def database_columns(reference: str, query: str | None, root: Path) -> list[str]:
    """The columns that a query gives; none of its rows is fetched.

    Raises:
        DataError: the database or the query cannot be used.
    """
    with _asked(reference, query, root) as result:
        return _names(result, reference)


def database_digest(reference: str, query: str | None, root: Path) -> str:
    """`sha256:…` over columns and rows that a query gives now, in their order: it is asked in full.

    Raises:
        DataError: the database or the query cannot be used.
    """
    with _asked(reference, query, root) as result:
        found = _Rows(_names(result, reference))
        for _ in found.blocks(result):
            pass
    return found.digest


def read_rows(path: Path, wanted: Wanted) -> RawTable:
    """A query of a database; `path` is the folder that the file of a relative SQLite URL starts from.

    Raises:
        DataError: the database or the query cannot be used, or gives no such column.
    """
    source = wanted.source
    with _asked(source, wanted.query, path) as result:
        names = _names(result, source)
        columns = names if wanted.columns is None else list(wanted.columns)
        missing = [unknown_column(source, name, names) for name in columns if name not in names]
        if missing:
            raise DataError(f"the query of {source} does not give the columns that are asked for", problems=missing)
        found = _Rows(names, set(wanted.whole))
        places = [names.index(name) for name in columns]
        good = [pa.table({name: block[place] for name, place in zip(columns, places, strict=True)}) for block in found.blocks(result)]
    empty = pa.schema([(name, pa.string()) for name in columns])
    table = pa.concat_tables([empty.empty_table(), *good])
    bad = {row.row for row in found.bad}
    rows = np.array([row for row in range(1, found.total + 1) if row not in bad], dtype=np.int64)
    return RawTable(table, rows, rows, tuple(found.bad), found.total, source, found.digest, found.size, exact=True)


@dataclass
class _Rows:
    """The rows of a result as they are fetched: their texts, those that cannot be used, and the digest of all of them."""

    names: list[str]
    whole: Collection[str] = ()
    bad: list[BadRow] = field(default_factory=list)
    total: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self._hash = hashlib.sha256(b"trustbase/query/1\0" + json.dumps(self.names).encode())

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()

    def blocks(self, result: Any) -> Iterator[list[pa.Array]]:
        """The columns of the good rows, some thousand at a time."""
        while fetched := result.fetchmany(_ROWS):
            kept: list[list[str | None]] = [[] for _ in self.names]
            for row in fetched:
                self.total += 1
                values = [_text(value) for value in row]
                self._count(values)
                faults = [(name, *fault) for name, value in zip(self.names, row, strict=True) if (fault := self._fault(name, value))]
                if faults:
                    kind = "; ".join(f"column '{name}' {what}" for name, what, _ in faults)
                    self.bad.append(BadRow(self.total, self.total, kind, "; ".join(detail for _, _, detail in faults if detail)))
                    continue
                for store, text in zip(kept, values, strict=True):
                    store.append(text or None)
            yield [pa.array(store, pa.string()) for store in kept]

    def _count(self, values: Sequence[str | None]) -> None:
        line = json.dumps(values).encode()  # quoted and escaped, so no two rows are written alike
        self._hash.update(line + b"\n")
        self.size += sum(len(value.encode()) for value in values if value)

    def _fault(self, name: str, value: Any) -> tuple[str, str] | None:
        """Why a cell cannot be used: kind and detail."""
        if isinstance(value, bytes | memoryview) and _decoded(bytes(value)) is None:
            return "is not UTF-8", ""
        if not isinstance(value, _KINDS):
            return "is not text", f"got {type(value).__name__}"
        if name in self.whole and isinstance(value, float | Decimal) and not _whole(value):
            return "is not text", f"the number {value}; cast it in the query"
        return None


def _whole(value: float | Decimal) -> bool:
    """Whether a number is one as a label is written: 3, not 3.0; or none at all, which is an empty cell."""
    return _is_nan(value) or (isinstance(value, Decimal) and value.as_tuple().exponent == 0)


def _is_nan(value: Any) -> bool:
    return value.is_nan() if isinstance(value, Decimal) else isinstance(value, float) and math.isnan(value)


_KINDS = (str, int, float, Decimal, bytes, memoryview, datetime, date, time, UUID, type(None))


def _text(value: Any) -> str | None:
    """A cell as text, by its type; null where it is empty, and the bytes in hexadecimal where they are no text."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bytes | memoryview):
        found = _decoded(bytes(value))
        return found if found is not None else bytes(value).hex()
    if isinstance(value, bool):
        return "true" if value else "false"
    if _is_nan(value):  # an empty cell, as in Parquet
        return None
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _names(result: Any, source: str) -> list[str]:
    names = [str(name) for name in result.keys()]  # noqa: SIM118  (a result, not a mapping)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        problems = [Problem(source, f"column '{name}' is given twice") for name in twice]
        raise DataError(f"the query of {source} gives columns of one name", problems=problems, hint="name them with AS")
    return names


@contextmanager
def _asked(reference: str, query: str | None, root: Path) -> Iterator[Any]:
    """The result of a query, on a connection that is rolled back and closed at the end.

    Raises:
        DataError: SQLAlchemy or the driver is not there, the database cannot be reached, or it refuses the query.
    """
    try:
        refuse_source(reference)  # before anything is said of it: nobody may have read it as part of a recipe
        refuse_query(query or "select")
    except ValueError as error:
        raise DataError(str(error)) from None
    if not query:
        raise DataError(f"{reference} is a database, and no query says which rows of it", hint="data.query: SELECT … ORDER BY …")
    if find_spec("sqlalchemy") is None:
        what = "is read by the package 'sqlalchemy', which is not installed"
        raise DataError(f"{reference} {what}", problems=[Problem(reference, what, _SQL)], hint=_SQL)
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    hidden = ""
    try:
        url, hidden = _url(reference, root, sqlalchemy.make_url)
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    except ModuleNotFoundError as error:
        what = f"needs the package '{error.name}', which is not installed"
        raise DataError(f"{reference} {what}", problems=[Problem(reference, what)], hint=f"pip install its driver, {error.name}") from error
    except (SQLAlchemyError, ValueError) as error:  # a port that is no number is a plain ValueError
        raise _told(reference, error, hidden) from None
    try:
        with engine.connect() as connection:  # never committed: whatever a query did is rolled back when it closes
            options = {"no_parameters": True, "stream_results": True}  # % in a query is a sign like any other; rows are not all held
            result = connection.exec_driver_sql(query, execution_options=options)
            if not result.returns_rows:
                raise DataError(f"the query of {reference} gives no rows", hint="write a SELECT")
            yield result
    except SQLAlchemyError as error:
        raise _told(reference, error, hidden) from None  # what the driver said may hold the password, so it is no part of a traceback
    finally:
        engine.dispose()


def _url(reference: str, root: Path, make_url: Callable[[str], Any]) -> tuple[Any, str]:
    """The URL to connect with, and the password in it.

    Raises:
        DataError: a variable that is not set, or a file of SQLite that is not there.
    """
    url, password = make_url(reference), ""
    if url.password and (named := VARIABLE.fullmatch(url.password)):
        if named[1] not in os.environ:
            what = f"takes its password from the environment variable {named[1]}, which is not set"
            raise DataError(f"{reference} {what}", problems=[Problem(reference, what)], hint=f"export {named[1]}=…")
        password = os.environ[named[1]]
        url = url.set(password=password)
    if url.get_backend_name() == "sqlite":  # it would make an empty database where there is none
        path = root / Path(url.database or "").expanduser()
        if not path.is_file():
            raise DataError(f"{reference}: there is no such file", hint=f"looked at {path}")
        url = url.set(database=f"file:{quote(str(path.absolute()))}", query={**url.query, "mode": "ro", "uri": "true"})
    return url, password


def _told(reference: str, error: Exception, password: str) -> DataError:
    """What database or driver said, in one line and without the password."""
    said = " ".join(str(getattr(error, "orig", None) or error).split())
    for secret in {password, quote(password, safe="")} - {""}:
        said = said.replace(secret, "***")
    hint = "check URL, query, and that the database can be reached"
    return DataError(f"{reference} cannot be read: {said}", problems=[Problem(reference, f"cannot be read: {said}")], hint=hint)
