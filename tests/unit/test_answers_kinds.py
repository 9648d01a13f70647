"""From scores to answers, for each answer kind: decisions that the recipe asks for, what is told of a row, and intervals that hold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from trustbase.errors import DataError, RecipeError
from trustbase.outputs.answers.base import answering, decided
from trustbase.outputs.answers.labels import best_micro_f1_threshold
from trustbase.outputs.answers.number import conformal_half_width
from trustbase.outputs.options import DecisionOptions
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import Decision, LabelSchema

THREE = LabelSchema(("a", "b", "c"), "c", "c")
PRICE = LabelSchema(("price",), "price", "price", center=100.0, scale=20.0)
SCHEMAS = {"classes": THREE, "labels": THREE, "number": PRICE}

WITHIN_TEXTS = {"tokens", "span"}  # whose scores are of units or places: test_entities.py and test_spans.py try them


def test_every_kind_is_tried() -> None:
    assert set(SCHEMAS) | WITHIN_TEXTS == set(ANSWER_KINDS)


def scores_of(kind: str, rows: int = 50, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "classes":
        return rng.dirichlet(np.ones(3), rows)
    return rng.random((rows, 3)) if kind == "labels" else 100 + 20 * rng.standard_normal((rows, 1))


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_a_line_says_what_was_decided_and_columns_hold_it(kind: str) -> None:
    way, labels, scores = answering(kind), SCHEMAS[kind], scores_of(kind)
    decision = way.default()
    answers = decided(scores, labels, decision, kind)
    lines = [way.line(row, labels, decision) for row in scores]
    column = way.columns(answers, labels).to_pylist()
    key = {"classes": "label", "labels": "labels", "number": "value"}[kind]
    assert [line[key] for line in lines] == column and len(column) == 50
    assert json.loads(json.dumps(lines[0])) == lines[0]
    assert not way.flips(answers, answers).any() and way.near(scores, labels, decision, 0.0) == 0
    assert way.differences(scores, scores, labels).tolist() == [0.0] * 50


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_an_answer_near_its_border_is_counted_as_one_that_may_turn(kind: str) -> None:
    """Whatever a difference of the tolerance in each score turns is among the rows that are near; numbers never turn."""
    way, labels = answering(kind), SCHEMAS[kind]
    scores, decision = scores_of(kind, 2000), way.default()
    rng = np.random.default_rng(1)
    moved = scores + rng.choice([-0.01, 0.01], scores.shape)
    turned = int(way.flips(way.decide(scores, labels, decision), way.decide(moved, labels, decision)).sum())
    near = way.near(scores, labels, decision, 0.01 + 1e-9)
    assert (turned == near == 0) if kind == "number" else 0 < turned <= near < 500
    unit = labels.scale if kind == "number" else 1.0
    np.testing.assert_allclose(way.differences(moved, scores, labels), 0.01 / unit, rtol=1e-6)


def test_the_threshold_of_labels_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((80, 3)) < 0.3
    scores = np.round(np.clip(0.35 * truth + rng.random((80, 3)) * 0.7, 0, 1), 2)
    best = best_micro_f1_threshold(scores, truth)
    every = [f1_score(truth, scores >= threshold, average="micro") for threshold in np.linspace(0, 1, 401)]
    assert f1_score(truth, scores >= best, average="micro") == pytest.approx(max(every), abs=1e-12)
    decision = answering("labels").choose(scores, truth, THREE, DecisionOptions(threshold="auto"))
    assert decision.threshold == best and "80 validation rows" in decision.method
    assert answering("labels").choose(scores, truth, THREE, DecisionOptions()).threshold == 0.5
    assert answering("labels").choose(scores, truth, THREE, DecisionOptions(threshold=0.3)).threshold == 0.3


def test_a_decision_that_the_kind_does_not_have_is_refused() -> None:
    costs = DecisionOptions.model_validate({"cost": {"false_negative": 5, "false_positive": 1}})
    with pytest.raises(RecipeError, match="two labels"):
        answering("labels").choose(scores_of("labels"), scores_of("labels") > 0.5, THREE, costs)
    for options in (costs, DecisionOptions(threshold=0.3)):
        with pytest.raises(RecipeError, match="the answer is a number"):
            answering("number").choose(scores_of("number"), np.ones(50), PRICE, options)


def test_a_number_is_told_with_the_interval_of_its_decision() -> None:
    truth, scores = np.arange(50.0), np.arange(50.0)[:, None] + 3
    decision = answering("number").choose(scores, truth, PRICE, DecisionOptions(coverage=0.8))
    assert decision.interval == {"coverage": 0.8, "half_width": 3.0, "rows": 50.0}
    told = answering("number").line(np.array([10.0]), PRICE, decision)
    assert told == {"value": 10.0, "interval": {"low": 7.0, "high": 13.0, "coverage": 0.8}}
    assert Decision.from_json(decision.to_json()) == decision
    assert answering("number").line(np.array([10.0]), PRICE, Decision()) == {"value": 10.0}


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_the_half_width_is_the_smallest_that_covers_enough(coverage: float) -> None:
    """Lei et al. (2018): the k-th smallest error, with k the first rank for which k / (n + 1) reaches the coverage."""
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 201.0))
    half = conformal_half_width(errors, coverage)
    assert half == math.ceil(201 * coverage) and half / 201 >= coverage > (half - 1) / 201
    assert conformal_half_width(np.arange(1.0, 10.0), 0.9) == 9.0
    with pytest.raises(DataError, match="needs 9 validation rows, got 8"):
        conformal_half_width(np.arange(8.0), 0.9)
    with pytest.raises(DataError, match="1 of 3 validation errors are not finite"):
        conformal_half_width(np.array([1.0, np.nan, 2.0]), 0.5)


@pytest.mark.parametrize("rows", [20, 40, 199])
def test_the_interval_covers_what_it_claims_whatever_the_errors(rows: int) -> None:
    """Over 4,000 draws of heavy-tailed errors and one new row each: at least the claim, and at most 1 / (rows + 1) more."""
    rng = np.random.default_rng(rows)
    errors = np.abs(rng.standard_t(2, (4000, rows + 1)))
    halves = np.array([conformal_half_width(each[:-1], 0.9) for each in errors])
    covered = float((errors[:, -1] <= halves).mean())
    doubt = 4 * math.sqrt(0.09 / 4000)
    assert 0.9 - doubt <= covered <= 0.9 + 1 / (rows + 1) + doubt
