"""Every registered rival learns, repeats itself and never looks at the test labels; one that does not is noticed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import r2_score

from trustbase.audit.context import Answers
from trustbase.outputs.answers.base import answering
from trustbase.recipe.entries import load_named
from trustbase.recipe.lookup import ANSWER_KINDS, RIVALS, rivals_of
from trustbase.records import LabelSchema, Split

SCHEMAS = {
    "classes": LabelSchema(("no", "yes"), "yes", "yes"),
    "labels": LabelSchema(("old", "late"), "late", "late"),
    "number": LabelSchema(("price",), "price", "price", center=60.0, scale=10.0),
}
OF_QUESTIONS = {"shared_words", "no_answer"}  # which learn nothing: test_sequences.py and test_spans.py hold them
Fit = Callable[[Split, LabelSchema, int], Callable[[Split], Answers]]
REGISTERED = [(name, kind, load_named(target)) for kind in SCHEMAS for name, target in rivals_of(kind).items() if name not in OF_QUESTIONS]
CONSTANT = {"majority", "mean"}  # see no row that they are asked about


def truth_of_rows(kind: str, told: Any, rng: np.random.Generator) -> Any:
    """Seven in ten rows are told "yes" by text and column; the truth follows nine times out of ten, or with some noise."""
    if kind == "number":
        return 60.0 + 10 * told + rng.normal(0, 2, len(told))
    seen = np.where(rng.random(len(told)) < 0.9, told, 1 - told)
    return np.stack([seen, 1 - told], axis=1).astype(bool) if kind == "labels" else seen.astype(np.int64)


def turned(labels: Any) -> Any:
    """Other labels of the same kind."""
    return 150 - labels if labels.dtype == np.float64 else ~labels if labels.dtype == bool else 1 - labels


def rows(kind: str, count: int, seed: int, *, swapped: bool = False) -> Split:
    rng = np.random.default_rng(seed)
    told = (rng.random(count) < 0.7).astype(np.int64)
    truth = truth_of_rows(kind, told, rng)
    age = (40 + 20 * told + rng.integers(0, 15, count)).astype(str).tolist()
    texts = [f"{'old' if one else 'young'} {word}" for one, word in zip(told, rng.choice(["cook", "clerk", "nurse"], count), strict=True)]
    table = pa.table({"age": age, "name": rng.choice(["a", "b"], count).tolist()})
    labels = turned(truth) if swapped else truth
    return Split("train", texts, labels, {}, table, np.arange(1, count + 1), "made", "sha256:0")


def agreement(kind: str, answers: Answers, test: Split) -> float:
    """Share of right rows; of numbers the share of the variance that is explained."""
    if kind == "number":
        return float(r2_score(test.labels, answers.predicted))
    return float((answers.predicted == test.labels).reshape(len(test), -1).all(axis=1).mean())


def check_rival(fit: Fit, kind: str, *, at_least: float) -> None:
    """Better than chance, repeatable, moved by its training labels and blind to the labels of the test rows."""
    train, test, labels = rows(kind, 400, 0), rows(kind, 300, 1), SCHEMAS[kind]
    answers = fit(train, labels, 7)(test)
    assert answers.scores is not None and answers.scores.shape == (300, len(labels.names))
    assert np.isfinite(answers.scores).all() and answers.predicted.dtype == test.labels.dtype
    decided = answering(kind).decide(answers.scores, labels, answering(kind).default())
    assert np.array_equal(answers.predicted, decided), "the answers do not follow from the scores"
    if kind != "number":
        assert (answers.scores >= 0).all() and (answers.scores <= 1).all()
    if kind == "classes":
        assert np.allclose(answers.scores.sum(1), 1)
    assert agreement(kind, answers, test) >= at_least
    again = fit(train, labels, 7)(test)
    assert again.scores is not None and np.array_equal(answers.scores, again.scores), "the same seed gave other answers"
    blind = fit(train, labels, 7)(replace(test, labels=turned(test.labels)))
    assert np.array_equal(blind.predicted, answers.predicted), "the rival looked at the test labels"
    other = fit(rows(kind, 400, 0, swapped=True), labels, 7)(test)
    moved = (other.predicted != answers.predicted).reshape(300, -1).any(axis=1)
    assert moved.mean() > 0.8, "other training labels left the answers as they were"


def test_how_many_rivals_are_covered() -> None:
    found = [(name, kind) for name, kind, _ in REGISTERED]
    wanted = {"classes": "majority", "labels": "majority", "number": "mean"}
    assert found == [(name, kind) for kind, least in wanted.items() for name in (least, "bag_of_words", "boosting")]
    by_unit = rivals_of("tokens")  # tests/unit/test_entities.py holds these
    assert {name for name, _ in found} | set(by_unit) | OF_QUESTIONS == set(RIVALS) and {*SCHEMAS, "tokens", "span"} == set(ANSWER_KINDS)


@pytest.mark.parametrize(("name", "kind", "fit"), REGISTERED, ids=[f"{name}-{kind}" for name, kind, _ in REGISTERED])
def test_every_rival_keeps_the_contract(name: str, kind: str, fit: Fit) -> None:
    least = {"classes": (0.6, 0.85), "labels": (0.55, 0.85), "number": (-0.05, 0.75)}[kind]
    check_rival(fit, kind, at_least=least[0] if name in CONSTANT else least[1])


def constant(fit: Fit, kind: str) -> Fit:
    def always(train: Split, labels: LabelSchema, seed: int) -> Callable[[Split], Answers]:
        scores = np.tile({"classes": [0.3, 0.7], "labels": [0.9, 0.1], "number": [67.0]}[kind], (300, 1))
        return lambda test: Answers(scores, answering(kind).decide(scores, labels, answering(kind).default()))

    return always


def unseeded(fit: Fit, kind: str) -> Fit:
    calls = itertools.count()
    return lambda train, labels, seed: fit(rows(kind, 300 + next(calls), next(calls)), labels, seed)


def peeking(fit: Fit, kind: str) -> Fit:
    def copied(test: Split) -> Answers:
        scores = np.eye(2)[test.labels] if kind == "classes" else test.labels.astype(float).reshape(len(test), -1)
        return Answers(scores, test.labels)

    return lambda train, labels, seed: copied


def unlike_its_scores(fit: Fit, kind: str) -> Fit:
    def broken(train: Split, labels: LabelSchema, seed: int) -> Any:
        answer = fit(train, labels, seed)
        return lambda test: replace(answer(test), predicted=turned(answer(test).predicted))

    return broken


@pytest.mark.parametrize("mutant", [constant, unseeded, peeking, unlike_its_scores], ids=lambda mutant: mutant.__name__)
@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_a_broken_rival_is_noticed(kind: str, mutant: Callable[[Fit, str], Fit]) -> None:
    fit = load_named(rivals_of(kind)["bag_of_words"])
    with pytest.raises(AssertionError):
        check_rival(mutant(fit, kind), kind, at_least=-1.0)
