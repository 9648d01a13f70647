"""Rivals of models that give numbers: the training mean, ridge regression on words, gradient boosting on the raw columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import Answers
from trustbase.audit.rival_inputs import Rival, column_matrix, rival_state, word_vectors
from trustbase.records import LabelSchema, Split

_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)  # of ridge regression; the best is chosen on the training rows, each left out once


def mean(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Always the mean of the training rows."""
    value = float(train.labels.mean())
    return lambda split: _answers(np.full(len(split), value))


def bag_of_words(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Word and word-pair weights (tf-idf) with ridge regression."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(word_vectors(train), RidgeCV(alphas=_PENALTIES))
    model.fit(_texts(train), train.labels)
    return lambda split: _answers(model.predict(_texts(split)))


def boosting(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Histogram gradient boosting on the raw columns: numbers as numbers, all else as categories, missing a state of its own."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    encode, categorical = column_matrix(train)
    model = HistGradientBoostingRegressor(categorical_features=categorical, random_state=rival_state(seed, "boosting"))
    model.fit(encode(train), train.labels)
    return lambda split: _answers(model.predict(encode(split)))


def _texts(split: Split) -> Sequence[str]:
    return list(split.texts)


def _answers(values: NDArray[Any]) -> Answers:
    told = np.asarray(values, dtype=np.float64).ravel()
    return Answers(told[:, None], told)
