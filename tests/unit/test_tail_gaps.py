"""Differences of two models' RMSE and R²: they hold the truth where few rows have errors of heavy tails, and are not empty for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from trustbase.audit.stats import normal_quantile
from trustbase.audit.tail_gaps import _share_gap, explained_gap, explained_gap_bounds, rmse_gap, rmse_gap_bounds
from trustbase.audit.tails import mean_move_bounds

QUANTILE = normal_quantile(0.95)
DRAWN: dict[str, tuple[Callable[[np.random.Generator, Any], Any], float]] = {  # errors, and their mean square
    "normal": (lambda rng, shape: rng.normal(size=shape), 1.0),
    "lognormal": (lambda rng, shape: rng.lognormal(0, 1, shape) - np.exp(0.5), np.e**2 - np.e),
    "one in 33 large": (lambda rng, shape: rng.normal(size=shape) * np.where(rng.random(shape) < 1 / 33, 10, 1), 1 + 99 / 33),
}


def errors_of(name: str, rows: int, *, shared: float, factor: float, draws: int = 300) -> tuple[Any, float]:
    """Errors of two models `(2, draws, rows)` that share a part, the challenger's own part `factor` as large; and the true difference."""
    draw, square = DRAWN[name]
    rng = np.random.default_rng([rows, int(10 * shared), int(10 * factor)])
    part = shared * draw(rng, (draws, rows))
    errors = np.stack([part + draw(rng, (draws, rows)), part + factor * draw(rng, (draws, rows))])
    return errors, float(np.sqrt(square) * (np.sqrt(shared**2 + factor**2) - np.sqrt(shared**2 + 1)))


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("rows", [100, 200])
def test_differences_of_rmse_hold_the_truth(name: str, rows: int) -> None:
    """300 draws of each; BCa, which was here before, held that of log-normal errors in 67 to 88 %."""
    for shared in (0.0, 1.0):
        for factor in (1.0, 0.4):
            errors, true = errors_of(name, rows, shared=shared, factor=factor)
            low, high = rmse_gap_bounds(errors, 0.0, QUANTILE)
            assert ((low <= true) & (true <= high)).mean() >= 0.92, (shared, factor)


def test_intervals_of_well_behaved_errors_are_no_wider_than_they_need_be() -> None:
    errors, _ = errors_of("normal", 200, shared=0.0, factor=1.0)
    low, high = rmse_gap_bounds(errors, 0.0, QUANTILE)
    needed = 2 * QUANTILE / np.sqrt(200)  # each root varies by 1 / sqrt(2 n)
    assert np.median(high - low) < 1.25 * needed


def test_a_difference_turns_with_the_models_and_scales_with_the_errors() -> None:
    errors = errors_of("lognormal", 60, shared=1.0, factor=0.5, draws=1)[0][:, 0]
    one, turned, scaled = rmse_gap(errors, 0.0), rmse_gap(errors[::-1], 0.0), rmse_gap(1e6 * errors, 0.0)
    roots = np.sqrt((errors**2).mean(axis=1))
    assert one.value == pytest.approx(roots[1] - roots[0]) and one.low < one.value < one.high
    assert (turned.low, turned.value, turned.high) == pytest.approx((-one.high, -one.value, -one.low), rel=1e-6)
    assert (scaled.low, scaled.high) == pytest.approx((1e6 * one.low, 1e6 * one.high), rel=1e-6)
    wide = rmse_gap(errors, 0.0, confidence=0.99)
    assert wide.low < one.low and one.high < wide.high


def test_answers_that_are_alike_leave_doubt() -> None:
    """Of rows on which both are off by the same, or by nothing, one that was not seen may be another."""
    same = rmse_gap(np.ones((2, 60)), 9.0)
    assert same.low < same.value == 0.0 < same.high and same.high < 1.5
    nothing = rmse_gap(np.zeros((2, 60)), 9.0)
    assert nothing.low < nothing.value == 0.0 < nothing.high < 9.0
    assert rmse_gap(np.zeros((2, 60)), 0.0).high == 0.0, "where all truths and answers are one number"
    perfect = rmse_gap(np.stack([np.zeros(60), np.linspace(1, 2, 60)]), 9.0)
    assert 0 < perfect.low < perfect.value < perfect.high, "a champion without an error is ahead of one that is always off"
    with pytest.raises(ValueError, match="finite"):
        rmse_gap(np.array([[1.0, np.nan], [1.0, 2.0]]), 1.0)


def test_many_rows_agree_with_the_normal_interval() -> None:
    errors = errors_of("normal", 4000, shared=1.0, factor=0.8, draws=1)[0][:, 0]
    made, roots = rmse_gap(errors, 0.0), np.sqrt((errors**2).mean(axis=1))
    moves = errors[1] ** 2 / (2 * roots[1]) - errors[0] ** 2 / (2 * roots[0])
    half = QUANTILE * moves.std() / np.sqrt(4000)
    assert (made.low, made.high) == pytest.approx((made.value - half, made.value + half), abs=0.05 * half)
    low, high = mean_move_bounds(moves, 0.0, QUANTILE)
    assert made.high - made.low == pytest.approx(float(high - low), rel=0.05)


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("rows", [100, 200])
def test_differences_of_explained_variance_hold_the_truth(name: str, rows: int) -> None:
    """The truth is normal and three times as wide as an error of the champion's."""
    for shared in (0.0, 1.0):
        errors, _ = errors_of(name, rows, shared=shared, factor=0.7)
        square = DRAWN[name][1]
        truth = 3 * np.sqrt(square) * np.random.default_rng(rows).normal(size=errors.shape[1:])
        low, high = explained_gap_bounds(truth, errors, 0.0, QUANTILE)
        true = (1 - 0.7**2) / 9
        assert ((low <= true) & (true <= high)).mean() >= 0.92, shared


def test_the_difference_of_explained_variance_is_that_of_the_mean_squares() -> None:
    rng = np.random.default_rng(0)
    truth, errors = rng.normal(0, 5, 300), rng.normal(size=(2, 300)) * [[2.0], [1.0]]
    made, moved = explained_gap(truth, errors, 0.0), explained_gap(-1000 * truth + 3e4, 1000 * errors, 0.0)
    assert made.value == pytest.approx(((errors[0] ** 2).mean() - (errors[1] ** 2).mean()) / truth.var())
    assert 0 < made.low < made.value < made.high < 1
    assert (made.low, made.high) == pytest.approx((moved.low, moved.high), rel=1e-6)
    with pytest.raises(ValueError, match="no variance to explain"):
        explained_gap(np.ones(60), errors[:, :60], 1.0)


def test_many_rows_of_explained_variance_agree_with_the_delta_method() -> None:
    """The truth's variance is estimated too: where the models lie far apart, it is half of what the difference owes to chance."""
    rng = np.random.default_rng(2)
    truth, errors = rng.normal(20, 3, 6000), rng.normal(size=(2, 6000)) * [[3.0], [0.5]]
    made, squares = explained_gap(truth, errors, 0.0), errors**2
    centred = (truth - truth.mean()) ** 2
    moves = (squares[0] - squares[1] - made.value * centred) / truth.var()
    half = QUANTILE * moves.std() / np.sqrt(6000)
    assert (made.low, made.high) == pytest.approx((made.value - half, made.value + half), abs=0.06 * half)
    assert half > 1.3 * QUANTILE * (squares[0] - squares[1]).std() / truth.var() / np.sqrt(6000)


def test_the_difference_that_is_read_from_weighed_rows_is_that_of_weighed_r2() -> None:
    rng = np.random.default_rng(3)
    truth, errors = rng.lognormal(0, 1, 50), rng.normal(size=(2, 50))
    weights = rng.dirichlet(np.ones(50))
    centred = truth - truth.mean()
    means = weights @ np.stack([*errors**2, centred, centred**2], axis=1)
    first, second = (metrics.r2_score(truth, truth + each, sample_weight=weights) for each in errors)
    assert _share_gap(means) == pytest.approx(second - first)
