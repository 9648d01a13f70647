"""Rivals of models that give any number of labels: what is most frequent, words, and the raw columns; each label by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trustbase.audit.context import Answers
from trustbase.audit.rival_inputs import Rival, column_matrix, rival_state, word_vectors
from trustbase.records import LabelSchema, Split

_HALF = 0.5


def majority(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """The labels that at least half of the training rows have, always; none where no label is so frequent."""
    shares = train.labels.mean(axis=0)
    return lambda split: _answers(np.tile(shares, (len(split), 1)))


def bag_of_words(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Word and word-pair weights (tf-idf) with a logistic regression for each label."""
    from sklearn.linear_model import LogisticRegression

    words = word_vectors(train)
    rows = words.fit_transform(list(train.texts))
    state = rival_state(seed, "bag_of_words")
    models = _each_label(train, lambda: LogisticRegression(C=10.0, max_iter=300, random_state=state), rows)
    return lambda split: _scored(models, words.transform(list(split.texts)), len(split))


def boosting(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Histogram gradient boosting on the raw columns, for each label."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    encode, categorical = column_matrix(train)
    state = rival_state(seed, "boosting")
    models = _each_label(train, lambda: HistGradientBoostingClassifier(categorical_features=categorical, random_state=state), encode(train))
    return lambda split: _scored(models, encode(split), len(split))


def _each_label(train: Split, make: Callable[[], Any], rows: Any) -> Sequence[Any]:
    return [make().fit(rows, train.labels[:, place]) for place in range(train.labels.shape[1])]


def _scored(models: Sequence[Any], rows: Any, count: int) -> Answers:
    scores = np.zeros((count, len(models)))
    for place, model in enumerate(models):
        scores[:, place] = model.predict_proba(rows)[:, list(model.classes_).index(True)]
    return _answers(scores)


def _answers(scores: Any) -> Answers:
    return Answers(np.asarray(scores, dtype=np.float64), np.asarray(scores >= _HALF, dtype=bool))
