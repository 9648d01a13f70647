"""Answers that are parts of a text, compared as SQuAD compares them: word by word, without articles, marks and capitals.

Chinese has no blanks between words, so that its characters are compared one by one. A text of both is cut into Han characters and kana
alone and everything else at blanks. CMRC 2018 cuts so too, but its own F1 counts the longest run that both have in common, where this one
counts characters in any order: it is never lower than that.

Source: Rajpurkar et al. (2016), SQuAD, section 6.1, and its evaluation script.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from trustbase.data.units import ALONE

Span = tuple[int, int]  # characters of the text: the first, and the one after the last

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WORDS = re.compile(f"[{ALONE}]|[^\\s{ALONE}]+")


def words_of(answer: str) -> list[str]:
    """The words of an answer that are compared: lower case, without punctuation and articles."""
    kept = "".join(char for char in answer.lower() if not unicodedata.category(char).startswith("P") and char not in "$+<=>^`|~")
    return _WORDS.findall(_ARTICLES.sub(" ", kept))


def exact_match(answer: str | None, truths: Sequence[str]) -> float:
    """1 where the answer is one of the true ones; where there is none, 1 if none was given."""
    if not truths or answer is None:
        return float(not truths and answer is None)
    told = words_of(answer)
    return float(any(told == words_of(truth) for truth in truths))


def token_f1(answer: str | None, truths: Sequence[str]) -> float:
    """The balance of precision and recall over words, against the true answer that fits best; where there is none, 1 if none was given."""
    if not truths or answer is None:
        return float(not truths and answer is None)
    return max(_f1(words_of(answer), words_of(truth)) for truth in truths)


def _f1(told: Sequence[str], true: Sequence[str]) -> float:
    if not told or not true:
        return float(not told and not true)
    shared = (Counter(told) & Counter(true)).total()
    return 2 * shared / (len(told) + len(true))


def texts_of(context: str, spans: Sequence[Span]) -> list[str]:
    """The words that spans of a text hold."""
    return [context[start:end] for start, end in spans]
