"""One JSON object a line, read exactly: numbers keep the form they were written in, every line that is no such object is named."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from trustbase.data.delimited import Parsed, content_end
from trustbase.data.encodings import not_utf8
from trustbase.data.rows import BadRow, in_quotes

NO_TEXT, NESTED = "is not text", ("got an object", "got a list")  # kind, and details, of a cell that holds several values
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Written(str):
    """A JSON number, as it was written."""

    __slots__ = ()


class _Number(_Written):
    """One with a fraction or exponent."""

    __slots__ = ()


class _RefusedError(ValueError):
    """Valid or nearly valid JSON that cannot be a row: kind and detail."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind)
        self.kind, self.detail = kind, detail


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _RefusedError("key given twice", next(in_quotes(name) for name in names if names.count(name) > 1))
    return found


def _not_finite(word: str) -> NoReturn:
    raise _RefusedError("NaN or infinity, which JSON does not have", word)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_Written, parse_float=_Number, parse_constant=_not_finite)


def keys_of(data: bytes, *, lines: int | None = None) -> list[str]:
    """Every key of the objects on the first `lines` lines (all of them by default), in order of appearance.

    Lines that are no objects are passed over: reading the rows reports them.
    """
    found: dict[str, None] = {}
    for number, line in enumerate(data.split(b"\n", -1 if lines is None else lines)):
        if lines is not None and number >= lines:
            break
        try:
            value = _DECODER.decode(line.decode("utf-8"))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.update(dict.fromkeys(value))
    return [name for name in found if not _SURROGATE.search(name)]  # no recipe can name such a key


def parse(
    data: bytes, columns: Sequence[str], *, optional: Collection[str] = (), whole: Collection[str] = (), nested: Collection[str] = ()
) -> Parsed:
    """All rows of the file.

    Args:
        data: the file, without a byte order mark.
        columns: the keys wanted.
        optional: keys that may be absent, which is then an empty cell.
        whole: keys whose numbers must be whole, such as the label.
        nested: keys whose values may be lists and objects, which become cells of JSON.
    """
    kept: list[list[str | None]] = [[] for _ in columns]
    needed = [name for name in columns if name not in optional]
    numbers: list[int] = []
    bad: list[BadRow] = []
    position, row, end = 0, 0, content_end(data)
    while position < end:
        stop = data.find(b"\n", position)
        stop = len(data) if stop < 0 else stop
        row += 1
        try:
            values = _row(data[position:stop], columns, needed, whole, nested)
        except _RefusedError as refused:
            bad.append(BadRow(row, row, refused.kind, refused.detail))
        else:
            numbers.append(row)
            for store, value in zip(kept, values, strict=True):
                store.append(value)
        position = stop + 1
    table = pa.table({name: pa.array(values, pa.string()) for name, values in zip(columns, kept, strict=True)})
    rows = np.array(numbers, np.int64)
    return Parsed(table, rows, rows, bad, exact=True)


def _row(line: bytes, columns: Sequence[str], needed: Sequence[str], whole: Collection[str], nested: Collection[str]) -> list[str | None]:
    value = _decode(line)
    if not isinstance(value, dict):
        raise _RefusedError("not a JSON object", f"got {_kind_of(value)}")
    missing = [name for name in needed if name not in value]
    if missing:
        raise _RefusedError("missing key", ", ".join(f"'{name}'" for name in missing))
    escaped = b"\\u" in line  # only an escape can write half of a surrogate pair
    return [_cell(_told(value.get(name)) if name in nested else value.get(name), name, whole, escaped) for name in columns]


def object_of(text: str) -> dict[str, Any]:
    """One object of a text of any number of lines, with numbers as they were written.

    Raises:
        ValueError: it is no such object; the reason.
    """
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except _RefusedError as refused:
        raise ValueError(": ".join(filter(None, (refused.kind, refused.detail)))) from refused
    if not isinstance(value, dict):
        raise ValueError(f"got {_kind_of(value)}")
    return value


def written(value: Any) -> Any:
    """A list or object as one text of JSON; anything else as it is.

    Raises:
        ValueError: it is nested too deeply.
    """
    return _told(value)


def _told(value: Any) -> Any:
    """A list or object as one text of JSON; anything else as it is."""
    try:
        return _json(value) if isinstance(value, list | dict) else value
    except RecursionError as error:
        raise _RefusedError("not valid JSON", "nested too deeply") from error


def _json(value: Any) -> str:
    """JSON, with numbers as they were written."""
    if isinstance(value, _Written):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_json(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def _decode(line: bytes) -> Any:
    if b"\0" in line:
        raise _RefusedError("NUL byte")
    if not line.strip():
        raise _RefusedError("empty line")
    try:
        return _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _RefusedError(not_utf8(line), f"byte 0x{line[error.start]:02x} at byte {error.start + 1} of the line") from error
    except json.JSONDecodeError as error:
        raise _RefusedError("not valid JSON", f"{error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise _RefusedError("not valid JSON", "nested too deeply") from error


def _cell(value: Any, name: str, whole: Collection[str], escaped: bool) -> str | None:
    if isinstance(value, str):
        if name in whole and isinstance(value, _Number):
            raise _RefusedError(f"column '{name}' {NO_TEXT}", f"the number {value}; write it as a string")
        if escaped and _SURROGATE.search(value):
            raise _RefusedError(f"column '{name}' holds half of a surrogate pair, which is no character")
        return str(value) or None
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    raise _RefusedError(f"column '{name}' {NO_TEXT}", f"got {_kind_of(value)}")


def _kind_of(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "a boolean", type(None): "null", _Number: "a number"}
    return names.get(type(value), "a string or number")
