"""What rows that were not seen may do to a difference of two models: where the seen ones are alike, bounds have a closed form.

Beside n rows that all move a mean by the same, one that was not seen weighs z² / (n + z²) at a bound, whatever it moves: tilting is then
Wilson's interval of none among n. Where a ghost stands on either side, the one on the other side adds two hundredths to it at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trustbase.audit import paired
from trustbase.audit.stats import bounded_mean, normal_quantile
from trustbase.audit.tail_gaps import explained_gap, rmse_gap
from trustbase.audit.tails import explained, mean_move, mean_size

ROWS = 80
Z2 = normal_quantile(0.95) ** 2
SHARE = Z2 / (ROWS + Z2)


def near(*values: float) -> Any:
    return pytest.approx(values, rel=0.02, abs=1e-9)


def test_a_mean_of_like_rows_reaches_to_both_of_its_ends() -> None:
    made = bounded_mean(np.full(ROWS, 0.5), -2.0, 7.0)
    assert (0.5 - made.low, made.high - 0.5) == near(2.5 * SHARE, 6.5 * SHARE)
    moved = mean_move(np.full(ROWS, -1.5), 20.0)
    assert (-1.5 - moved.low, moved.high + 1.5) == near(18.5 * SHARE, 21.5 * SHARE)
    gap = paired.mean_gap(np.zeros(ROWS), -1.0, 1.0)
    assert (gap.low, gap.value, gap.high) == near(-SHARE, 0.0, SHARE) and "difference of each row" in gap.method
    wide = paired.mean_gap(np.zeros(ROWS), -1.0, 1.0, confidence=0.99)
    assert (wide.high,) == near(normal_quantile(0.99) ** 2 / (ROWS + normal_quantile(0.99) ** 2))


def test_rows_that_lie_close_together_leave_room_on_both_sides_of_them() -> None:
    """An unseen row that may lie far above moves the mean of both by more than the rows spread: it must not close the side below."""
    made, turned = bounded_mean(np.full(ROWS, 0.5), 0.0, 1000.0), bounded_mean(np.full(ROWS, -0.5), -1000.0, 0.0)
    assert (0.5 - made.low, made.high - 0.5) == near(0.5 * SHARE, 999.5 * SHARE)
    assert (turned.low, turned.high) == pytest.approx((-made.high, -made.low))


def test_a_loss_may_differ_on_an_unseen_row_as_it_would_under_any_label() -> None:
    """On every row both lose 0.1 under the true label; under the other one the challenger would lose 3, the champion 0.5."""
    truth = np.zeros(ROWS, np.int64)
    challenger, champion = np.tile([0.1, 3.0], (ROWS, 1)), np.tile([0.1, 0.5], (ROWS, 1))
    one, turned = paired.loss_gap(challenger, champion, truth), paired.loss_gap(champion, challenger, truth)
    assert (one.low, one.value, one.high) == near(0.0, 0.0, 2.5 * SHARE)
    assert (turned.low, turned.value, turned.high) == near(-2.5 * SHARE, 0.0, 0.0)


@pytest.mark.parametrize("costs", [(5.0, 1.0), (1.0, 5.0)])
def test_a_cost_may_differ_on_an_unseen_row_by_the_dearest_error(costs: tuple[float, float]) -> None:
    truth = np.resize([0, 1], ROWS)
    made = paired.cost_gap(truth, truth, truth, 1, costs)
    assert (made.low, made.value, made.high) == near(-5 * SHARE, 0.0, 5 * SHARE)


def test_each_kind_of_error_has_its_own_price() -> None:
    """Of ten rows the challenger misses one that the champion finds, and raises no alarm where the champion raises two."""
    truth = np.resize([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], 200)
    champion, challenger = truth.copy(), truth.copy()
    challenger[::10], champion[4::10], champion[5::10] = 0, 1, 1
    for costs in ((5.0, 1.0), (1.0, 5.0), (3.0, 3.0)):
        made = paired.cost_gap(truth, challenger, champion, 1, costs)
        assert made.value == pytest.approx((costs[0] - 2 * costs[1]) / 10) and made.low < made.value < made.high
        turned = paired.cost_gap(truth, champion, challenger, 1, costs)
        assert (turned.low, turned.high) == pytest.approx((-made.high, -made.low), rel=1e-6)


def test_a_difference_of_areas_turns_with_the_models_and_with_the_labels() -> None:
    """Few rows are placed otherwise, so that much rests on the ghost rows; AUROC does not know which label is called positive."""
    rng = np.random.default_rng(3)
    positive = np.arange(90) < 30
    champion = positive + rng.normal(0, 0.3, 90)
    challenger = champion.copy()
    challenger[[2, 40, 55]] = champion[[2, 40, 55]] + [-1.0, 0.8, 0.1]
    one, turned = paired.auroc_gap(positive, challenger, champion), paired.auroc_gap(positive, champion, challenger)
    other = paired.auroc_gap(~positive, -challenger, -champion)
    assert one is not None and turned is not None and other is not None and one.low < one.value < one.high
    assert (turned.low, turned.value, turned.high) == pytest.approx((-one.high, -one.value, -one.low), rel=1e-6)
    assert (other.low, other.value, other.high) == pytest.approx((one.low, one.value, one.high), rel=1e-6)
    assert one.high > 0, "three rows do not say that the challenger is worse"


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_errors_that_are_alike_reach_as_far_as_any_answer_lies_from_any_truth(confidence: float) -> None:
    """Both are off by 1 on every row; on an unseen one, one of the two may be off by 9 more in mean square: 1 + p 9² beside 1."""
    z2 = normal_quantile(confidence) ** 2
    share = z2 / (ROWS + z2)
    made = rmse_gap(np.ones((2, ROWS)) * [[1.0], [-1.0]], 9.0, confidence=confidence)
    assert (made.low, made.value, made.high) == near(1 - np.sqrt(1 + 81 * share), 0.0, np.sqrt(1 + 81 * share) - 1)
    truth = np.resize([-3.0, 5.0, 1.0, 9.0], ROWS)
    shares = explained_gap(truth, np.ones((2, ROWS)), 9.0, confidence=confidence)
    reach = share * 81 / truth.var()
    assert (shares.low, shares.value, shares.high) == near(-reach, 0.0, reach)


def test_errors_are_alike_in_any_unit_though_numbers_are_rounded() -> None:
    """0.3 - 0.1 and 0.4 - 0.2 differ by a rounding, which is none of what rows say about each other."""
    truth = np.random.default_rng(0).normal(100, 30, ROWS)
    for unit in (1.0, 1e-3, 1000.0):
        told = truth * unit + 0.3 * unit
        errors = told - truth * unit
        size, same = mean_size(np.abs(errors), 90 * unit), explained(truth * unit, told)
        assert (size.high,) == near((0.3 + 89.7 * SHARE) * unit)
        assert same.low < 0.9 < 0.999 < same.value < same.high, "R² may be anything on rows that were not seen"
        other = -np.where(np.arange(ROWS) % 2, np.nextafter(errors, 0), errors)  # as far off on the other side, but for a rounding
        move, gap = mean_move(np.abs(other) - np.abs(errors), 90 * unit), rmse_gap(np.stack([errors, other]), 90 * unit)
        assert (move.low, move.high) == near(-90 * SHARE * unit, 90 * SHARE * unit)
        assert gap.high == pytest.approx((np.sqrt(0.09 + 90**2 * SHARE) - 0.3) * unit, rel=0.02)
        large = 40 / 0.3 * np.stack([errors, other])  # squares of large errors are rounded by more
        assert rmse_gap(large, 90 * unit).high == pytest.approx((np.sqrt(1600 + 90**2 * SHARE) - 40) * unit, rel=0.02)
        shares = explained_gap(truth * unit, np.stack([errors, other]), 90 * unit)
        assert (shares.low, shares.high) == near(-SHARE * 90**2 / truth.var(), SHARE * 90**2 / truth.var())


def test_two_models_of_unlike_errors_reach_as_far_as_the_smaller_ones_root_moves() -> None:
    """The champion is off by 1 and the challenger by 2 on every row: moves are alike, of 4 / 4 less 1 / 2, and reach to 9² / 2."""
    made = rmse_gap(np.ones((2, ROWS)) * [[1.0], [2.0]], 9.0)
    far = 81 / 2
    ghost_up, ghost_down = 4 * (far + 1 / 2), 2 * (far + 4 / 4)  # squares of the one that is far off on the unseen row
    assert made.value == pytest.approx(1.0)
    highest, lowest = np.sqrt(4 + SHARE * (ghost_up - 4)) - 1, 2 - np.sqrt(1 + SHARE * (ghost_down - 1))
    assert (made.low, made.value, made.high) == near(lowest, 1.0, highest)


def test_macro_f1_knows_which_model_is_which_and_which_label_is_true() -> None:
    """The challenger is always right; the champion takes a third of label 2 for label 0, and never label 1 for another."""
    truth = np.resize([0, 1, 2], 270)
    champion = np.where((truth == 2) & (np.arange(270) % 9 == 2), 0, truth)
    made = paired.macro_f1_gap(truth, truth, champion, 3, rng=np.random.default_rng(0))
    missed = 1 / 3
    by_hand = (2 / (2 + missed) + 1.0 + 2 * (1 - missed) / (2 - missed)) / 3
    assert made.value == pytest.approx(1 - by_hand) and 0 < made.low < made.value < made.high
    narrow = paired.macro_f1_gap(truth, truth, champion, 3, rng=np.random.default_rng(0), confidence=0.8)
    assert made.low < narrow.low < narrow.value < narrow.high < made.high
