"""Means of errors without a largest value: they cover what they claim, at tails of every weight, and few or like errors leave doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from answers_kit import NUMBER, numbers, rivals_of_numbers

from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.entities import f1, interval, precision, recall
from trustbase.audit.quality_number import audit_number
from trustbase.audit.resampled import at_the_edge
from trustbase.audit.stats import normal_quantile, proportion
from trustbase.audit.tails import explained, mean_move, mean_size, mean_size_bounds, reach, root_mean_square
from trustbase.records import Decision, Finding, Split

DRAWN: dict[str, tuple[Callable[[np.random.Generator, Any], Any], float, float]] = {  # errors, their mean size, their root mean square
    "normal": (lambda rng, shape: rng.normal(size=shape), np.sqrt(2 / np.pi), 1.0),
    "laplace": (lambda rng, shape: rng.laplace(size=shape), 1.0, np.sqrt(2)),
    "lognormal": (lambda rng, shape: rng.lognormal(0, 1, shape) - np.exp(0.5), 1.2628, np.sqrt(np.e**2 - np.e)),
}


def audited(errors: Any, folder: Path) -> dict[str, Finding]:
    n = len(errors)
    truth, texts = np.arange(n, dtype=float), [str(row) for row in range(n)]
    test = Split("test", texts, truth, {}, pa.table({"text": texts}), np.arange(1, n + 1), "made", "sha256:0")
    told = truth + np.array(errors, float)
    context = AuditContext(test, NUMBER, Decision(None, "conformal"), Answers(told[:, None], told), Evidence(folder), 0)
    return {finding.id: finding for finding in audit_number(context)}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("rows", [20, 50, 200])
def test_intervals_of_errors_cover_what_they_claim(name: str, rows: int) -> None:
    """1,000 draws; BCa, which was here before, held the root mean square of log-normal errors in 60, 68 and 80 %."""
    draw, size, root = DRAWN[name]
    errors = np.abs(draw(np.random.default_rng(rows), (1000, rows)))
    for power, true in ((1, size), (2, root)):
        low, high = mean_size_bounds(errors, 0.0, normal_quantile(0.95), power=power)
        held, above = ((low <= true) & (true <= high)).mean(), (true > high).mean()
        assert 0.91 <= held <= 0.985 and above <= 0.05, (power, held, above)


def test_intervals_of_many_well_behaved_errors_are_no_wider_than_they_need_be() -> None:
    errors = np.random.default_rng(0).normal(size=1000)
    mean, root = mean_size(np.abs(errors), 0.0), root_mean_square(errors, 0.0)
    assert mean.high - mean.low < 1.1 * 2 * 1.96 * np.sqrt((1 - 2 / np.pi) / 1000)
    assert root.high - root.low < 1.5 * 2 * 1.96 / np.sqrt(2000)
    wide = mean_size(np.abs(errors), 0.0, confidence=0.99)
    assert wide.low < mean.low and mean.high < wide.high


def test_an_unseen_row_lies_where_the_largest_point_to() -> None:
    rng = np.random.default_rng(0)
    light, heavy = rng.uniform(0, 1, 2000), rng.pareto(3, 2000) + 1
    top = np.sort(heavy)[-46:]  # the square root of 2,000, rounded up, and the one below
    tail = np.log(top[1:] / top[0]).mean()
    assert reach(heavy) == pytest.approx(np.clip(top[0] * (45 * 25) ** tail, 1.2684 * top[-1], 4 * top[-1]), rel=1e-3)
    assert reach(light) == pytest.approx((1 + 12 / np.sqrt(2000)) * light.max()) and reach(light[:20]) > 3 * light[:20].max()
    assert reach(np.r_[np.zeros(399), 5.0]) == 20.0, "where most count nothing the tail cannot be told"
    assert reach(np.zeros(30), 7.0) == 7.0 and reach(np.full(30, 2.0), 7.0) == 7.0 and reach(np.full(30, 2.0), 1.0) > 2.0
    assert reach(np.stack([light, heavy])).shape == (2,)


def test_few_errors_claim_nothing_and_like_ones_leave_doubt(tmp_path: Path) -> None:
    for errors in ([2, -2, 2, 2], [0.1, 9, 0.2], [0.0] * 19):
        few = audited(errors, tmp_path)
        assert {few[f"quality.{name}"].status for name in ("mae", "rmse", "r2")} == {"insufficient"}
        assert few["quality.mae"].value is None and f"{len(errors)} rows, fewer than" in few["quality.mae"].reason
    alike, none = audited([2, -2] * 30, tmp_path), audited([0.0] * 60, tmp_path)
    for name in ("mae", "rmse"):
        same, nothing = alike[f"quality.{name}"], none[f"quality.{name}"]
        assert same.value == 2.0 and 0 <= same.low < 2.0 < same.high and nothing.low == nothing.value == 0.0 < nothing.high
    assert none["quality.r2"].value == none["quality.r2"].high == 1.0 and none["quality.r2"].low < 1.0
    assert audited([2, -2] * 24, tmp_path)["quality.r2"].status == "insufficient", "R² asks for 50 rows"
    assert mean_size(np.r_[np.full(28, 1e-3), 3, 5], 10.0).low >= 0.0
    with pytest.raises(ValueError, match="no variance to explain"):
        explained(np.ones(60), np.arange(60.0))
    with pytest.raises(ValueError, match="at least two finite"):
        mean_size(np.array([1.0, np.nan]), 1.0)


def test_gains_of_few_rows_claim_nothing_and_like_gains_leave_doubt(tmp_path: Path) -> None:
    few = numbers(tmp_path, 19)
    told = {finding.id: finding for finding in audit_number(replace(few, train=few.test, rivals=rivals_of_numbers(few)))}
    assert told["quality.gain_over_mean"].status == "insufficient"
    made = mean_move(np.full(40, -1.5), 20.0)
    assert made.low < made.value == -1.5 < made.high and made.low > -20


def test_the_share_explained_turns_with_what_is_explained() -> None:
    """Shifting and scaling both numbers changes nothing; answers that fit better give a higher interval; bounds lie at most at 1."""
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 5, 200)
    near, far = truth + rng.normal(0, 1, 200), truth + rng.normal(0, 4, 200)
    one, moved = explained(truth, near), explained(-1000 * truth + 3e4, -1000 * near + 3e4)
    assert (one.low, one.value, one.high) == pytest.approx((moved.low, moved.value, moved.high), rel=1e-6)
    worse = explained(truth, far)
    assert worse.high < one.low < one.value < one.high < 1 and one.high - one.low < 0.1


def test_f1_at_no_hit_is_as_unsure_as_one_of_relations_and_shares_are_not() -> None:
    """A row with a hit has at least one of a true and an answered entity for it, so F1 may reach 2p / (1 + p)."""
    sums = np.tile([0.0, 1.0, 1.0], (30, 1))
    p = proportion(0, 30).high
    made = {statistic: interval(sums, statistic, rng=np.random.default_rng(0), confidence=0.95) for statistic in (f1, precision, recall)}
    assert made[f1].high == pytest.approx(2 * p / (1 + p)) and made[precision].high == made[recall].high == pytest.approx(p)
    assert made[f1].high == at_the_edge(30, right=False, harmonic=True, confidence=0.95, what="a relation").high
    unanswered = np.r_[sums, np.tile([0.0, 0.0, 1.0], (30, 1))]
    assert interval(unanswered, precision, rng=np.random.default_rng(0), confidence=0.95).high == pytest.approx(p), "30 rows have answers"
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):  # entities that are missed, or found: F1 of 0.113 at a share of 0.06
        hit = (rng.random(30) < 0.06).astype(float)
        found = interval(np.stack([hit, hit, np.ones(30)], 1), f1, rng=rng, confidence=0.95)
        held += found.low <= 2 * 0.06 / 1.06 <= found.high
    assert held / 400 >= 0.93
