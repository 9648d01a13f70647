"""Changes of single characters: letters swapped, left out, doubled or mistyped; Chinese characters that look alike, or fall apart.

Only what a reader sees is changed: no invisible characters, and no letters of other alphabets.

Source: Gao et al. (2018), "Black-box Generation of Adversarial Text Sequences" (DeepWordBug), section 4.3.
"""

from __future__ import annotations

import re
from functools import lru_cache

from trustbase import seeds
from trustbase.audit.robustness.meaning import tables
from trustbase.data.units import ALONE

LEAST_LETTERS = 4  # of a word that is changed; shorter ones easily become others
_OF_EACH = 2  # changes of each sort
_HAN = re.compile(f"[{ALONE}]")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def edits(word: str, seed: int) -> list[str]:
    """A word with one of its characters changed, of all sorts in turn; the choice depends on the word and the seed alone.

    Words of another script, and short ones, have none.
    """
    if _HAN.search(word):
        return _chinese(word)
    if len(word) < LEAST_LETTERS or not word.isalpha() or not word.isascii():
        return []
    rng = seeds.generator(seed, "character edits", word)
    inner = [1 + int(place) for place in rng.permutation(len(word) - 2)]  # the first and the last letter are what readers hold on to
    swapped = [word[:place] + word[place + 1] + word[place] + word[place + 2 :] for place in inner if place < len(word) - 2]
    dropped = [word[:place] + word[place + 1 :] for place in inner]
    doubled = [word[:place] + word[place] + word[place:] for place in inner]
    near = [(place, _keys().get(word[place].lower(), "")) for place in inner]
    typed = [word[:place] + _like(keys[int(rng.integers(len(keys)))], word[place]) + word[place + 1 :] for place, keys in near if keys]
    found = [kind[number] for number in range(_OF_EACH) for kind in (swapped, dropped, doubled, typed) if number < len(kind)]
    return [edit for edit in dict.fromkeys(found) if edit != word]


def _chinese(word: str) -> list[str]:
    found = []
    for place, sign in enumerate(word):
        others = [*_alike().get(sign, ""), *([_apart()[sign]] if sign in _apart() else [])]
        found += [word[:place] + other + word[place + 1 :] for other in others]
    return list(dict.fromkeys(found))[: 4 * _OF_EACH]


@lru_cache(maxsize=1)
def _alike() -> dict[str, str]:
    found: dict[str, str] = {}
    for signs in tables()["zh"]["alike"].split():
        for sign in signs:
            found[sign] = found.get(sign, "") + "".join(other for other in signs if other != sign and other not in found.get(sign, ""))
    return found


@lru_cache(maxsize=1)
def _apart() -> dict[str, str]:
    return dict(pair.split("/") for pair in tables()["zh"]["apart"].split())


@lru_cache(maxsize=1)
def _keys() -> dict[str, str]:
    """Letters beside each letter of a keyboard."""
    found: dict[str, str] = {}
    for row in _ROWS:
        for place, key in enumerate(row):
            found[key] = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
    return found


def _like(letter: str, other: str) -> str:
    return letter.upper() if other.isupper() else letter
