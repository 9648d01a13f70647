"""Simple rivals of a classifier: the most frequent label, a bag of words, and boosting on the raw columns.

A rival answers by its highest score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import Answers
from trustbase.audit.rival_inputs import Rival, column_matrix, have_choices, rival_state, word_vectors
from trustbase.errors import DataError
from trustbase.records import LabelSchema, Split


def majority(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Always the most frequent training label; its scores are the training shares."""
    shares = np.bincount(train.labels, minlength=len(labels.names)) / max(len(train), 1)

    def answer(split: Split) -> Answers:
        scores = np.tile(shares, (len(split), 1))
        return Answers(scores, scores.argmax(axis=1).astype(np.int64))

    return answer


def bag_of_words(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Word and word-pair weights (tf-idf) with logistic regression; Chinese by segmented words, or by characters and pairs.

    Of a pair of texts: the words of each, those in both, and how much they share. Of a text with marked entities also their words, those
    between them, and which comes first. Of a question, so with each of its choices.
    """
    if have_choices(train):
        from trustbase.audit.rivals_choices import bag_of_words as of_choices

        return of_choices(train, labels, seed)
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    # C = 10: tf-idf rows have length one, so the default penalty (meant for columns of unit variance) is far too strong.
    model = make_pipeline(word_vectors(train), LogisticRegression(C=10.0, max_iter=300, random_state=rival_state(seed, "bag_of_words")))
    _fit(model, list(train.texts), train.labels, "bag_of_words")
    return lambda split: _answers(model, list(split.texts), labels)


def boosting(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Histogram gradient boosting on the raw columns: numbers as numbers, all else as categories, missing a state of its own.

    Columns of free text are left out.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    encode, categorical = column_matrix(train)
    model = HistGradientBoostingClassifier(categorical_features=categorical, random_state=rival_state(seed, "boosting"))
    _fit(model, encode(train), train.labels, "boosting")
    return lambda split: _answers(model, encode(split), labels)


def _fit(model: Any, inputs: Any, truth: NDArray[np.int64], name: str) -> None:
    if len(np.unique(truth)) < 2:
        raise DataError(f"rival {name} needs training rows of at least two labels", hint="check the training split")
    model.fit(inputs, truth)


def _answers(model: Any, inputs: Any, labels: LabelSchema) -> Answers:
    """Scores over all labels of the schema; a label that training never saw gets 0."""
    scores = np.zeros((len(inputs), len(labels.names)))
    scores[:, model.classes_] = model.predict_proba(inputs)
    return Answers(scores, scores.argmax(axis=1).astype(np.int64))
