"""Values against scikit-learn, published examples and plain loops; edges; refusals."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize_scalar
from scipy.stats import studentized_range
from sklearn import metrics

from trustbase.audit import contrasts, counts, ranks, reliability, stats
from trustbase.audit.contrasts import Rates
from trustbase.audit.options import AuditOptions


def test_proportions_equal_published_examples():
    # Newcombe (1998), Statist. Med. 17, 857, table I: 81/263, 15/148, 0/20 and 1/29, mid-P and score method without correction
    made = stats.proportion(81, 263)
    assert (made.low, made.value, made.high) == pytest.approx((0.2544, 81 / 263, 0.3658), abs=5e-5)
    quantile = stats.normal_quantile(0.95)
    for bounds, expected in (
        (stats.proportion_bounds, [(0.2544, 0.3658), (0.0601, 0.1581), (0.0, 0.1391), (0.0017, 0.1585)]),
        (stats.wilson_bounds, [(0.2553, 0.3662), (0.0624, 0.1605), (0.0, 0.1611), (0.0061, 0.1718)]),
    ):
        low, high = bounds([81, 15, 0, 1], [263, 148, 20, 29], quantile)
        assert np.column_stack([low, high]) == pytest.approx(np.array(expected), abs=6e-5)
    assert stats.proportion(20, 20).high == 1
    assert [bound.tolist() for bound in stats.proportion_bounds([0], [0], quantile)] == [[0], [1]]


def test_a_tilted_share_of_ones_is_wilsons_and_heavier_tails_reach_further():
    quantile = stats.normal_quantile(0.95)
    for ones, n in ((0, 40), (3, 40), (39, 40), (1, 1000)):
        row = np.arange(n) < ones
        low, high = stats.bounded_mean_bounds(row.astype(float), 0.0, 1.0, quantile)
        assert (float(low), float(high)) == pytest.approx([float(b) for b in stats.wilson_bounds(ones, n, quantile)], abs=1e-9)
    x = np.random.default_rng(0).exponential(1, 400)
    made = stats.bounded_mean(x, 0.0, float(x.max()))
    assert made.high - made.value > made.value - made.low  # a worse truth would have the longer tail
    assert made.high - made.low == pytest.approx(2 * quantile * x.std() / 20, rel=0.07)


def _score(won, lost, n, delta):
    """Tango's score, its constrained likelihood maximised numerically instead of by the closed form."""

    def loss(q):  # q = P(only the other is right); P(only this one) is q + delta
        p = q + delta
        return -(won * np.log(p) + lost * np.log(q) + (n - won - lost) * np.log(1 - p - q))

    q = minimize_scalar(loss, bounds=(max(0, -delta) + 1e-9, (1 - delta) / 2 - 1e-9), method="bounded", options={"xatol": 1e-10}).x
    return (won - lost - n * delta) / np.sqrt(n * (2 * q + delta - delta**2))


def test_tango_equals_its_closed_form_and_known_bounds():
    # without discordant rows the score interval is ± z² / (n + z²) (Tango 1998, section 2)
    z2 = stats.normal_quantile(0.95) ** 2
    same = stats.paired_difference([True] * 10, [True] * 10)
    assert (same.low, same.value, same.high) == pytest.approx((-z2 / (10 + z2), 0, z2 / (10 + z2)))
    low, high = stats.tango_bounds(1, 3, 44, stats.normal_quantile(0.95))
    for delta, sign in ((float(low), 1), (float(high), -1)):
        assert _score(1, 3, 44, delta) == pytest.approx(sign * stats.normal_quantile(0.95), abs=1e-3)
    swapped = stats.tango_bounds(3, 1, 44, stats.normal_quantile(0.95))
    assert (-float(swapped[1]), -float(swapped[0])) == pytest.approx((float(low), float(high)))


@pytest.mark.parametrize("seed", range(4))
def test_ranking_values_equal_scikit_learn_with_ties(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(400) < 0.3
    score = np.round(rng.normal(0, 1, 400) + truth, seed)  # seed 0 has hardly more than five distinct scores
    assert ranks.auroc(truth, score).value == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-12)
    assert ranks.auprc(truth, score).value == pytest.approx(metrics.average_precision_score(truth, score), abs=1e-12)
    fpr, tpr, _ = metrics.roc_curve(truth, score, drop_intermediate=False)
    assert ranks.ks(truth, score, rng=rng).value == pytest.approx(np.abs(tpr - fpr).max(), abs=1e-12)
    for rate in (0.01, 0.05, 0.3):
        assert ranks.recall_at_fpr(truth, score, rate, rng=rng).value == pytest.approx(tpr[fpr <= rate].max(), abs=1e-12)


def test_the_short_bootstrap_of_recall_is_that_of_drawn_rows():
    rng = np.random.default_rng(0)
    truth = np.arange(800) < 200
    score = np.round(rng.normal(0, 1, 800) + 1.5 * truth, 2)
    made = ranks.recall_at_fpr(truth, score, 0.05, rng=rng, replicates=20_000)
    drawn = []
    for _ in range(1500):
        rows = np.concatenate([rng.integers(0, 200, 200), rng.integers(200, 800, 600)])
        fpr, tpr, _ = metrics.roc_curve(truth[rows], score[rows], drop_intermediate=False)
        drawn.append(tpr[fpr <= 0.05].max())
    low, high = ranks.logit_bounds(made.value, np.std(drawn), stats.normal_quantile(0.95))
    assert made.high - made.low == pytest.approx(high - low, rel=0.06)


def test_the_variance_of_average_precision_is_that_of_the_jackknife():
    rng = np.random.default_rng(0)
    truth = np.arange(600) < 180
    score = np.round(rng.normal(0, 1, 600) + 1.5 * truth, 2)
    made = ranks.auprc(truth, score)
    without = np.array([ranks.auprc(np.delete(truth, i), np.delete(score, i)).value for i in range(600)])
    error = np.sqrt(599 / 600 * ((without - without.mean()) ** 2).sum())
    low, high = ranks.logit_bounds(made.value, error, stats.normal_quantile(0.95))
    assert made.high - made.low == pytest.approx(high - low, rel=0.03)


def test_a_perfect_ranking_is_not_certain():
    truth = np.arange(200) < 40
    for made in (ranks.auroc(truth, truth), ranks.auprc(truth, truth)):
        assert made.value == made.high == 1
        assert 0.8 < made.low < 1


@pytest.mark.parametrize(("positives", "rows"), [(1, 10_000), (2, 100_000), (1, 2)])
@pytest.mark.parametrize("shift", [-9.0, 0.0, 3.0, 9.0])
def test_one_positive_in_very_many_rows_is_uncertain_and_never_an_overflow(positives, rows, shift):
    truth = np.arange(rows) < positives
    score = np.random.default_rng(0).normal(0, 1, rows) + shift * truth
    for made in (ranks.auroc(truth, score), ranks.auprc(truth, score)):
        assert 0 <= made.low <= made.value <= made.high <= 1
        assert np.isfinite([made.low, made.high]).all()
    assert ranks.auroc(truth, score).high - ranks.auroc(truth, score).low > 0.3


def test_rare_positives_are_bounded_as_far_as_their_number_allows():
    truth = np.arange(20_000) < 30
    score = np.random.default_rng(0).normal(0, 1, 20_000) + 4.5 * truth  # 0.999: the logit runs away
    made = ranks.auroc(truth, score)
    assert made.value > 0.99
    assert 0.9 < made.low < made.value - 0.005


def test_a_constant_sample_is_not_certain():
    z2 = stats.normal_quantile(0.95) ** 2
    none = stats.bounded_mean(np.zeros(40), 0.0, 5.0)
    assert (none.low, none.value, none.high) == pytest.approx((0, 0, 5 * z2 / (40 + z2)))  # Wilson's bound of 0 of 40, times the most
    cost = stats.mean_of_costs([0, 0], [5.0, 1.0], 40)
    assert cost.low == cost.value == 0
    assert 4 * z2 / (40 + z2) < cost.high < 5 * z2 / (40 + z2)  # nearly all as if the errors never seen were the dear ones
    usual = np.clip(np.random.default_rng(0).normal(0.2, 0.3, 2000), -1, 1)
    spread, plain = stats.bounded_mean(usual, -1, 1), stats.mean(usual)
    assert (spread.low, spread.high) == pytest.approx((plain.low, plain.high), abs=3e-4)  # and many rows speak for themselves


def test_a_mean_cost_of_one_kind_is_a_proportion():
    one, rate = stats.mean_of_costs([13], [2.0], 90), stats.proportion(13, 90)
    assert (one.low, one.value, one.high) == pytest.approx((2 * rate.low, 2 * rate.value, 2 * rate.high))
    both = stats.mean_of_costs([7, 6], [2.0, 2.0], 90)  # the same errors told apart by their kind
    assert (both.low, both.high) == (one.low, one.high)
    unequal = stats.mean_of_costs([13, 0], [2.0, 1e-9], 90)
    assert (unequal.low, unequal.high) == pytest.approx((one.low, one.high), abs=0.03)


@pytest.mark.parametrize("classes", [2, 5])
def test_count_metrics_equal_scikit_learn(classes):
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, 500)
    answer = np.where(rng.random(500) < 0.7, truth, rng.integers(0, classes, 500))
    made = counts.classification_intervals(counts.confusion_counts(truth, answer, classes))
    assert made.accuracy.value == pytest.approx(metrics.accuracy_score(truth, answer))
    for name in ("macro", "micro", "weighted"):
        assert getattr(made, f"{name}_f1").value == pytest.approx(metrics.f1_score(truth, answer, average=name), abs=1e-12)
    p, r, f, _ = metrics.precision_recall_fscore_support(truth, answer)
    assert [i.value for i in made.precision] == pytest.approx(p)
    assert [i.value for i in made.recall] == pytest.approx(r)
    assert [i.value for i in made.f1] == pytest.approx(f)


def test_the_spread_of_macro_and_weighted_f1_is_that_of_resampled_cells():
    confusion = np.array([[400, 60, 20], [50, 500, 40], [30, 60, 840]])
    made = counts.classification_intervals(confusion)
    n = confusion.sum()
    drawn = np.random.default_rng(0).multinomial(n, confusion.ravel() / n, 20000).reshape(-1, 3, 3).astype(float)
    for name in ("macro_f1", "weighted_f1"):
        interval = getattr(made, name)
        low, high = np.quantile(counts.f1_scores(drawn)[name], [0.025, 0.975])
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.001)


def test_a_class_that_never_occurs_is_zero_with_nothing_known():
    made = counts.classification_intervals(np.array([[5, 5, 0], [5, 5, 0], [0, 0, 0]]))
    assert (made.f1[2].low, made.f1[2].value, made.f1[2].high) == (0, 0, 1)
    assert (made.recall[2].low, made.recall[2].high, made.recall[2].n) == (0, 1, 0)
    assert made.macro_f1.value == pytest.approx(1 / 3)


def test_calibration_error_equals_a_plain_loop_and_its_curve():
    rng = np.random.default_rng(0)
    sure = np.append(rng.random(999), 1.0)
    right = rng.random(1000) < sure**2
    made = reliability.expected_calibration_error(sure, right, bins=10, rng=rng)
    total = 0.0
    for b in range(10):
        inside = (sure >= b / 10) & ((sure < (b + 1) / 10) | (b == 9))
        total += inside.sum() / 1000 * abs(right[inside].mean() - sure[inside].mean())
    assert made.value == pytest.approx(total, abs=1e-12)
    curve = reliability.reliability_curve(sure, right, bins=10)
    assert sum(row["n"] for row in curve) == 1000
    assert sum(row["n"] / 1000 * abs(row["accuracy"] - row["confidence"]) for row in curve) == pytest.approx(total)
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in curve)


def test_calibration_error_of_a_calibrated_model_reaches_down_to_zero():
    rng = np.random.default_rng(3)
    sure = 0.5 + rng.random(2000) / 2
    made = reliability.expected_calibration_error(sure, rng.random(2000) < sure, rng=rng)
    assert made.value > 0.005
    assert made.low == 0


def test_bootstrap_has_the_standard_error_of_a_mean_and_keeps_strata():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, 300)
    drawn = stats.bootstrap(lambda w: w @ x / w.sum(-1), 300, replicates=4000, rng=rng)
    assert drawn.std() == pytest.approx(x.std() / np.sqrt(300), rel=0.05)
    strata = (np.arange(300) < 20).astype(np.int64)
    kept = stats.bootstrap(lambda w: w[:, :20].sum(-1), 300, replicates=50, rng=rng, strata=strata)
    assert (kept == 20).all()


def test_bootstrap_is_the_same_for_a_seed():
    again = [stats.bootstrap(lambda w: w[:, 0], 40, replicates=30, rng=np.random.default_rng(5)) for _ in range(2)]
    assert (again[0] == again[1]).all()


def test_critical_values_are_those_of_the_studentised_range():
    for groups in (2, 3, 10):
        expected = studentized_range.ppf(0.975, groups, np.inf) / np.sqrt(2)
        assert contrasts._critical((groups,), 0.95) == pytest.approx(expected, abs=1e-6)
    both = contrasts._critical((3, 5), 0.95)
    shares = [studentized_range.cdf(both * np.sqrt(2), groups, np.inf) for groups in (3, 5)]
    assert np.prod(shares) == pytest.approx(0.975, abs=1e-6)


def test_bounds_of_two_groups_stand_beside_newcombes():
    # Newcombe (1998), Statist. Med. 17, 873, table II: 56/70 against 48/80, method 10 (Wilson bounds): 0.0524 to 0.3339
    made = contrasts.gap_bounds(Rates.of([56, 48], [70, 80]))
    assert float(made.high) == pytest.approx(0.3339, abs=0.01)
    assert 0 < float(made.low) < 0.0524  # the sign is not known beforehand, so the lower bound pays for both


def test_the_order_of_groups_does_not_matter():
    rng = np.random.default_rng(0)
    n = rng.integers(30, 500, 6)
    k = rng.binomial(n, 0.3)
    order = rng.permutation(6)
    for bounds in (contrasts.gap_bounds, contrasts.ratio_bounds):
        a, b = bounds(Rates.of(k, n)), bounds(Rates.of(k[order], n[order]))
        assert [float(x) for x in (a.low, a.value, a.high)] == pytest.approx([float(x) for x in (b.low, b.value, b.high)])


small_counts = hnp.arrays(np.int64, st.integers(2, 6), elements=st.integers(1, 80))


@given(small_counts, st.integers(0, 2**31), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=80, deadline=None)
def test_every_bound_encloses_its_value(n, seed, confidence):
    rng = np.random.default_rng(seed)
    first, second = (Rates.of(rng.binomial(n, rng.choice([0, 0.02, 0.5, 1.0])), n) for _ in range(2))
    bounds = [
        contrasts.gap_bounds(first, confidence=confidence),
        contrasts.worst_gap_bounds([first, second], confidence=confidence),
        contrasts.mean_gap_bounds(first, second, confidence=confidence),
        contrasts.ratio_bounds(first, confidence=confidence),
    ]
    for made in bounds:
        assert np.isnan(made.value) or 0 <= made.low <= made.value <= made.high <= 1
    confusion = rng.integers(0, 5, (3, 3))
    confusion[0, 0] += 1
    classified = counts.classification_intervals(confusion, confidence=confidence)
    for interval in (classified.macro_f1, classified.weighted_f1, *classified.f1):
        assert 0 <= interval.low <= interval.value <= interval.high <= 1


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: stats.proportion(0, 0), "n > 0"),
        (lambda: stats.proportion(5, 4), "5 of 4"),
        (lambda: stats.mean([1.0]), "two finite values"),
        (lambda: stats.mean([1.0, np.nan]), "1 not finite"),
        (lambda: stats.mean_of_costs([3, 3], [1, 1], 5), "counts of at most n"),
        (lambda: stats.paired_difference([True], [True, False]), "same rows twice"),
        (lambda: ranks.auroc([1, 1], [0.1, 0.2]), "both classes"),
        (lambda: ranks.auprc([1, 0], [0.1, np.inf]), "not finite"),
        (lambda: Rates.of([1], [2]), "two groups"),
        (lambda: Rates.of([1, 3], [2, 2]), "0 <= successes <= n"),
        (lambda: counts.classification_intervals(np.zeros((2, 2))), "without rows"),
        (lambda: reliability.expected_calibration_error([1.2], [1], rng=np.random.default_rng(0)), r"scores in \[0, 1\]"),
        (lambda: stats.Interval(0.5, 0.4, "m", "s", 0.3, 3), "low <= value <= high"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_an_interval_becomes_a_finding():
    finding = stats.proportion(80, 100).finding("quality.accuracy", direction="higher")
    assert json.loads(json.dumps(finding.to_json()))["n"] == 100
    assert (finding.low, finding.value, finding.high) == (stats.proportion(80, 100).low, 0.8, stats.proportion(80, 100).high)


def test_options_take_a_list_and_refuse_what_makes_no_sense():
    assert AuditOptions.model_validate(["quality", "fairness"]).dimensions == ["quality", "fairness"]
    assert AuditOptions().minimum_cell == 30
    for bad in (
        ["quality", "quality"],
        [],
        {"confidense": 0.9},
        {"confidence": 1.0},
        {"minimum_cell": 1},
        ["speed"],
        {"cost": {"watts": -1}},
    ):
        with pytest.raises(ValueError):
            AuditOptions.model_validate(bad)


def test_rows_that_lie_close_together_leave_room_on_both_sides_whatever_the_far_bound() -> None:
    rng = np.random.default_rng(0)
    below = above = 0
    for _ in range(300):
        made = stats.bounded_mean(rng.uniform(0.1, 0.3, 100), 0.0, 36.0)
        assert made.low < made.value < made.high
        below, above = below + (made.low > 0.2), above + (made.high < 0.2)
    assert below <= 16 and above <= 16, "each side misses the truth in 2.5 % of samples, 7.5 of 300"
