"""Changes of letters and marks, in any script."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from trustbase.data.perturb import tables
from trustbase.data.units import ALONE

FIXED = "\ufdd0"  # stands for what may not be changed; no character, so that no text holds it and no rule touches it
HAN = re.compile(f"[{ALONE}]")
_WORD = re.compile(r"[^\W\d_]{2,}")
_MARK = re.compile(r"(?<!\w)[.,;:!?…。，；：！？、()（）]|[.,;:!?…。，；：！？、()（）](?!\w)")
_GAP = re.compile(r"(?<=\S)[ \t]+(?=\S)")


def drawn(places: Sequence[int], rate: float, rng: np.random.Generator) -> list[int]:
    """The share `rate` of the places, rounded, and at least one; sorted."""
    count = min(len(places), max(1, round(rate * len(places))))
    return sorted(int(place) for place in rng.choice(np.asarray(places, dtype=np.int64), count, replace=False)) if count else []


def blank(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """A blank at the end, which says nothing."""
    return f"{text} "


def typos(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """Mistyped letters of words of two letters and more: a key beside it is hit, it changes places with the next one, or it is left out.

    Args:
        text: is not changed in its digits and marks. Han characters change places or are left out.
        rng: draws places, and what happens at each.
        rate: share of such letters that are mistyped, at least one.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    ends = {place: end for start, end in words for place in range(start, end)}
    wrong, found, place = set(drawn(list(ends), rate, rng)), [], 0
    while place < len(text):
        step = 1
        if place not in wrong:
            found.append(text[place])
        else:
            letter, way = text[place], int(rng.integers(3))
            beside = tables.NEIGHBOURS.get(letter.lower(), "")
            swaps = place + 1 < ends[place] and text[place + 1] != letter
            if way == 0 and beside:
                hit = beside[int(rng.integers(len(beside)))]
                found.append(hit.upper() if letter.isupper() else hit)
            elif way == 1 and swaps:
                found.append(text[place + 1] + letter)
                step = 2
        place += step
    return "".join(found) if wrong else None


def case(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """All letters capital, or all small."""
    forms = [form for form in (text.upper(), text.lower()) if form != text]
    return forms[int(rng.integers(len(forms)))] if forms else None


def punctuation(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """Marks left out, at least one; a full stop at the end where there are none. Marks within words and numbers stay."""
    places = [match.start() for match in _MARK.finditer(text)]
    if not places:
        return None if not text or not text[-1].isalnum() else text + ("。" if HAN.search(text) else ".")
    gone = set(drawn(places, rate, rng))
    return "".join(sign for place, sign in enumerate(text) if place not in gone)


def whitespace(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """Blanks between words doubled, at least one."""
    places = [match.start() for match in _GAP.finditer(text)]
    wide = set(drawn(places, rate, rng))
    return "".join(f"{sign} " if place in wide else sign for place, sign in enumerate(text)) if wide else None


def lookalikes(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """Latin letters replaced by letters of other scripts that look the same."""
    return replaced(text, tables.LOOKALIKES, rng, rate)


def replaced(text: str, table: dict[str, str], rng: np.random.Generator, rate: float) -> str | None:
    """Characters replaced by one of those that a table has for each, `rate` of them and at least one; None where it has none of them."""
    places = drawn([place for place, sign in enumerate(text) if sign in table], rate, rng)
    if not places:
        return None
    signs = list(text)
    for place in places:
        others = table[signs[place]]
        signs[place] = others[int(rng.integers(len(others)))]
    return "".join(signs)
