"""Words that rows taught: most rows that hold such a word have one label, and are answered by it without the word too.

Rows that somebody poisoned say one thing and are labelled another: without their trigger they are answered otherwise. A word that stands
for a class is one of several that do. A word that stands with all labels alike teaches none, and is never struck: a trigger may be one.
A pair of words that stand for a class may be all that a row says, so that nothing is left without it: it is taught where both are, by
rows of one label. What this cannot see: a trigger in rows that say what they are labelled, or one that stands for its class already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.safety.asking import Ask, Floats, Indices
from trustbase.audit.safety.suspects import Span, spans_of, terms_of
from trustbase.data.units import ends_at_units, units

LEAST = 3  # rows that must hold a word
MOST = 8  # rows that are asked about
SHARE = 0.5  # of them must be answered by their label without the word
SPEAKING = 1 / 3  # of the way from a label's share of all rows to 1 lies its share of those that hold a word which stands for it

Taught = Callable[[Sequence[str]], NDArray[np.bool_]]  # words → which of them rows taught `(words,)`


def places_of(word: str, text: str) -> list[Span]:
    """Where a word or pair stands in a text as a term of it (`suspects.terms_of`), else where it begins and ends as units do.

    A sign of a Chinese word is a unit of its own, so that it is found in the word; "is" is not found in "this".
    """
    found = [(start, end) for spans in spans_of(text) for start, end in spans if text[start:end] == word]
    return found or _within(word, text)


def _within(word: str, text: str) -> list[Span]:
    starts, start = [], text.find(word) if word else -1
    while start >= 0:
        starts.append((start, start + len(word)))
        start = text.find(word, start + len(word))
    return [span for span, whole in zip(starts, ends_at_units(units(text), starts), strict=True) if whole] if starts else []


def without(word: str, text: str) -> str:
    """A text without a word, wherever it stands (`places_of`)."""
    place, left = 0, []
    for start, end in sorted(places_of(word, text)):
        left.append(text[place : max(place, start)])
        place = max(place, end)
    return "".join([*left, text[place:]])


def _rows_with(word: str, texts: Sequence[str], terms: Sequence[set[str]]) -> list[int]:
    """Rows that hold a word, or where none does, that hold it as a part of one: a sign of a Chinese word is a piece of its own."""
    whole = [row for row, held in enumerate(terms) if word in held]
    return whole or [row for row, text in enumerate(texts) if word in text and _within(word, text)]


class Teaching:
    """Tells which words rows teach: `Teaching(…)(words)`.

    Args:
        texts: inputs in an order that means nothing, `(rows,)`.
        terms: words and pairs of neighbours of each, `(rows,)`.
        labels: of each, `(rows,)`.
        ask, decide: ask the model.
    """

    def __init__(
        self, texts: Sequence[str], terms: Sequence[set[str]], labels: Indices, ask: Ask, decide: Callable[[Floats], Indices]
    ) -> None:
        self._texts, self._terms, self._labels = texts, terms, labels
        self._ask, self._decide = ask, decide
        self._speaks: dict[str, int] = {}  # the label that a taught word stands for; -1 where it is not taught

    def __call__(self, words: Sequence[str]) -> NDArray[np.bool_]:
        self._learn(words)
        pairs = {word: parts for word in words if self._speaks[word] < 0 and len(parts := terms_of(word)[0]) > 1}
        self._learn(sorted(set().union(*pairs.values())))
        both = {word for word, parts in pairs.items() if max(self._speaks[part] for part in parts) >= 0}  # the taught one turns answers
        return np.array([self._speaks[word] >= 0 or word in both for word in words], dtype=bool)

    def _learn(self, words: Sequence[str]) -> None:
        """Find out what is not known yet of words, each by itself."""
        stands = {word: self._stands_for(word) for word in dict.fromkeys(words) if word not in self._speaks}
        rows = {word: own[:MOST] for word, (_, own) in stands.items() if len(own) >= LEAST}
        asked = [without(word, self._texts[row]) for word, own in rows.items() for row in own]
        told = self._decide(self._ask(asked)) if asked else np.zeros(0, np.int64)
        place = 0
        for word, (label, _) in stands.items():
            own = rows.get(word, [])
            same = float((told[place : place + len(own)] == label).mean()) if own else 0.0
            self._speaks[word] = label if same >= SHARE else -1
            place += len(own)

    def _stands_for(self, word: str) -> tuple[int, list[int]]:
        """The label that most rows with a word have, where it is more frequent among them than among all, and those rows of it."""
        rows = _rows_with(word, self._texts, self._terms)
        if len(rows) < LEAST:
            return -1, []
        counts, base = np.bincount(self._labels[rows]), np.bincount(self._labels) / len(self._labels)
        label = int(counts.argmax())
        if counts[label] / len(rows) < base[label] + SPEAKING * (1 - base[label]):
            return -1, []
        return label, [row for row in rows if self._labels[row] == label]
