"""The header of a csv or tsv file: its column names, and why a first line is none."""

from __future__ import annotations

from pathlib import PurePath

from trustbase.data import delimited
from trustbase.data.encodings import converting, likely, not_utf8
from trustbase.errors import DataError, Problem

_DELIMITERS = {
    ";": "save it again with commas (csv) or tabs (tsv) in their place",
    "|": "save it again with commas (csv) or tabs (tsv) in their place",
    "\t": "name it .tsv, or say data.format: tsv",
    ",": "name it .csv, or say data.format: csv",
}
_SHOWN = {"\t": "tabs"}


def read_header(data: bytes, source: str, delimiter: str, *, quoted: bool) -> tuple[list[str], int]:
    """Column names, and where the first row begins.

    Args:
        data: the beginning of a file, without a byte order mark.
        source: its name, for messages.
        delimiter: what stands between cells.
        quoted: whether cells may be quoted.

    Raises:
        DataError: the first line is no header, or has another delimiter.
    """
    where = f"{source}:1"
    dialect = delimited.dialect_of(data, delimiter, quoted=quoted)
    try:
        cells, start = delimited.read_record(data, 0, dialect)
    except delimited.Malformed as error:
        _refuse_other_delimiter(data, where, delimiter, quoted)
        raise DataError(f"{source} has no readable header", problems=[Problem(where, str(error))]) from error
    try:
        names = [cell.decode("utf-8") for cell in cells]
    except UnicodeDecodeError as error:
        kind, encoding = not_utf8(data[:start]), likely(data[:start])
        step = f"where all of the file does, {converting(encoding, PurePath(source).name)}" if encoding else "save the file as UTF-8"
        raise DataError(f"{source} is not UTF-8", problems=[Problem(where, f"the header is {kind}", step)]) from error
    if len(names) == 1:
        _refuse_other_delimiter(data, where, delimiter, quoted)
    problems = [Problem(where, f"column '{name}' is named twice in the header") for name in dict.fromkeys(names) if names.count(name) > 1]
    if any("\0" in name for name in names):
        problems.append(Problem(where, "the header holds a NUL byte"))
    if problems:
        raise DataError(f"{source} has no usable header", problems=problems)
    return names, start


def _refuse_other_delimiter(data: bytes, where: str, delimiter: str, quoted: bool) -> None:
    """Refuse a file whose first lines are of several cells by another delimiter, and of one by that of its format.

    Raises:
        DataError: they are.
    """
    for other, step in _DELIMITERS.items():
        if other != delimiter and _columns_by(data, other, quoted) > 1:
            shown = [_SHOWN.get(sign, f"'{sign}'") for sign in (other, delimiter)]
            message = f"has {shown[0]} between its cells, where {shown[1]} must stand"
            raise DataError(f"{where.rpartition(':')[0]} {message}", problems=[Problem(where, message, step)])


def _columns_by(data: bytes, delimiter: str, quoted: bool) -> int:
    """Cells of the header by a delimiter; 0 where the first row has another number, or either cannot be read so."""
    dialect = delimited.dialect_of(data, delimiter, quoted=quoted)
    try:
        header, start = delimited.read_record(data, 0, dialect)
        row, _ = delimited.read_record(data, start, dialect) if start < len(data) else (header, start)
    except delimited.Malformed:
        return 0
    return len(header) if len(row) == len(header) else 0
