"""What rivals read: words of texts, and the raw columns as a matrix. Shared by the rivals of every kind of answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.context import Answers
from trustbase.data.columns import kind_of_column, number_of
from trustbase.data.pair import sides
from trustbase.data.terms import are_pairs, finder, manner_of
from trustbase.records import Split

Rival = Callable[[Split], Answers]

_MAX_TERMS = 200_000
_MAX_CATEGORIES = 250  # histogram boosting takes 255 bins; one is kept for "other", one for "missing"


def rival_state(seed: int, name: str) -> int:
    """The random state of a rival."""
    return seeds.stream_seed(seed, "rival", name) % 2**31


def have_choices(split: Split) -> bool:
    """Whether the texts are questions with choices."""
    return bool(len(split)) and len(sides(split.texts[0])) > 2


def learnable(train: Split) -> list[str]:
    """Raw columns that are numbers or categories; a column of texts, each its own, would be a category of noise."""
    return [name for name in train.table.column_names if kind_of_column(train.table.column(name).to_pylist()) != "texts"]


def word_vectors(train: Split) -> Any:
    """An unfitted tf-idf vectorizer of words and word pairs for these texts; of pairs of texts also of what both share."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    least, pairs = 2 if len(train) >= 1000 else 1, are_pairs(train.texts)
    find = finder(manner_of(train.texts), longest=1 if pairs else 2, pairs=pairs)
    return TfidfVectorizer(analyzer=find, min_df=least, max_features=_MAX_TERMS, sublinear_tf=True, dtype=np.float32)


def column_matrix(train: Split) -> tuple[Callable[[Split], NDArray[np.float64]], list[bool]]:
    """What makes a matrix of the raw columns of any split, fitted on the training rows, and which of its columns are categories."""
    names = learnable(train)
    encoders = [_column_encoder(train.table.column(name).to_pylist()) for name in names]

    def encode(split: Split) -> NDArray[np.float64]:
        return np.column_stack([encoder(split.table.column(name).to_pylist()) for encoder, name in zip(encoders, names, strict=True)])

    return encode, [encoder.categorical for encoder in encoders]


class _Numbers:
    """A column of numbers; what is none becomes missing."""

    categorical = False

    def __call__(self, values: Sequence[str | None]) -> NDArray[np.float64]:
        return np.array([number if (number := number_of(value)) is not None else np.nan for value in values], dtype=np.float64)


class _Categories:
    """A column of names: the most frequent get a code each, the rest share one, missing has one; unseen names count as the rest."""

    categorical = True

    def __init__(self, values: Sequence[str | None]) -> None:
        names, counts = np.unique([value for value in values if value], return_counts=True)
        frequent = names[np.lexsort((names, -counts))][:_MAX_CATEGORIES]
        self._codes = {str(name): float(code + 2) for code, name in enumerate(frequent)}

    def __call__(self, values: Sequence[str | None]) -> NDArray[np.float64]:
        return np.array([self._codes.get(value, 1.0) if value else 0.0 for value in values], dtype=np.float64)


def _column_encoder(values: Sequence[str | None]) -> _Numbers | _Categories:
    return _Numbers() if kind_of_column(values) == "numbers" else _Categories(values)
