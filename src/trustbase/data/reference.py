"""What a recipe may name as a source of rows, as far as the name alone shows it. A leaf: options and readers stand on it."""

from __future__ import annotations

import os
import re
from pathlib import PurePath
from typing import Literal
from urllib.parse import parse_qsl

from trustbase.data.hub_name import hub_name, is_hub
from trustbase.data.samples import SAMPLES, is_sample

Format = Literal["csv", "tsv", "jsonl", "parquet", "conll"]

SUFFIXES: dict[str, Format] = {
    **{".csv": "csv", ".tsv": "tsv", ".tab": "tsv"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"},
    **{".conll": "conll", ".bio": "conll", ".iob": "conll"},
}
COMPRESSIONS = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst"}
ZIP = ".zip"  # its one file says what it holds
_LATER_SUFFIXES = {
    ".xlsx": "spreadsheets",
    ".json": "a JSON document (write one JSON object a line and call it .jsonl)",
}
_LONGEST_NAME, _LONGEST_PATH = 255, 4_000  # bytes, as on Linux and macOS
_DIALECTS = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PASSWORD = re.compile(r"://([^:@]*):(.*)@", re.DOTALL)  # to the last @: whatever stands between may be part of one
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile(r"pass(?!file)|pwd|secret|token|credential|odbc_connect", re.IGNORECASE)
_PAIR = re.compile(r"([?&;][^=&;]*=)[^&;]*")  # names of parameters may be written in %, so no value is shown
_SELECT = re.compile(r"\s*(select|with|values)\b", re.IGNORECASE)


def suffix_of(path: str | PurePath) -> tuple[str, str]:
    """The suffix that says what a file is, in small letters, and how it is compressed: gz, bz2, xz, zst, zip or ""."""
    name = PurePath(path)
    last = name.suffix.lower()
    if last == ZIP:
        return PurePath(name.stem).suffix.lower(), "zip"
    if last in COMPRESSIONS:
        return PurePath(name.stem).suffix.lower(), COMPRESSIONS[last]
    return last, ""


def says_format(path: str) -> bool:
    """Whether a name may say what is there: a zip archive says it by the name of the file in it, a folder by those of its files."""
    suffix, compression = suffix_of(path)
    return suffix in SUFFIXES or compression == "zip" or path.endswith("/") or not suffix


def is_database(reference: str) -> bool:
    """Whether a reference is a URL, as those of databases are."""
    return _URL.match(reference) is not None


def without_secrets(text: str) -> str:
    """A text for messages, with `***` in place of whatever may be a password in a URL."""
    if "://" not in text:
        return text
    hidden = _PASSWORD.sub(lambda found: found[0] if VARIABLE.fullmatch(found[2]) else f"://{found[1]}:***@", text)
    return _PAIR.sub(r"\1***", hidden)


def refuse_source(value: str, *, database: bool = True) -> None:
    """Say which sources this version cannot read.

    Raises:
        ValueError: with what to do instead.
    """
    if not value.strip():
        raise ValueError("names no file")
    if len(os.fsencode(value)) > _LONGEST_PATH or any(len(os.fsencode(part)) > _LONGEST_NAME for part in PurePath(value).parts):
        raise ValueError(f"names no file: a name is at most {_LONGEST_NAME} bytes long, a path {_LONGEST_PATH}")
    if is_sample(value):
        if value.removeprefix("sample:") not in SAMPLES:
            raise ValueError(f"'{value}' is no sample of this version; there is: {', '.join('sample:' + name for name in SAMPLES)}")
        return
    if is_database(value):
        _refuse_url(value, database)
        return
    if is_hub(value):
        hub_name(value)
        return
    suffix, compression = suffix_of(value)
    if suffix in _LATER_SUFFIXES:
        raise ValueError(f"'{value}': this version cannot read {_LATER_SUFFIXES[suffix]}; it reads csv, tsv, jsonl, parquet and conll")
    if compression and SUFFIXES.get(suffix) == "parquet":
        raise ValueError(f"'{value}': Parquet is compressed inside already; unpack it and name the .parquet file")


def _refuse_url(value: str, database: bool) -> None:
    """Refuse what is no database, and any URL that holds a secret: recipe, log and bundle would keep it.

    Raises:
        ValueError: never with the secret in it.
    """
    shown = without_secrets(value)
    dialect = value.partition("://")[0].partition("+")[0].lower()
    if dialect not in _DIALECTS:
        known = ", ".join(_DIALECTS)
        raise ValueError(f"'{shown}': this version reads files, and databases of {known}; fetch it and name the file")
    if not database:
        raise ValueError(f"'{shown}': only data.train may be a database; name the parts in a column (split.column), or save this as a file")
    secret, where = _PASSWORD.search(value), value.partition("?")[2].replace(";", "&")
    # SQLite knows no password, and a path of its files may hold both signs
    open_secret = secret is not None and dialect != "sqlite" and not VARIABLE.fullmatch(secret[2])
    if open_secret or any(_SECRET.search(key) for key, _ in parse_qsl(where, keep_blank_values=True)):
        raise ValueError(
            f"'{shown}' holds a password, which recipe, log and bundle would keep; put it into an environment variable and write "
            "${NAME} in its place, as in postgresql://user:${NAME}@host/database"
        )
    if "${" in (_PASSWORD.sub("", value) if secret else value):
        raise ValueError(f"'{shown}': ${{NAME}} may stand only in place of the password")
    if not value.partition("://")[2].partition("?")[0].rstrip("/"):
        raise ValueError(f"'{shown}' names no database; a file of SQLite is sqlite:///file.db")


def refuse_query(value: str) -> None:
    """Refuse what is not one query.

    Raises:
        ValueError: with what it must be.
    """
    if not _SELECT.match(value):
        raise ValueError("must begin with SELECT, WITH or VALUES: rows are read, nothing is changed")
