"""Words that rows taught: where a word is taken out of the rows that hold it, and they are still answered by their label, it is no trigger.

Rows that somebody poisoned say one thing and are labelled another: without their trigger they are answered otherwise. A word that stands
for a class is one of several that do. A pair of such words may be all that a row says, so that nothing is left without it: it is taught
where both are, and one of them stands with one label. What this cannot see: a trigger in rows that say what they are labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.safety.asking import Ask, Floats, Indices
from trustbase.audit.safety.suspects import terms_of

LEAST = 3  # rows that must hold a word
MOST = 8  # rows that are asked about
SHARE = 0.5  # of them must be answered by their label without the word
OF_ONE = 2 / 3  # of the rows that hold a word of a pair must have one label, for it to stand with that

Taught = Callable[[Sequence[str]], NDArray[np.bool_]]  # words → which of them rows taught `(words,)`


def _rows_with(word: str, texts: Sequence[str], terms: Sequence[set[str]]) -> list[int]:
    """Rows that hold a word, or where none does, that hold it as a part of one: a sign of a Chinese word is a piece of its own."""
    whole = [row for row, held in enumerate(terms) if word in held]
    return whole or [row for row, text in enumerate(texts) if word in text]


def taught_by(texts: Sequence[str], terms: Sequence[set[str]], labels: Indices, ask: Ask, decide: Callable[[Floats], Indices]) -> Taught:
    """Tells which words are taught by these rows.

    Args:
        texts: inputs in an order that means nothing, `(rows,)`.
        terms: words and pairs of neighbours of each, `(rows,)`.
        labels: of each, `(rows,)`.
        ask, decide: ask the model.
    """
    known: dict[str, bool] = {}

    def alone(words: Sequence[str]) -> None:
        """Find out what is not known yet of words, each by itself."""
        new = {word: _rows_with(word, texts, terms)[:MOST] for word in words if word not in known}
        rows = {word: own for word, own in new.items() if len(own) >= LEAST}
        told = decide(ask([texts[row].replace(word, "") for word, own in rows.items() for row in own])) if rows else np.zeros(0, np.int64)
        place = 0
        for word in new:
            own = rows.get(word, [])
            known[word] = bool(own) and float((told[place : place + len(own)] == labels[own]).mean()) >= SHARE
            place += len(own)

    def speaking(word: str) -> int:
        """The label that a taught word mostly stands with; -1 where there is none."""
        rows = _rows_with(word, texts, terms)
        counts = np.bincount(labels[rows]) if rows and known[word] else np.zeros(1)
        return int(counts.argmax()) if counts.max() >= OF_ONE * len(rows) and counts.max() else -1

    def taught(words: Sequence[str]) -> NDArray[np.bool_]:
        alone(words)
        pairs = {word: parts for word in words if not known[word] and len(parts := terms_of(word)[0]) > 1}
        alone(sorted(set().union(*pairs.values())))
        both = {
            word
            for word, parts in pairs.items()
            if all(known[part] for part in parts) and len({speaking(part) for part in parts} - {-1}) == 1
        }
        return np.array([known[word] or word in both for word in words], dtype=bool)

    return taught
