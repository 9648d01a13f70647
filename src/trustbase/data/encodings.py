"""Bytes that are no UTF-8: which older encoding they read as, for a message; nothing is ever decoded by such a guess."""

from __future__ import annotations

import re

GB, WESTERN = "GB18030 (GBK)", "Windows-1252 (Latin-1)"
NOT_UTF8 = "not UTF-8"
_ICONV = {GB: "GB18030", WESTERN: "WINDOWS-1252"}
_COMMON_PAIR = re.compile(rb"[\xb0-\xf7][\xa1-\xfe]")  # GB 2312 levels 1 and 2
_MARKS = frozenset("‘’‚“”„–—…«»‹›°§€£©®¿¡´·")  # what Western texts hold beside letters
_LOOKED_AT = 100_000  # bytes of a row


def not_utf8(row: bytes) -> str:
    """The kind of a row that is not UTF-8: what it reads as is said where that is likely."""
    found = likely(row[:_LOOKED_AT])
    return f"{NOT_UTF8}, reads as {found}" if found else NOT_UTF8


def likely(data: bytes) -> str:
    """The encoding that a piece of text is likely in, given that it is not UTF-8; "" where there is none."""
    high = sum(byte >= 0x80 for byte in data)
    pairs = len(_COMMON_PAIR.findall(data))
    if pairs >= 2 and 2 * pairs > 3 * high / 4 and decodes(data, "gb18030"):
        return GB
    if not decodes(data, "cp1252"):
        return ""
    text = data.decode("cp1252")
    letters = [char for char in text if char.isalpha()]
    marks_known = all(char.isascii() or char.isalpha() or char in _MARKS for char in text)
    return WESTERN if marks_known and high < len(letters) / 2 else ""  # mostly high bytes are a script of its own, such as Cyrillic


def converting(encoding: str, name: str) -> str:
    """The line that makes a file of an encoding UTF-8."""
    return f"iconv -f {_ICONV[encoding]} -t UTF-8 {name} > utf-8-{name}"


def is_gb18030(data: bytes) -> bool:
    """Whether a file as a whole is Chinese text in the older encoding, rather than UTF-8 with some bad rows.

    Bytes of a Western encoding may decode as GB18030 too, but there they do not stand in pairs of its common characters.
    """
    lines = [line for line in data[:200_000].splitlines()[:1000] if not line.isascii()]
    if sum(not decodes(line, "utf-8") for line in lines) <= len(lines) / 2:
        return False
    sample = b"\n".join(lines)
    pairs = len(_COMMON_PAIR.findall(sample))
    return pairs >= 10 and 2 * pairs > sum(byte >= 0x80 for byte in sample) / 2 and decodes(data, "gb18030")


def first_line(data: bytes) -> int:
    """The first line that is not UTF-8; 1 where all are."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return 1 + data.count(b"\n", 0, error.start)
    return 1


def decodes(data: bytes, encoding: str) -> bool:
    """Whether bytes are text of an encoding."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
