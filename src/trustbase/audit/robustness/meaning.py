"""Rules of what a word may be changed to, so that a text may still mean what it did. English and Chinese; tables of our own, all small.

There is no tagger of parts of speech for English here, so endings and closed classes stand for it: a word keeps its ending, and words of
closed classes, numbers, names and negations stay as they are. Of Chinese, `jieba.posseg` tells the part of speech. The rules are strict
where they are unsure: a change that they refuse may well keep the meaning (`benchmarks/results/attack_reading.json` says how often).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Any

import yaml

from trustbase.data.units import ALONE

_HAN = re.compile(f"[{ALONE}]")
_DIGIT = re.compile(r"\d")
_SENTENCE_END = re.compile(r"(^|[.!?:;。！？：；\n\"“”(（\x1f])\s*$")

_NOUNS = ("tion", "sion", "ness", "ment", "ity", "ance", "ence", "ship", "ism")
_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "mis", "anti", "de", "under", "over", "sub", "super")

_ZH_NEGATIONS = re.compile("[不没無无非未别莫勿休否]|毫无|缺乏|缺少|拒绝|避免")
_ZH_NUMBERS = re.compile("[0-9０-９零一二两三四五六七八九十百千万亿几半双]")
#: first letters of tags of jieba.posseg: closed classes, numbers, measures, places, times, adverbs
_ZH_CLOSED = frozenset("pcurymqftsodex")
_ZH_NAMES = ("nr", "ns", "nt", "nz")


@dataclass(frozen=True)
class _Tables:
    """Words of `tables.yaml`.

    Attributes:
        closed, negations, numbers: of English.
        opposites: pairs of English of which one excludes the other.
        sets: word → sets of alternatives that it is one of.
        verbs: form of an irregular verb → verbs that it is one of.
        past: forms of these that only the past has.
        zh_opposites: pairs of Chinese characters or words.
    """

    closed: frozenset[str]
    negations: frozenset[str]
    numbers: frozenset[str]
    opposites: frozenset[frozenset[str]]
    sets: Mapping[str, frozenset[int]]
    verbs: Mapping[str, frozenset[int]]
    past: frozenset[str]
    zh_opposites: tuple[tuple[str, str], ...]


@lru_cache(maxsize=1)
def tables() -> Mapping[str, Any]:
    """All of `tables.yaml`."""
    found: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("tables.yaml").read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    english = tables()["en"]
    verbs = [verb.split("/") for verb in english["verbs"].split()]
    return _Tables(
        frozenset(english["closed"].split()),
        frozenset(english["negations"].split()),
        frozenset(english["numbers"].split()),
        frozenset(frozenset(pair.split("/")) for pair in english["opposites"].split()),
        _memberships([words.split() for words in english["alternatives"]]),
        _memberships(verbs),
        frozenset(form for base, *forms in verbs for form in forms if form != base),
        tuple((first, second) for first, second in (pair.split("/") for pair in tables()["zh"]["opposites"].split())),
    )


def _memberships(sets: Sequence[Sequence[str]]) -> dict[str, frozenset[int]]:
    """Each word → the numbers of the sets that it is in."""
    found: dict[str, frozenset[int]] = {}
    for number, words in enumerate(sets):
        for word in words:
            found[word] = found.get(word, frozenset()) | {number}
    return found


def why_not(old: str, new: str, before: str = "") -> str:
    """Why a word may not be changed to another within the rules; "" where it may.

    Args:
        old: the word.
        new: what is to stand there.
        before: what stands before it in its text, by which names are told from first words.

    Returns:
        "same", "closed class", "number", "negation", "name", "part of speech", "form" (of the same word), "opposite" or
        "alternative".
    """
    if old.casefold() == new.casefold():
        return "same"
    return _why_not_chinese(old, new) if _HAN.search(old) else _why_not_english(old, new, before)


def fixed(old: str, before: str = "") -> str:
    """Why a word may not be changed to any other; "" where it may. The reasons are those of `why_not`."""
    if _HAN.search(old):
        if _ZH_NEGATIONS.search(old):
            return "negation"
        return "number" if _ZH_NUMBERS.search(old) else _closed_tag(old)
    low = old.casefold()
    if low in _tables().negations or low.endswith(("n't", "n’t")):
        return "negation"
    if low in _tables().numbers or _DIGIT.search(low):
        return "number"
    if low in _tables().closed:
        return "closed class"
    named = (len(old) > 1 and old.isupper()) or (old[:1].isupper() and not _SENTENCE_END.search(before))
    return "name" if named else ""


def _why_not_english(old: str, new: str, before: str) -> str:
    if why := fixed(old, before) or fixed(new.casefold()):
        return why
    low, other = old.casefold(), new.casefold()
    if _form(low) != _form(other):
        return "part of speech"
    if frozenset((low, other)) in _tables().opposites or _turned(low, other) or _turned(other, low):
        return "opposite"
    if _kin(low, other):
        return "form"
    sets = _tables().sets
    return "alternative" if sets.get(low, frozenset()) & sets.get(other, frozenset()) else ""


def _form(word: str) -> str:
    """The ending by which a word is inflected, and which part of speech it mostly is."""
    if word in _tables().past:
        return "ed"
    plural = word.endswith("s") and not word.endswith(("ss", "us", "is"))
    if (word[:-1] if plural else word).endswith(_NOUNS):
        return "nouns" if plural else "noun"
    if plural:
        return "s"
    return next((ending for ending in ("ly", "ing", "ed", "est") if word.endswith(ending) and len(word) >= len(ending) + 2), "")


def _kin(word: str, other: str) -> bool:
    """Whether two words are forms of one, one an abbreviation of the other, or one a part of it."""
    short, long = sorted((word, other), key=len)
    shared = next((place for place, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    verbs = _tables().verbs
    forms = verbs.get(word, frozenset()) & verbs.get(other, frozenset())
    return len(short) < 3 or short in long or shared >= max(4, len(short) - 2) or bool(forms)


def _turned(word: str, other: str) -> bool:
    """Whether `other` is `word` with a prefix that turns its sense, or ends in -less where it ends in -ful."""
    return any(other == prefix + word for prefix in _PREFIXES) or (word.endswith("ful") and other == word[:-3] + "less")


def _why_not_chinese(old: str, new: str) -> str:
    if why := fixed(old) or fixed(new):
        return why
    if _tag(old)[:1] != _tag(new)[:1]:
        return "part of speech"
    turned = any((a in old and b in new) or (b in old and a in new) for a, b in _tables().zh_opposites)
    return "opposite" if turned else ""


def _closed_tag(word: str) -> str:
    tag = _tag(word)
    if tag.startswith(_ZH_NAMES):
        return "name"
    return "closed class" if tag[:1] in _ZH_CLOSED else ""


@lru_cache(maxsize=1 << 16)
def _tag(word: str) -> str:
    """Part of speech of a Chinese word by itself; "n" of all where jieba is not installed."""
    if util.find_spec("jieba") is None:
        return "n"
    import jieba
    from jieba import posseg

    jieba.setLogLevel(60)  # it reports its dictionary on standard error otherwise
    tags = [pair.flag for pair in posseg.cut(word)]
    return tags[0] if len(tags) == 1 else "+".join(tags)
