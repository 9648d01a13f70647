"""Changes of Chinese texts: homophones, characters that look alike, the other script, the other width, blanks between characters."""

from __future__ import annotations

import numpy as np

from trustbase.data.perturb import packaged, tables
from trustbase.data.perturb.signs import HAN, drawn, replaced

_WIDER = 0xFEE0  # from a sign of ASCII to the one of full width (Unicode, Halfwidth and Fullwidth Forms)
_WIDE = range(0xFF01, 0xFF5F)


def homophones(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """Characters replaced by common ones that are read alike, tones aside, as an input method offers them."""
    return replaced(text, packaged.homophones(), rng, rate)


def shapes(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """Characters replaced by others that are drawn almost alike."""
    table: dict[str, str] = {}
    for one, other in tables.SHAPES:
        table[one] = table.get(one, "") + other
        table[other] = table.get(other, "") + one
    return replaced(text, table, rng, rate)


def traditional(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """Traditional characters made simplified; where there are none, simplified ones traditional, if they have one such form only."""
    simple = packaged.simplified()
    if any(sign in simple for sign in text):
        return "".join(simple.get(sign, sign) for sign in text)
    other = packaged.traditional()
    return "".join(other.get(sign, sign) for sign in text) if any(sign in other for sign in text) else None


def width(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """Latin letters and digits of a Chinese text at full width; where there are none, its marks of full width narrowed."""
    if HAN.search(text) is None:
        return None
    if any(sign.isascii() and sign.isalnum() for sign in text):
        return "".join(chr(ord(sign) + _WIDER) if sign.isascii() and sign.isalnum() else sign for sign in text)
    narrow = "".join(chr(ord(sign) - _WIDER) if ord(sign) in _WIDE else sign for sign in text)
    return narrow if narrow != text else None


def spaces(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """Blanks between Chinese characters."""
    places = [place for place in range(1, len(text)) if HAN.match(text[place - 1]) and HAN.match(text[place])]
    wide = set(drawn(places, rate, rng))
    return "".join(f" {sign}" if place in wide else sign for place, sign in enumerate(text)) if wide else None
