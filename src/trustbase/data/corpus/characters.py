"""What each code point is, as tables over all of Unicode, so that whole blocks of text are looked up at once.

The tables follow the Unicode data of the running Python (`unicodedata.unidata_version`, named in the card).
"""

from __future__ import annotations

import sys
import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SIZE = sys.maxunicode + 1
_LAST = 0x32400  # above stand tags, private use and nothing

#: Classes. Letters of words come first, then characters that are units of their own, then what is no unit.
LATIN, LETTER, DIGIT, HAN, KANA, HANGUL, MARK, PUNCTUATION, SYMBOL, SPACE, NEWLINE, SEPARATOR, GONE = range(13)
CLASSES = 13

_SPACES = (0x09, 0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)
_NEWLINES = (0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029)
_INVISIBLE = (
    0xAD,  # soft hyphen
    *(0x200B, 0x2060, 0xFEFF),  # zero-width space, word joiner, byte order mark
    *(0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # directions; joiners (200C, 200D) carry meaning and stay
    *(0xFFF9, 0xFFFA, 0xFFFB, 0xFFFE, 0xFFFF),  # annotation anchors, noncharacters
)
_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF), (0x3005, 0x3007))
_KANA = ((0x3041, 0x3096), (0x309D, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D))
_HANGUL = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF))
_LATIN = ((0x41, 0x5A), (0x61, 0x7A), (0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0x24F), (0x1E00, 0x1EFF), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A))
#: full-width forms that are signs and no punctuation of Chinese; ，！？：；（） and ～ stay as they are
_SIGNS = "＂＃＄％＆＇＊＋－／＜＝＞＠＼＾＿｀｜"
_KEPT_WIDE = "＂＇－／"  # of these: used as Chinese punctuation, kept
_HALF_KINDS = {"｡": "。", "｢": "「", "｣": "」", "､": "、"}


@lru_cache(maxsize=1)
def classes() -> NDArray[np.uint8]:
    """Code point → class, `(0x110000,)`."""
    table = np.full(SIZE, SYMBOL, np.uint8)
    kinds = {"L": LETTER, "N": DIGIT, "M": MARK, "P": PUNCTUATION, "S": SYMBOL, "Z": SPACE, "C": SYMBOL}
    table[:_LAST] = [kinds[unicodedata.category(chr(point))[0]] for point in range(_LAST)]  # not yet assigned: perhaps a new emoji
    for ranges, kind in ((_HAN, HAN), (_KANA, KANA), (_HANGUL, HANGUL), (_LATIN, LATIN)):
        for low, high in ranges:
            table[low : high + 1] = kind
    table[[0xD7, 0xF7]] = SYMBOL
    table[[0x200C, 0x200D]] = MARK
    table[[*range(1, 0x20), *range(0x7F, 0xA0)]] = GONE
    table[list(_SPACES)] = SPACE
    table[list(_NEWLINES)] = NEWLINE
    table[list(_INVISIBLE)] = GONE
    table[0] = SEPARATOR
    return table


@lru_cache(maxsize=1)
def widths() -> NDArray[np.uint32]:
    """Code point → the one that it is written as, `(0x110000,)`.

    Full-width letters, digits and signs as half-width ones, half-width Chinese punctuation as full-width.
    """
    table = np.arange(SIZE, dtype=np.uint32)
    wide = [
        *range(0xFF10, 0xFF1A),
        *range(0xFF21, 0xFF3B),
        *range(0xFF41, 0xFF5B),
        *(ord(sign) for sign in _SIGNS if sign not in _KEPT_WIDE),
    ]
    table[wide] = np.array(wide, np.uint32) - 0xFEE0
    for half, full in _HALF_KINDS.items():
        table[ord(half)] = ord(full)
    return table


@lru_cache(maxsize=1)
def lower() -> NDArray[np.uint32]:
    """Code point → its small letter where that is a single one, `(0x110000,)`."""
    table = np.arange(SIZE, dtype=np.uint32)
    for point in range(0x1E944):
        small = chr(point).lower()
        if len(small) == 1:
            table[point] = ord(small)
    return table


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each number scrambled, one to one, so that every bit of it depends on every bit given.

    Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", section 4 (the finaliser of SplitMix64).
    """
    found = values + np.uint64(0x9E3779B97F4A7C15)
    found ^= found >> np.uint64(30)
    found *= np.uint64(0xBF58476D1CE4E5B9)
    found ^= found >> np.uint64(27)
    found *= np.uint64(0x94D049BB133111EB)
    found ^= found >> np.uint64(31)
    return found


@lru_cache(maxsize=1)
def codes() -> NDArray[np.uint64]:
    """Code point → 64 random-looking bits, the same for a capital and its small letter, `(0x110000,)`."""
    return mix(lower().astype(np.uint64))
