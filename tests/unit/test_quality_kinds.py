"""Quality and fairness of numbers and of sets of labels against scikit-learn and SciPy, and their intervals by simulation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from answers_kit import labels, numbers, rivals_of_labels, rivals_of_numbers
from scipy import stats as scipy_stats
from sklearn import metrics

from trustbase.audit.by_group import largest_gap
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.fairness_labels import audit_labels as fair_labels
from trustbase.audit.fairness_number import audit_number as fair_numbers
from trustbase.audit.quality_labels import audit_labels, f1_of_sums, f1_sums
from trustbase.audit.quality_number import audit_number
from trustbase.audit.resampled import of_sums
from trustbase.audit.stats import Interval, mean
from trustbase.audit.tails import explained, farthest, mean_move, mean_size, root_mean_square
from trustbase.model.metrics import label_metrics, number_metrics
from trustbase.records import Finding
from trustbase.train.options import STOPPING_METRICS, STOPPING_OF


def of(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.id: finding for finding in findings}


def test_numbers_are_scikit_learns(tmp_path: Path) -> None:
    context = numbers(tmp_path)
    found, truth, told = of(audit_number(context)), context.test.labels, context.answers.predicted
    assert found["quality.rmse"].value == pytest.approx(metrics.root_mean_squared_error(truth, told))
    assert found["quality.mae"].value == pytest.approx(metrics.mean_absolute_error(truth, told))
    assert found["quality.r2"].value == pytest.approx(metrics.r2_score(truth, told))
    assert found["quality.interval_coverage"].value == (np.abs(told - truth) <= 8).mean()
    assert found["quality.interval_width"].value == 16 and {found["quality.mae"].unit, found["quality.rmse"].unit} == {"price"}


def test_numbers_far_from_zero_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1, 200)
    told = truth + rng.normal(0, 0.3, 200)
    near, far = explained(truth, told), explained(truth + 1e9, told + 1e9)
    assert near.value == pytest.approx(far.value, abs=1e-6) and near.low == pytest.approx(far.low, abs=1e-6)


def test_labels_are_scikit_learns(tmp_path: Path) -> None:
    context = labels(tmp_path, 3000)
    found, truth, told = of(audit_labels(context)), context.test.labels, context.answers.predicted
    assert found["quality.exact_match"].value == pytest.approx(metrics.accuracy_score(truth, told))
    assert found["quality.micro_f1"].value == pytest.approx(metrics.f1_score(truth, told, average="micro"))
    assert found["quality.macro_f1"].value == pytest.approx(metrics.f1_score(truth, told, average="macro"))
    assert found["quality.hamming_loss"].value == pytest.approx(metrics.hamming_loss(truth, told))
    each = [metrics.log_loss(truth[:, place], context.answers.scores[:, place]) for place in range(3)]  # type: ignore[index]
    assert found["quality.log_loss"].value == pytest.approx(np.mean(each))
    table = metrics.precision_recall_fscore_support(truth, told)
    for place, name in enumerate(context.labels.names):
        for row, metric in enumerate(("precision", "recall", "f1")):
            assert found[f"quality.{metric}[label={name}]"].value == pytest.approx(table[row][place]), (name, metric)


def test_a_label_that_nobody_has_or_gives_is_left_out_of_the_mean() -> None:
    truth = np.array([[True, False, False], [True, False, True]])
    told = np.array([[True, False, False], [False, False, True]])
    sums = f1_sums(told, truth).sum(axis=0)
    assert f1_of_sums(sums, micro=False) == pytest.approx(np.mean([2 / 3, 1.0]))
    assert f1_of_sums(sums, micro=True) == pytest.approx(metrics.f1_score(truth, told, average="micro"))
    assert np.isnan(f1_of_sums(np.zeros(9), micro=True)) and np.isnan(f1_of_sums(np.zeros(9), micro=False))


@pytest.mark.parametrize(("audit", "make"), [(audit_number, numbers), (audit_labels, labels)])
def test_nothing_is_made_of_answers_that_are_none(audit, make, tmp_path: Path) -> None:
    context: AuditContext = make(tmp_path)
    scores = np.array(context.answers.scores)
    scores[3] = np.nan if audit is audit_number else 1.5
    with pytest.raises(ValueError, match=r"not finite|no probabilities"):
        audit(replace(context, answers=Answers(scores, scores[:, 0] if audit is audit_number else scores > 0.5)))


def test_gains_are_paired_and_in_the_units_of_what_is_right(tmp_path: Path) -> None:
    context = numbers(tmp_path)
    found = of(audit_number(numbers(tmp_path, train=context.test, rivals=rivals_of_numbers(context))))
    truth = context.test.labels
    saved = np.abs(100 - truth) - np.abs(context.answers.predicted - truth)
    low, high = scipy_stats.t.interval(0.95, 599, saved.mean(), scipy_stats.sem(saved))
    gain = found["quality.gain_over_mean"]
    assert gain.value == pytest.approx(saved.mean()) and gain.unit == "price"
    assert gain.low == pytest.approx(low, abs=0.1 * (high - low)) and gain.high == pytest.approx(high, abs=0.1 * (high - low))
    assert found["quality.gain_over_boosting"].status == "failed"
    sets = labels(tmp_path)
    gain = of(audit_labels(labels(tmp_path, train=sets.test, rivals=rivals_of_labels(sets))))["quality.gain_over_majority"]
    ours, theirs = (sets.answers.predicted == sets.test.labels).all(1), ~sets.test.labels.any(1)
    assert gain.value == pytest.approx(ours.mean() - theirs.mean()) and gain.unit == "exact match"


def test_bca_is_scipys() -> None:
    """The same replicates are not drawn, so ends agree as far as 10,000 of them tell."""
    rng = np.random.default_rng(0)
    values = rng.lognormal(0, 1, 80)
    sums = np.stack([np.ones(80), values**2], axis=1)
    ours = of_sums(sums, lambda s: np.sqrt(s[..., 1] / s[..., 0]), rng=np.random.default_rng(1), replicates=10_000)
    theirs = scipy_stats.bootstrap(
        (values,), lambda x, axis: np.sqrt((x**2).mean(axis)), n_resamples=10_000, method="BCa", random_state=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(np.sqrt((values**2).mean()))
    assert abs(ours.low - theirs.low) < 0.06 * width and abs(ours.high - theirs.high) < 0.12 * width


def test_resampling_refuses_what_has_no_value_and_keeps_to_natural_bounds() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least two rows"):
        of_sums(np.ones((1, 2)), lambda s: s[..., 0], rng=rng)
    with pytest.raises(ValueError, match="not defined on these rows"):
        of_sums(np.zeros((9, 2)), lambda s: np.full(s.shape[:-1], np.nan), rng=rng)
    with pytest.raises(ValueError, match="resampled sets of rows only"):
        of_sums(np.eye(9), lambda s: np.where(s[..., :8].min(-1) > 0, 1.0, np.nan), rng=rng)
    bounded = of_sums(np.stack([np.ones(30), np.r_[np.zeros(1), np.ones(29)]], 1), lambda s: s[..., 1] / s[..., 0], rng=rng, most=1.0)
    assert bounded.low < bounded.value <= bounded.high <= 1.0


@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_intervals_of_squared_errors_cover_what_they_claim(metric: str) -> None:
    """300 samples of 120 rows with skewed errors; 95 % claimed, 2 standard errors of the simulation allowed below."""
    rng = np.random.default_rng(7)
    true = {"rmse": 3.0, "r2": 1 - 9 / 109}  # errors have variance 9, and truth is told with them taken away: 100 + 9
    covered = 0
    for _ in range(300):
        told, error = rng.normal(0, 10, 120), 3 * (rng.chisquare(4, 120) - 4) / np.sqrt(8)
        interval = root_mean_square(error, 20.0) if metric == "rmse" else explained(told + error, told)
        covered += interval.low <= true[metric] <= interval.high
    assert 0.95 - 2 * np.sqrt(0.05 * 0.95 / 300) <= covered / 300 <= 1


@pytest.mark.parametrize("shift", [0.0, 1.0])
@pytest.mark.parametrize("shipped", [mean_size, mean_move, mean], ids=["mae", "mean_error", "mean_prediction"])
def test_the_largest_gap_covers_what_it_claims(shipped: Callable[..., Interval], shift: float) -> None:
    """Three groups of unequal size, all alike or one apart: the interval holds the true largest gap at least as often as it says."""
    rng, alike = np.random.default_rng(3), {} if shipped is mean else {"alike": 0.0}
    covered, widths, draws = 0, [], 300
    for _ in range(draws):
        groups = [rng.exponential(1, n) - (shipped is mean_move) + (shift if n == 60 else 0) for n in (40, 60, 150)]
        gap = largest_gap([shipped(group, **alike, confidence=1 - 0.05 / 3) for group in groups])
        assert gap.low <= gap.value <= gap.high and gap.n == 250
        covered += gap.low <= shift <= gap.high
        widths.append(gap.high - gap.low)
    assert covered / draws >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / draws)
    needed = 2 * 2.39 * np.sqrt(1 / 40 + 1 / 60)  # of the two smallest groups, at a level for three pairs
    assert np.median(widths) < (1.5 if shipped is mean else 3) * needed, "not bought with emptiness"  # errors may have heavy tails


def test_groups_of_numbers_are_compared_by_what_they_get(tmp_path: Path) -> None:
    context = numbers(tmp_path, 900)
    found = of(fair_numbers(context))
    errors, south = context.answers.predicted - context.test.labels, context.test.groups["g"] == "S"
    north = context.test.groups["g"] == "N"
    assert found["fairness.mean_error[g=S]"].value == pytest.approx(errors[south].mean())
    gap = found["fairness.mean_error_difference[g]"]
    assert gap.value == pytest.approx(errors[south].mean() - errors[north].mean()) and gap.low > 0
    assert gap.n == int(south.sum() + north.sum())
    assert found["fairness.mae[g=T]"].status == "insufficient" and "T (4 rows)" in gap.reason
    assert found["fairness.interval_coverage[g=N]"].value == (np.abs(errors[north]) <= 8).mean()
    assert fair_numbers(numbers(tmp_path, rows_like={"groups": False}))[0].status == "not_applicable"


def test_gaps_and_slices_hold_for_all_of_them_at_once(tmp_path: Path) -> None:
    """Three groups have three pairs, so each one's interval is at 1 - 0.05 / 3; k slices are told at 1 - 0.05 / k."""
    context = numbers(tmp_path, 900)
    test, errors = context.test, np.abs(context.answers.predicted - context.test.labels)
    alike = farthest(test.labels, context.answers.predicted)
    group = np.random.default_rng(1).choice(["A", "B", "C"], 900).astype(object)
    context = replace(context, test=replace(test, groups={"g": group}))
    parts = [errors[group == name] for name in "ABC"]
    gap = of(fair_numbers(context))["fairness.mae_difference[g]"]
    wanted = largest_gap([mean_size(part, alike, confidence=1 - 0.05 / 3) for part in parts])
    alone = largest_gap([mean_size(part, alike, confidence=0.95) for part in parts])
    assert (gap.low, gap.value, gap.high) == pytest.approx((wanted.low, wanted.value, wanted.high)) and gap.high > 1.02 * alone.high
    told = of(audit_number(context))
    slices = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["slices"]
    assert len(slices) > 5
    for name, part in zip("ABC", parts, strict=True):
        (row,) = (row for row in slices if row["slice"] == {"g": name})
        made = mean_size(part, alike, confidence=1 - 0.05 / len(slices))
        assert (row["low"], row["mae"], row["high"]) == pytest.approx((made.low, made.value, made.high))
    worst = max(slices, key=lambda row: row["mae"])
    assert told["quality.worst_slice_mae"].low == worst["low"] and told["quality.worst_slice_mae"].value == worst["mae"]


def test_each_label_is_compared_as_a_task_of_two(tmp_path: Path) -> None:
    context = labels(tmp_path, 900)
    found = of(fair_labels(context))
    south, north = (context.test.groups["g"] == name for name in ("S", "N"))
    for place, name in enumerate(context.labels.names):
        share = context.answers.predicted[:, place]
        gap = found[f"fairness.demographic_parity_difference[g]#{name}"]
        assert gap.value == pytest.approx(abs(share[south].mean() - share[north].mean()))
    right = (context.answers.predicted == context.test.labels).all(1)
    assert found["fairness.exact_match[g=S]"].value == pytest.approx(right[south].mean())
    assert found["fairness.exact_match_difference[g]"].value == pytest.approx(abs(right[south].mean() - right[north].mean()))
    rare = found["fairness.equal_opportunity_difference[g]#L3"]
    assert rare.status == "insufficient" and "fewer than" in rare.reason


@pytest.mark.parametrize("kind", ["labels", "number"])
def test_what_training_watches_is_what_the_audit_measures(kind: str, tmp_path: Path) -> None:
    """Early stopping's values of one half as threshold, and of numbers in the unit they are given in, are the audit's."""
    if kind == "labels":
        context = labels(tmp_path, 3000)
        watched = label_metrics(context.test.labels.astype(np.float32), np.asarray(context.answers.scores))
        found = of(audit_labels(context))
    else:
        context = numbers(tmp_path)
        watched, found = number_metrics(context.test.labels, np.asarray(context.answers.scores)), of(audit_number(context))
    assert set(watched) == set(STOPPING_OF[kind]) <= set(STOPPING_METRICS) and next(iter(watched)) == STOPPING_OF[kind][0]
    for id, value in watched.items():
        assert value == pytest.approx(found[id].value, rel=1e-6), id
        assert found[id].direction == STOPPING_METRICS[id]
