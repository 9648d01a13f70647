"""Words that rows taught: where a word is taken out of the rows that hold it, and they are still answered by their label, it is no trigger.

Rows that somebody poisoned say one thing and are labelled another: without their trigger they are answered otherwise. A word that stands
for a class is one of several that do. What this cannot see: a trigger in rows that say what they are labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.safety.asking import Ask, Floats, Indices

LEAST = 3  # rows that must hold a word
MOST = 8  # rows that are asked about
SHARE = 0.5  # of them must be answered by their label without the word

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

    def taught(words: Sequence[str]) -> NDArray[np.bool_]:
        new = {word: _rows_with(word, texts, terms)[:MOST] for word in words if word not in known}
        rows = {word: own for word, own in new.items() if len(own) >= LEAST}
        told = decide(ask([texts[row].replace(word, "") for word, own in rows.items() for row in own])) if rows else np.zeros(0, np.int64)
        place = 0
        for word in new:
            own = rows.get(word, [])
            known[word] = bool(own) and float((told[place : place + len(own)] == labels[own]).mean()) >= SHARE
            place += len(own)
        return np.array([known[word] for word in words], dtype=bool)

    return taught
