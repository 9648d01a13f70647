"""The threshold is the best one on the rows given, among all that exist, and refuses what it cannot decide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import f1_score

from trustbase.errors import DataError, RecipeError
from trustbase.outputs.decision import decide_labels
from trustbase.outputs.options import DecisionCost, DecisionOptions
from trustbase.outputs.threshold import best_macro_f1_threshold, cheapest_threshold, choose_decision
from trustbase.records import LabelSchema

LABELS = LabelSchema(("no", "yes"), "yes", "yes")


def scored(positive: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - positive, positive])


def rows(seed: int, n: int = 300, digits: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.beta(0.8, 1.5, n).round(digits)
    return positive, (rng.random(n) < positive).astype(np.int64)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("fn", "fp"), [(1, 1), (5, 1), (1, 20), (0, 1)])
def test_no_threshold_is_cheaper(seed: int, fn: float, fp: float) -> None:
    positive, truth = rows(seed)

    def cost(threshold: float) -> float:
        said = positive >= threshold
        return float(fn * ((truth == 1) & ~said).sum() + fp * ((truth == 0) & said).sum())

    chosen = cheapest_threshold(positive, truth == 1, false_negative=fn, false_positive=fp)
    every = [0.0, 1.01, *np.unique(positive)]
    assert cost(chosen) == min(cost(threshold) for threshold in every)


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_better_macro_f1(seed: int) -> None:
    positive, truth = rows(seed, 120)
    chosen = best_macro_f1_threshold(positive, truth == 1)
    best = max(f1_score(truth, positive >= threshold, average="macro", zero_division=0) for threshold in np.unique(positive))
    assert f1_score(truth, positive >= chosen, average="macro") == pytest.approx(best, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=30))
def test_the_chosen_threshold_is_a_probability_and_does_what_its_counts_said(pairs: list[tuple[float, bool]]) -> None:
    positive, truth = np.array([p for p, _ in pairs]), np.array([t for _, t in pairs])
    if truth.all() or not truth.any():
        return
    chosen = cheapest_threshold(positive, truth, false_negative=1, false_positive=1)
    assert 0 <= chosen <= 1
    errors = int(((positive >= chosen) != truth).sum())
    never = [2.0] if positive.max() < 1 else []  # a score of exactly 1 is positive at every probability
    assert errors == min(int(((positive >= threshold) != truth).sum()) for threshold in [0.0, *never, *positive])


def test_among_equals_the_threshold_nearest_bayes_rule_is_taken() -> None:
    positive, truth = np.array([0.1, 0.9]), np.array([False, True])  # every threshold between them is perfect
    assert cheapest_threshold(positive, truth, false_negative=1, false_positive=1) == pytest.approx(0.5)


def test_what_the_decision_says_about_itself() -> None:
    positive, truth = rows(1)
    scores = scored(positive)
    highest = choose_decision(scores, truth, LABELS, DecisionOptions())
    assert (highest.threshold, highest.method) == (None, "highest score")
    given_ = choose_decision(scores, truth, LABELS, DecisionOptions(threshold=0.3))
    assert given_.threshold == 0.3 and "recipe" in given_.method
    auto = choose_decision(scores, truth, LABELS, DecisionOptions(threshold="auto"))
    assert "macro F1 (no cost was given)" in auto.method and "300 validation rows" in auto.method
    costly = choose_decision(
        scores, truth, LABELS, DecisionOptions(threshold="auto", cost=DecisionCost(false_negative=9, false_positive=1))
    )
    assert "false negative 9" in costly.method and costly.cost == {"false_negative": 9.0, "false_positive": 1.0}
    assert costly.threshold is not None and auto.threshold is not None and costly.threshold < auto.threshold
    assert decide_labels(scores, LABELS, costly).sum() > decide_labels(scores, LABELS, auto).sum()


def test_the_positive_label_may_come_first_by_name() -> None:
    positive, truth = rows(2)
    labels = LabelSchema(("a", "b"), "a", "a")
    options = DecisionOptions(threshold="auto")
    swapped = choose_decision(np.column_stack([positive, 1 - positive]), 1 - truth, labels, options)
    assert swapped.threshold == choose_decision(scored(positive), truth, LABELS, options).threshold


def test_what_cannot_be_decided_is_refused() -> None:
    positive, truth = rows(3)
    auto = DecisionOptions(threshold="auto")
    with pytest.raises(DataError, match="both labels"):
        choose_decision(scored(positive), np.zeros_like(truth), LABELS, auto)
    with pytest.raises(DataError, match="not finite"):
        choose_decision(scored(np.where(positive > 0.5, np.nan, positive)), truth, LABELS, auto)
    with pytest.raises(RecipeError, match="two labels"):
        choose_decision(np.full((3, 3), 1 / 3), np.arange(3), LabelSchema(("a", "b", "c"), "c", "c"), DecisionOptions(threshold=0.5))
    for bad in (
        {"threshold": 1.5},
        {"threshold": "best"},
        {"cost": {"false_negative": -1}},
        {"cost": {"false_negative": 0, "false_positive": 0}},
    ):
        with pytest.raises(ValidationError):
            DecisionOptions.model_validate(bad)
