"""Intervals cover what they claim, by simulation on known truth.

The simulations are those of `benchmarks/interval_coverage.py`, on fewer cases. A 95 % interval must cover in 93 to 97 % of the draws; a
case may cover more, never less, only where its simulation gives a reason, and the cells where whole counts are the reason are listed here.
Widths of gaps are held against the percentile bootstrap's, so that safety is not bought with emptiness.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import simulate
import simulate_counts as counts
import simulate_scores as scores


def run(rows, at_least):
    """The rows, every one of which covers what it must."""
    rows = list(rows)
    assert len(rows) >= at_least
    for row in rows:
        print(row)
    assert [row for row in rows if not row.kept] == []
    return rows


def test_proportions_and_the_cells_where_whole_counts_leave_no_choice():
    rows = run(counts.proportions(400, np.random.default_rng(0)), 60)
    free = {kind: {row.case for row in rows if row.reason and row.interval == kind} for kind in {row.interval for row in rows}}
    fixed = {"n=30 p=0.02", "n=30 p=0.05", "n=50 p=0.02", "n=100 p=0.02"}  # about one or two successes are expected
    assert free == {"proportion": fixed, "proportion, rates near p": fixed | {"n=50 p=0.05"}}
    assert max(row.coverage for row in rows) <= 0.99
    for n, p in ((30, 0.02), (50, 0.02)):  # there no run of counts at all, however uneven its tails, has 93 to 97 %
        chance = np.append(0, np.cumsum(np.exp(simulate.binom.logpmf(np.arange(n + 1), n, p))))
        inside = chance[None, 1:] - chance[:-1, None]
        assert not ((inside >= 0.93) & (inside <= 0.97)).any()


def test_paired_differences():
    rows = run(counts.paired(1000, np.random.default_rng(0)), 20)
    assert [row.case for row in rows if row.reason] == ["n=30 p=0.03,0.02"]  # 1.5 rows are expected that say anything


def test_largest_gaps_and_smallest_ratios():
    cases = counts.gaps(
        1000, np.random.default_rng(0), groups=(2, 5), sizes=(30, 1000, "mixed"), rates=(0.02, 0.1, 0.5), steps=(0.0, 0.2), naive_draws=40
    )
    rows = run(cases, 100)
    gaps = [row for row in rows if row.interval == "largest gap"]
    wider = {row.case: row.width / row.naive_width for row in gaps}  # not bought with emptiness
    assert max(ratio for case, ratio in wider.items() if "p=0.02" not in case) <= 1.7
    assert max(wider.values()) <= 2.3  # where most small cells count 0, the plain bootstrap takes their rate for known
    assert np.median([row.width / row.naive_width for row in gaps]) <= 1.45
    null = [row for row in gaps if "groups=5 n=1000" in row.case and "+0.0 " in row.case]
    assert len(null) == 3
    assert max(row.naive_coverage for row in null) < 0.05  # what the plain bootstrap does: the simulation can fail an interval


def test_f1():
    rows = run(counts.f1(1000, np.random.default_rng(0), sizes=(100, 300, 1000, 5000)), 40)
    assert 25 <= sum(row.valid for row in rows) < len(rows)  # elsewhere the audit mostly says `insufficient`
    assert min(row.coverage for row in rows if not row.valid) < 0.9  # and rightly so


def test_expected_costs():
    rows = list(counts.costs(400, np.random.default_rng(0)))
    assert len(rows) == 96 and all(row.coverage >= simulate.LOWEST for row in rows)
    above = [row for row in rows if not row.kept]  # what is too much, where hardly any of the dear errors is expected, is not excused
    assert all(row.coverage <= 0.992 and _dear(row.case) <= 2 for row in above) and len(above) <= 24


def _dear(case: str) -> float:
    """How many of the dear errors are expected."""
    n, shares = case.split()[:2]
    return int(n.removeprefix("n=")) * float(shares.removeprefix("shares=").split(",")[0])


def test_worst_slices():
    rows = run(counts.worst_slices(1000, np.random.default_rng(0), cases=((2, 30), (20, 30), (5, 100))), 18)
    assert all(row.width < (0.45 if "of 30 " in row.case else 0.25) for row in rows)


def test_latencies_and_throughput_and_token_shares():
    rows = run(counts.latencies(200, np.random.default_rng(0), sizes=(30, 100, 500)), 6)
    assert {row.interval for row in rows} == {f"latency, {q} quantile" for q in ("50%", "95%", "99%")}
    run(counts.throughput(400, np.random.default_rng(0)), 15)
    run(counts.text_lengths(500, np.random.default_rng(0), sizes=(100, 300)), 6)
    run(counts.template_means(300, np.random.default_rng(0)), 4)
    rows = run(counts.document_means(300, np.random.default_rng(0), sizes=(100, 300)), 15)
    assert {row.interval for row in rows} == {"mean loss of texts", "tokens found in texts"}
    run(counts.token_shares(500, np.random.default_rng(0), sizes=(100,)), 3)


def test_rankings():
    sizes, metrics, shapes = ((30, 70), (30, 270)), ("area", "precision"), ("normal", "mixed")
    rows = run(scores.ranking(200, np.random.default_rng(0), sizes=sizes, shifts=(0.7, 1.8), metrics=metrics, shapes=shapes), 16)
    assert {row.case for row in rows if row.reason} == {f"positives=30 negatives={n} {s} shift=1.8" for n in (70, 270) for s in shapes}
    near = list(scores.ranking(200, np.random.default_rng(0), sizes=sizes[:1], shifts=(2.7,), shapes=shapes[:1], metrics=metrics))
    assert near[0].reason and near[0].coverage >= 0.93 and near[0].width < 0.09  # 0.97 with 30 positives: not bought with emptiness


def test_distances_and_recalls():
    run(scores.ranking(800, np.random.default_rng(0), sizes=((50, 120),), metrics=("ks",), shapes=("normal", "mixed")), 6)
    run(scores.ranking(500, np.random.default_rng(0), sizes=((30, 1000), (300, 1000)), metrics=("recall",), shapes=("normal",)), 12)


def test_macro_auroc():
    cases = ((3, (100, 60, 40)), (6, (30,) * 6))
    run(scores.macro_areas(1000, np.random.default_rng(0), cases=cases, shifts=(0.7, 1.8)), 4)


def test_calibration_error():
    rows = run(
        scores.calibration(
            300, np.random.default_rng(0), sizes=(300, 1000), patterns=("calibrated", "10 points over", "wavy"), kinds=("answered",)
        ),
        6,
    )
    assert all(row.width < 0.12 if "n=300" in row.case else row.width < 0.06 for row in rows)


def test_a_known_limit_of_the_calibration_error():
    """Scores of any size that are too extreme are covered more often than claimed: not excused, but no better than it is."""
    (row,) = scores.calibration(300, np.random.default_rng(0), sizes=(1000,), patterns=("slope 0.7",), kinds=("favourable",))
    assert not row.reason and 0.96 <= row.coverage <= 0.995


def test_mean_losses():
    rows = run(scores.losses(400, np.random.default_rng(0), sizes=(300, 1000), bases=(0.02, 0.1, 0.5)), 10)
    assert 0.94 <= np.mean([row.coverage for row in rows]) <= 0.96


def test_calibration_gaps_of_groups():
    rows = run(scores.calibration_gaps(1000, np.random.default_rng(0), sizes=(30, 100, 300)), 24)
    assert not any(row.reason for row in rows)


@pytest.mark.parametrize("wrong", [0.85, 1.3])
def test_the_simulation_sees_a_wrong_interval(wrong):
    """Bounds for another confidence must leave the band, or the tests above could not fail."""
    rng = np.random.default_rng(0)
    low, high = simulate.stats.proportion_bounds(rng.binomial(300, 0.2, 20_000), 300, simulate.Z * wrong)
    assert not simulate.row("proportion", "n=300 p=0.2", low, high, 0.2).kept
