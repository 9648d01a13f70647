"""Every kind of metric over entities: its natural bounds, whose rows weigh how much, and the jackknife in closed form."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from answers_kit import numbers
from scipy import stats as scipy_stats

from trustbase.audit.clustered import GROUPS, LEAST_ENTITIES, Entities, _widened, clustered, half_width, widening
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.quality_number import audit_number
from trustbase.records import Finding, Split

ENTITIES = Entities(np.arange(400) // 4, 100, 4.0)
FAR = list(np.resize([-1e4, 1e4], GROUPS))  # values that would widen any interval beyond what is possible


def split(codes: Any) -> Split:
    rows = len(codes)
    table = pa.table({"text": ["x"] * rows})
    return Split("test", ["x"] * rows, np.zeros(rows), {}, table, np.arange(rows), "made", "sha256:0", entities=np.asarray(codes))


@pytest.mark.parametrize(
    ("metric", "numeric", "least", "most"),
    [
        ("quality.accuracy", False, 0.0, 1.0),
        ("quality.macro_f1", False, 0.0, 1.0),
        ("quality.gain_over_majority", False, -1.0, 1.0),
        ("quality.gain_over_shared_words", False, -1.0, 1.0),
        ("fairness.calibration_gap[sex=f]", False, -1.0, 1.0),
        ("fairness.accuracy_difference[sex]", False, 0.0, 1.0),
        ("quality.log_loss", False, 0.0, math.inf),
        ("quality.expected_cost", False, 0.0, math.inf),
        ("quality.brier", False, 0.0, math.inf),
        ("quality.rmse", True, 0.0, math.inf),
        ("quality.worst_slice_mae", True, 0.0, math.inf),
        ("quality.r2", True, -math.inf, 1.0),
        ("quality.interval_coverage", True, 0.0, 1.0),
        ("quality.gain_over_mean", True, -math.inf, math.inf),
        ("fairness.mean_error[sex=f]", True, -math.inf, math.inf),
        ("fairness.mean_prediction[sex=f]", True, -math.inf, math.inf),
        ("fairness.mean_error_difference[sex]", True, 0.0, math.inf),
        ("fairness.mean_prediction_difference[sex]", True, 0.0, math.inf),
        ("fairness.interval_coverage_difference[sex]", True, 0.0, 1.0),
    ],
)
def test_an_interval_is_widened_to_what_its_metric_can_be_and_no_further(metric: str, numeric: bool, least: float, most: float) -> None:
    found = _widened(Finding(metric, 0.5, 0.4, 0.6, n=400, method="m", confidence=0.95), FAR, GROUPS, ENTITIES, numeric)
    assert found.low is not None and found.high is not None and found.value == 0.5
    assert (found.low if math.isfinite(least) else -math.inf if found.low < -1000 else found.low) == least
    assert (found.high if math.isfinite(most) else math.inf if found.high > 1000 else found.high) == most


def test_what_lies_beyond_its_bounds_already_is_never_narrowed() -> None:
    found = _widened(Finding("quality.rmse", 0.5, -0.1, 0.6, n=400, method="m", confidence=0.95), FAR, GROUPS, ENTITIES, True)
    assert found.low == -0.1


@pytest.mark.parametrize(
    ("bounds", "half"),
    [
        ((0.3, 0.5), 0.1),  # 0.4, in the middle of what is possible
        ((0.0, 0.5), 0.25),  # ends where nothing is possible below: what is above, or half of all, the larger
        ((0.0, 0.9), 0.5),
        ((0.35, 1.0), 0.325),
        ((0.1, 1.0), 0.45),
        ((0.0, 1.0), 0.5),  # ends at both: nothing to learn from either side
    ],
)
def test_how_far_an_interval_reaches_to_a_side(bounds: tuple[float, float], half: float) -> None:
    assert half_width(0.4, *bounds, 0.0, 1.0) == pytest.approx(half)
    low, high = bounds
    assert half_width(0.6, 1 - high, 1 - low, 0.0, 1.0) == pytest.approx(half), "the same from the other end"


def test_of_a_mean_over_equal_parts_the_jackknife_is_students_interval() -> None:
    """Leaving out one of G equal parts in turn gives the standard error of the mean of the G parts' own means."""
    rng = np.random.default_rng(0)
    for confidence in (0.9, 0.95):
        means = rng.normal(0.6, 0.2, GROUPS)
        without = (means.sum() - means) / (GROUPS - 1)
        low, high = scipy_stats.t.interval(confidence, GROUPS - 1, means.mean(), scipy_stats.sem(means))
        value = float(means.mean())
        factor = widening(without.tolist(), value, value - 0.01, value + 0.01, confidence=confidence, weighted=3.0)
        assert factor == pytest.approx((high - low) / 0.02)
        assert widening(without.tolist(), value, value - 1, value + 1, confidence=confidence, weighted=3.0) == 1.0


def test_rows_of_an_entity_are_averaged_over_rows() -> None:
    """Of entities with 1 and 3 rows a row has 2.5 of its own on average: one row has 1, three have 3."""
    found = Entities.of(split([7, 7, 7, 2]))
    assert found is not None and (found.number, found.weighted) == (2, 2.5) and found.codes.tolist() == [1, 1, 1, 0]
    assert Entities.of(split([3, 1, 2])) is None and Entities.of(split([])) is None


def owned(folder: Path, *, entities: int, each: int = 5) -> AuditContext:
    """Numbers that are no better than the mean: all rows of an owner are off by much the same."""
    context = numbers(folder, entities * each, rows_like={"groups": False})
    rng = np.random.default_rng(4)
    told = context.test.labels + np.repeat(rng.normal(0, 20, entities), each) + rng.normal(0, 2, entities * each)
    flat = np.full(len(told), context.test.labels.mean())
    test = replace(context.test, entities=np.repeat(np.arange(entities), each))
    rivals = {"mean": Answers(flat[:, None], flat)}
    return replace(context, test=test, answers=Answers(told[:, None], told), rivals=rivals, train=context.test)


def test_r2_and_gains_over_owners_reach_below_zero_as_far_as_owners_drawn_again_say(tmp_path: Path) -> None:
    context = owned(tmp_path, entities=80)
    plain = audit_number(context)
    alone, found = ({item.id: item for item in some} for some in (plain, clustered(context, audit_number, plain)))
    truth, told, rival = context.test.labels, context.answers.predicted, context.rivals["mean"].predicted
    rng, drawn = np.random.default_rng(1), []
    for _ in range(1000):
        rows = (rng.integers(0, 80, 80)[:, None] * 5 + np.arange(5)).ravel()
        error = told[rows] - truth[rows]
        drawn.append((1 - (error**2).mean() / truth[rows].var(), (np.abs(rival[rows] - truth[rows]) - np.abs(error)).mean()))
    for name, values in zip(("r2", "gain_over_mean"), np.transpose(drawn), strict=True):
        one, other = alone[f"quality.{name}"], found[f"quality.{name}"]
        low, high = np.quantile(values, [0.025, 0.975])
        assert other.low < -0.1 < -1e-9 and other.low < low + 0.2 * (high - low), name  # type: ignore[operator]
        assert 0.8 < (other.high - other.low) / (high - low) < 1.9 and other.high - other.low > 1.2 * (one.high - one.low), name  # type: ignore[operator]


def test_as_few_entities_as_are_asked_for_suffice_and_each_is_a_part(tmp_path: Path) -> None:
    for entities, status in ((LEAST_ENTITIES - 1, "insufficient"), (LEAST_ENTITIES, "ok")):
        context = owned(tmp_path, entities=entities)
        found = {item.id: item for item in clustered(context, audit_number, audit_number(context))}
        assert found["quality.mae"].status == status, found["quality.mae"].reason
