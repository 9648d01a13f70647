"""Small changes of an input that a reader takes for the same input: capitals, marks, width of signs, a filler word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.explain.subject import Item
from trustbase.audit.explain.units import Units
from trustbase.data.cells import Reading
from trustbase.data.pair import CELL, SEPARATOR
from trustbase.data.units import ALONE

Edit = Callable[[str], str]

_HAN = re.compile(f"[{ALONE}]")
_WIDE = {"，": ",", "。": ".", "！": "!", "？": "?", "；": ";", "：": ":", "（": "(", "）": ")"}
_END = re.compile(r"[.!?。！？]\s*$")


def edited_items(item: Item, reading: Reading) -> list[Item]:
    """An item under each edit that changes it.

    Args:
        item: of the audit.
        reading: how a row becomes an input.
    """
    if item["row"] is not None:
        rows = [{name: edit(cell) if isinstance(cell, str) else cell for name, cell in item["row"].items()} for edit in CELL_EDITS.values()]
        found: list[Item] = [{"text": reading.render(row), "row": row} for row in rows]
    else:
        text, *cells = item["text"].split(CELL) if reading.columns else (item["text"],)
        sides = text.split(SEPARATOR)  # the last of several texts, so that marks between them stay
        texts = [SEPARATOR.join((*sides[:-1], edit(sides[-1]))) for edit in TEXT_EDITS.values()]
        found = [{"text": CELL.join((each, *cells)), "row": None} for each in texts]
    distinct = {each["text"]: each for each in found if each["text"] != item["text"]}
    return list(distinct.values())


def _small(text: str) -> str:
    return text.lower()


def _first_letters(text: str) -> str:
    return re.sub(r"(?<!\S)[a-z]", lambda found: found[0].upper(), text)


def _end(text: str) -> str:
    """Without the mark at the end; with one where there is none."""
    return _END.sub("", text) if _END.search(text) else f"{text.rstrip()}{'。' if _HAN.search(text) else '.'}"


def _width(text: str) -> str:
    """Full-width marks and digits as half-width ones; where there are none, the other way round in Chinese."""
    narrow = "".join(_WIDE.get(sign, unicodedata.normalize("NFKC", sign) if "０" <= sign <= "９" else sign) for sign in text)
    if narrow != text or not _HAN.search(text):
        return narrow
    return "".join(chr(ord(sign) + 0xFEE0) if "0" <= sign <= "9" else sign for sign in text)


def _filler(text: str) -> str:
    return f"嗯，{text}" if _HAN.search(text) else f"well, {text}"


TEXT_EDITS: Mapping[str, Edit] = {"small letters": _small, "mark at the end": _end, "width": _width, "filler": _filler}
CELL_EDITS: Mapping[str, Edit] = {"small letters": _small, "first letters": _first_letters, "width": _width}


def same_units(one: Units, other: Units) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the units that two inputs share, in the order in which they stand; capitals and width do not count."""
    first, second = ([unicodedata.normalize("NFKC", name).casefold() for name in units.names] for units in (one, other))
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    pairs = [(block.a + step, block.b + step) for block in blocks for step in range(block.size)]
    return np.array([a for a, _ in pairs], dtype=np.int64), np.array([b for _, b in pairs], dtype=np.int64)
