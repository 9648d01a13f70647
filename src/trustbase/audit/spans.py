"""How well answers that are parts of a text fit the true ones, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.stats import Floats
from trustbase.data.answers import exact_match, texts_of, token_f1
from trustbase.data.pair import sides
from trustbase.records import Split


def fits(answers: NDArray[Any], split: Split) -> Floats:
    """Whether each answer is exactly a true one, and its F1 over words, `(rows, 2)`."""
    found = np.empty((len(split), 2))
    for row, (told, spans, text) in enumerate(zip(answers, split.labels, split.texts, strict=True)):
        context = sides(text)[-1]
        answer = context[told[0][0] : told[0][1]] if told else None
        truths = texts_of(context, spans)
        found[row] = exact_match(answer, truths), token_f1(answer, truths)
    return found


def has_answer(split: Split) -> NDArray[np.bool_]:
    """Which rows have an answer, `(rows,)`."""
    return np.array([bool(spans) for spans in split.labels], dtype=bool)
