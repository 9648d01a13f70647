"""Units of a text: what is tagged one by one, whatever the tokenizer: Han characters and kana alone, other words whole, marks alone.

A span of characters that begins and ends at units can be answered exactly; units follow from the text alone, so that truth, rivals and
models that read it in different tokens speak of the same ones.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Bounds = NDArray[np.int64]  # `(units, 2)`: first character of each unit, and the one after its last

#: scripts that are written without blanks and whose characters are words or parts of words: Han and kana
ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_ASCII = re.compile(r"[^\W_]+|\S")  # the same for texts that hold nothing else


def units(text: str) -> Bounds:
    """Where the units of a text begin and end, in order, `(units, 2)`; blanks belong to none, and every other character to one."""
    pattern = _ASCII if text.isascii() else _pattern()
    found = [match.span() for match in pattern.finditer(text)]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def unit_texts(text: str, bounds: Bounds) -> list[str]:
    """The units themselves."""
    return [text[start:end] for start, end in bounds.tolist()]


def apart(text: str, bounds: Bounds) -> tuple[str, Bounds]:
    """The text with one blank between units, and where they stand in it: no tokenizer then makes one token of two units."""
    parts = unit_texts(text, bounds)
    lengths = np.fromiter(map(len, parts), np.int64, count=len(parts))
    starts = np.cumsum(lengths + 1) - lengths - 1
    return " ".join(parts), np.stack([starts, starts + lengths], axis=1).reshape(-1, 2)


def alone(text: str) -> bool:
    """Whether a text is one character of a script that is written without blanks."""
    return len(text) == 1 and re.fullmatch(f"[{ALONE}]", text) is not None


def touched(bounds: Bounds, start: int, end: int) -> tuple[int, int]:
    """The units `[first, last)` that share a character with `[start, end)`."""
    first = int(np.searchsorted(bounds[:, 1], start, side="right"))
    return first, max(first, int(np.searchsorted(bounds[:, 0], end, side="left")))


def ends_at_units(bounds: Bounds, spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether each span of characters begins where a unit does and ends where one does."""
    starts, ends = set(bounds[:, 0].tolist()), set(bounds[:, 1].tolist())
    return [start in starts and end in ends for start, end in spans]


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    """One character alone, or a word with the marks that combine with its letters, or any other sign."""
    marks = combining()
    return re.compile(f"[{ALONE}][{marks}]*|[^\\W_](?:[^\\W_{ALONE}]|[{marks}])*|\\S")


@lru_cache(maxsize=1)
def combining() -> str:
    """Every character that stands on the one before it (Unicode categories Mn, Mc, Me), as part of a class of a regular expression."""
    found = (chr(code) for code in range(0x300, min(sys.maxunicode, 0x1FFFF) + 1))
    return "".join(re.escape(sign) for sign in found if unicodedata.category(sign).startswith("M"))
