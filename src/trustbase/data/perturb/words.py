"""Changes of words, in English and Chinese: contractions, numbers, names, filler."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from trustbase.data.perturb import tables
from trustbase.data.perturb.signs import FIXED, HAN

_NUMBER = re.compile(r"(?<![A-Za-z\d])\d+(?![A-Za-z\d])")
_PAUSE = re.compile(r"[,，] ?")
_WORD = re.compile(r"[^\W\d_]+")
_LEAST_WORDS, _LEAST_HAN = 3, 4  # of a text that reads like a sentence


def contractions(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """All short forms written out (don't → do not); where there are none, all long ones shortened."""
    plain = text.replace("’", "'")
    for pattern, table in _forms():
        changed, count = pattern.subn(lambda found, table=table: _like(found[0], table[found[0].lower()]), plain)  # type: ignore[misc]
        if count:
            return changed
    return None


@lru_cache(maxsize=1)
def _forms() -> tuple[tuple[re.Pattern[str], dict[str, str]], ...]:
    """What finds short and long forms, with what each becomes."""
    out = {short.lower(): long for long, short in tables.CONTRACTIONS}
    into = {long.lower(): short for long, short in tables.CONTRACTIONS}
    found = []
    for table in (out, into):
        either = "|".join(re.escape(form) for form in sorted(table, key=len, reverse=True))
        found.append((re.compile(rf"\b(?:{either})\b(?! (?:been|got)\b)", re.IGNORECASE), table))
    return tuple(found)


def _like(found: str, form: str) -> str:
    """A form with the capitals of what it replaces."""
    if found.isupper() and len(found) > 1:
        return form.upper()
    return form[0].upper() + form[1:] if found[0].isupper() else form


def numbers(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """Every number replaced by another with as many digits. The text then says another number."""
    changed = _NUMBER.sub(lambda found: _other_number(found[0], rng), text)
    return changed if changed != text else None


def _other_number(digits: str, rng: np.random.Generator) -> str:
    least = 10 ** (len(digits) - 1) if len(digits) > 1 else 0
    while True:
        other = "".join(str(rng.integers(10)) for _ in digits)
        if other != digits and int(other) >= least:
            return other


def names(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """Given names replaced, each by another of the same list, everywhere alike: English ones, and Chinese ones behind a surname."""
    table: dict[str, str] = {}

    def other(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in table:
            others = [item for item in _lists()[name] if item != name]
            table[name] = others[int(rng.integers(len(others)))]
        return found[0].replace(name, table[name])

    changed = _names().sub(other, text)
    return changed if changed != text else None


@lru_cache(maxsize=1)
def _lists() -> dict[str, tuple[str, ...]]:
    return {name: names for names in (*tables.GIVEN_NAMES, *tables.GIVEN_NAMES_ZH) for name in names}


@lru_cache(maxsize=1)
def _names() -> re.Pattern[str]:
    english, chinese = ("|".join(name for names in lists for name in names) for lists in (tables.GIVEN_NAMES, tables.GIVEN_NAMES_ZH))
    return re.compile(rf"(?P<name>(?<![\w])(?:{english})(?!\w)|(?<=[{tables.SURNAMES_ZH}])(?:{chinese}))")


def filler(text: str, rng: np.random.Generator, rate: float) -> str | None:
    """A word that says nothing, where a sentence begins or pauses."""
    places, start = [], 0
    for piece in text.split(FIXED):
        if len(_WORD.findall(piece)) >= _LEAST_WORDS or len(HAN.findall(piece)) >= _LEAST_HAN:
            places += [start, *(start + found.end() for found in _PAUSE.finditer(piece) if found.end() < len(piece))]
        start += len(piece) + 1
    if not places:
        return None
    place, chinese = places[int(rng.integers(len(places)))], HAN.search(text) is not None
    options = tables.FILLERS_ZH if chinese else tables.FILLERS
    word = options[int(rng.integers(len(options)))]
    said = f"{word}，" if chinese else f"{word[0].upper() + word[1:] if place == 0 or text[place - 1] == FIXED else word}, "
    return text[:place] + said + text[place:]
