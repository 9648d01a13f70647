"""Simple rivals of a model that weighs choices: the choice that shares most words with the question, and a bag of words of each pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import Answers
from trustbase.audit.rival_inputs import Rival, rival_state, word_vectors
from trustbase.data.pair import join, sides
from trustbase.data.terms import finder, manner_of
from trustbase.records import LabelSchema, Split


def shared_words(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """The choice of whose different words the largest share is in the question; of equals the first. Nothing is learned."""
    find = finder(manner_of(train.texts), longest=1)

    def answer(split: Split) -> Answers:
        return _answers([_shares(text, find) for text in split.texts])

    return answer


def bag_of_words(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Logistic regression on the words of question and choice and of what both share; the likeliest choice answers."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pairs = [_pairs(text) for text in train.texts]
    right = np.array([place == label for found, label in zip(pairs, train.labels.tolist(), strict=True) for place in range(len(found))])
    apart = replace(train, texts=[pair for found in pairs for pair in found])
    model = make_pipeline(word_vectors(apart), LogisticRegression(C=10.0, max_iter=300, random_state=rival_state(seed, "bag_of_words")))
    model.fit(apart.texts, right)

    def answer(split: Split) -> Answers:
        asked = [_pairs(text) for text in split.texts]
        weights = model.decision_function([pair for found in asked for pair in found])
        return _answers([np.exp(part - part.max()) for part in np.split(weights, np.cumsum([len(found) for found in asked])[:-1])])

    return answer


def _pairs(text: str) -> list[str]:
    question, *choices = sides(text)
    return [join(question, choice) for choice in choices]


def _shares(text: str, find: Callable[[str], list[str]]) -> NDArray[np.float64]:
    question, *choices = (set(find(side)) for side in sides(text))
    return np.array([(len(words & question) + 0.01) / max(len(words), 1) for words in choices])


def _answers(weights: Sequence[NDArray[np.float64]]) -> Answers:
    """Weights of the choices of each row as scores that sum to one."""
    scores = np.stack([row / row.sum() for row in weights])
    return Answers(scores, scores.argmax(axis=1).astype(np.int64))
