"""Documents by language, for what is told of each language apart."""

from __future__ import annotations

from itertools import islice

import numpy as np

from trustbase.data.corpus.block import Block
from trustbase.data.corpus.language import LANGUAGES, languages
from trustbase.data.corpus.store import Documents

_MOST = 20_000  # documents looked at
_LEAST = 0.01  # share of a language that is told apart


def texts_by_language(documents: Documents) -> dict[str, list[str]]:
    """The first documents, by the language that each is in; languages of under one percent are left out, unless nothing else is there."""
    texts = [text for text in islice(documents, _MOST) if any(letter.isalpha() for letter in text)]
    found = languages(Block.of(texts)) if texts else np.zeros(0, np.int8)
    codes, counts = np.unique(found, return_counts=True)
    kept = [code for code, count in zip(codes, counts, strict=True) if count >= _LEAST * len(texts)]
    return {LANGUAGES[code]: [text for text, other in zip(texts, found, strict=True) if other == code] for code in kept}
