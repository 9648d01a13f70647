"""Which writing systems texts use, counted letter by letter over every text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

HOW = (
    "letters counted by Unicode block; a script is not a language (Latin letters are not always English, Han characters may be Chinese "
    "or Japanese), digits and signs are not counted"
)
SCRIPTS = ("Latin", "Han", "Kana", "Hangul", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Thai", "other")
_BLOCKS: tuple[tuple[str, int, int], ...] = (  # The Unicode Standard 16.0, Blocks.txt; letters only where a block mixes
    *(("Latin", 0x41, 0x5A), ("Latin", 0x61, 0x7A), ("Latin", 0xC0, 0x24F), ("Latin", 0x1E00, 0x1EFF), ("Latin", 0xFF21, 0xFF5A)),
    *(("Greek", 0x370, 0x3FF), ("Greek", 0x1F00, 0x1FFF), ("Cyrillic", 0x400, 0x52F), ("Hebrew", 0x590, 0x5FF)),
    *(("Arabic", 0x600, 0x6FF), ("Arabic", 0x750, 0x77F), ("Arabic", 0xFB50, 0xFDFF), ("Devanagari", 0x900, 0x97F)),
    *(("other", 0x530, 0x58F), ("other", 0x980, 0xDFF), ("Thai", 0xE00, 0xE7F), ("other", 0xE80, 0x109F), ("other", 0x10A0, 0x10FF)),
    *(
        ("Hangul", 0x1100, 0x11FF),
        ("Hangul", 0xAC00, 0xD7AF),
        ("other", 0x1200, 0x18AF),
        ("Kana", 0x3041, 0x30FF),
        ("Kana", 0x31F0, 0x31FF),
    ),
    *(("Han", 0x3400, 0x4DBF), ("Han", 0x4E00, 0x9FFF), ("Han", 0xF900, 0xFAFF)),
)
_CHUNK = 4_000  # texts at once, so that the code points of a large split do not all stand in memory


@lru_cache(maxsize=1)
def _table() -> NDArray[np.int8]:
    """Code point → index into `SCRIPTS`, -1 for what is no letter; planes above the first are Han there or nothing."""
    table = np.full(0x10000, -1, np.int8)
    for name, low, high in _BLOCKS:
        table[low : high + 1] = SCRIPTS.index(name)
    table[[0xD7, 0xF7, 0x37E, 0x387]] = -1  # signs inside the letter blocks
    return table


def count_scripts(texts: Sequence[str]) -> dict[str, Any]:
    """Share of letters in each script, and share of texts with no letter at all.

    Returns:
        `{"letters": {script: share}, "texts_without_letters": share, "how": …}`, scripts by falling share.
    """
    counts = np.zeros(len(SCRIPTS) + 1, np.int64)
    silent = 0
    for start in range(0, len(texts), _CHUNK):
        part = texts[start : start + _CHUNK]
        points = np.frombuffer("".join(part).encode("utf-32-le"), np.uint32)
        found = np.where(points < 0x10000, _table()[np.minimum(points, 0xFFFF)], -1)
        found[(points >= 0x20000) & (points < 0x32400)] = SCRIPTS.index("Han")
        counts += np.bincount(found.astype(np.int64) + 1, minlength=len(counts))
        silent += _silent(found >= 0, part)
    total = int(counts[1:].sum())
    shares = {name: int(count) / total for name, count in zip(SCRIPTS, counts[1:], strict=True) if count}
    ranked = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return {"letters": ranked, "texts_without_letters": silent / len(texts) if texts else 0.0, "how": HOW}


def _silent(letters: NDArray[np.bool_], texts: Sequence[str]) -> int:
    """How many of the texts, end to end in `letters`, hold no letter."""
    bounds = np.cumsum([0, *map(len, texts)])
    before = np.concatenate([[0], np.cumsum(letters)])
    return int(np.sum(before[bounds[1:]] == before[bounds[:-1]]))
