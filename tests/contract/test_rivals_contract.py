"""Every registered rival learns, repeats itself and never looks at the test labels; one that does not is noticed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trustbase.audit.context import Answers
from trustbase.recipe.lookup import RIVALS, load
from trustbase.records import LabelSchema, Split

LABELS = LabelSchema(("no", "yes"), "yes", "yes")
Fit = Callable[[Split, LabelSchema, int], Callable[[Split], Answers]]
REGISTERED = [(name, load(entry)) for name, entry in RIVALS.items() if entry.target]  # others are of other answer kinds


def rows(count: int, seed: int, *, swapped: bool = False) -> Split:
    """Seven in ten rows are "yes", and both the text and a column tell which nine times out of ten."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(count) < 0.7).astype(np.int64)
    told = np.where(rng.random(count) < 0.9, truth, 1 - truth)
    age = (40 + 20 * told + rng.integers(0, 15, count)).astype(str).tolist()
    texts = [f"{'old' if one else 'young'} {word}" for one, word in zip(told, rng.choice(["cook", "clerk", "nurse"], count), strict=True)]
    table = pa.table({"age": age, "name": rng.choice(["a", "b"], count).tolist()})
    labels = 1 - truth if swapped else truth
    return Split("train", texts, labels, {}, table, np.arange(1, count + 1), "made", "sha256:0")


def check_rival(fit: Fit, *, at_least: float) -> None:
    """Better than a coin, repeatable, moved by its training labels and blind to the labels of the test rows."""
    train, test = rows(400, 0), rows(300, 1)
    answers = fit(train, LABELS, 7)(test)
    assert answers.scores is not None and answers.scores.shape == (300, 2)
    assert np.allclose(answers.scores.sum(1), 1) and (answers.scores >= 0).all()
    assert (answers.predicted == answers.scores.argmax(1)).all()
    assert (answers.predicted == test.labels).mean() >= at_least
    again = fit(train, LABELS, 7)(test)
    assert again.scores is not None and np.array_equal(answers.scores, again.scores), "the same seed gave other answers"
    blind = fit(train, LABELS, 7)(replace(test, labels=1 - test.labels))
    assert np.array_equal(blind.predicted, answers.predicted), "the rival looked at the test labels"
    turned = fit(rows(400, 0, swapped=True), LABELS, 7)(test)
    assert (turned.predicted != answers.predicted).mean() > 0.8, "other training labels left the answers as they were"


def test_how_many_rivals_are_covered() -> None:
    assert [name for name, _ in REGISTERED] == ["majority", "bag_of_words", "boosting"]


@pytest.mark.parametrize(("name", "fit"), REGISTERED, ids=[name for name, _ in REGISTERED])
def test_every_rival_keeps_the_contract(name: str, fit: Fit) -> None:
    check_rival(fit, at_least=0.6 if name == "majority" else 0.85)


def constant(fit: Fit) -> Fit:
    return lambda train, labels, seed: lambda test: Answers(np.tile([0.3, 0.7], (len(test), 1)), np.ones(len(test), np.int64))


def unseeded(fit: Fit) -> Fit:
    calls = itertools.count()
    return lambda train, labels, seed: fit(rows(300 + next(calls), next(calls)), labels, seed)


def peeking(fit: Fit) -> Fit:
    return lambda train, labels, seed: lambda test: Answers(np.eye(2)[test.labels], test.labels)


def unlike_its_scores(fit: Fit) -> Fit:
    def broken(train: Split, labels: LabelSchema, seed: int) -> Any:
        answer = fit(train, labels, seed)
        return lambda test: replace(answer(test), predicted=1 - answer(test).predicted)

    return broken


@pytest.mark.parametrize("mutant", [constant, unseeded, peeking, unlike_its_scores], ids=lambda mutant: mutant.__name__)
def test_a_broken_rival_is_noticed(mutant: Callable[[Fit], Fit]) -> None:
    with pytest.raises(AssertionError):
        check_rival(mutant(load(RIVALS["bag_of_words"])), at_least=0.6)
