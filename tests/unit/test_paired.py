"""Differences of two models on the same rows: known values, other libraries, and what the intervals cover on known truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats as distributions
from sklearn import metrics

from trustbase import seeds
from trustbase.audit import paired, quality_scores
from trustbase.audit.stats import Interval
from trustbase.audit.turns import LEAST_TURNS, ask_in_turns

Rows = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]


def rows(rng: np.random.Generator, n: int, champion: float, challenger: float, apart: float, share: float) -> Rows:
    """Truth, and both models' probabilities of the positive label, which err on much the same rows."""
    truth = (rng.random(n) < share).astype(np.int64)
    common = rng.normal(size=n)
    other = (1 - apart) * common + apart * rng.normal(size=n)
    sign = 2 * truth - 1
    return truth, 1 / (1 + np.exp(-2 * (champion * sign + common))), 1 / (1 + np.exp(-2 * (challenger * sign + other)))


def every(of: Callable[..., Any], p: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    scores = np.stack([1 - p, p], axis=1)
    return np.stack([of(scores, np.full(len(p), label)) for label in (0, 1)], axis=1)


def answers(p: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (p >= 0.5).astype(np.int64)


# --- known values ------------------------------------------------------------------------------------------------------------


def test_mcnemar_is_the_binomial_test_of_one_half() -> None:
    assert paired.mcnemar_exact(1, 3) == pytest.approx(2 * (1 + 4) / 16)  # by hand: P(at most 1 of 4), twice
    assert paired.mcnemar_exact(0, 5) == pytest.approx(2 / 32)
    assert paired.mcnemar_exact(0, 0) == paired.mcnemar_exact(4, 4) == 1.0
    for first in range(0, 40, 3):
        for second in range(0, 40, 7):
            if first + second:
                expected = distributions.binomtest(first, first + second, 0.5).pvalue
                assert paired.mcnemar_exact(first, second) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        paired.mcnemar_exact(-1, 3)


def test_mcnemar_is_that_of_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    for first, second in ((3, 11), (0, 7), (25, 30)):
        assert paired.mcnemar_exact(first, second) == pytest.approx(tables.mcnemar([[50, first], [second, 20]], exact=True).pvalue)


def test_values_are_differences_of_what_scikit_learn_finds() -> None:
    truth, first, second = rows(np.random.default_rng(3), 700, 0.6, 0.9, 0.4, 0.35)
    area = paired.auroc_gap(truth == 1, second, first)
    assert area is not None
    assert area.value == pytest.approx(metrics.roc_auc_score(truth, second) - metrics.roc_auc_score(truth, first))
    loss = paired.loss_gap(every(quality_scores.log_losses, second), every(quality_scores.log_losses, first), truth)
    assert loss.value == pytest.approx(metrics.log_loss(truth, second) - metrics.log_loss(truth, first))
    brier = paired.loss_gap(every(quality_scores.brier_scores, second), every(quality_scores.brier_scores, first), truth)
    assert brier.value == pytest.approx(metrics.brier_score_loss(truth, second) - metrics.brier_score_loss(truth, first))
    macro = paired.macro_f1_gap(truth, answers(second), answers(first), 2, rng=np.random.default_rng(0))
    f1 = [metrics.f1_score(truth, answers(p), average="macro") for p in (second, first)]
    assert macro.value == pytest.approx(f1[0] - f1[1])
    for made in (area, loss, brier, macro):
        assert made.low < made.value < made.high and made.n == 700 and made.method and made.source


def test_costs_by_hand() -> None:
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 0] * 10)
    champion = np.array([0, 1, 1, 0, 0, 0, 0, 1] * 10)  # of eight rows one is missed and one a false alarm
    challenger = np.array([1, 1, 1, 0, 0, 0, 1, 1] * 10)  # none missed, two false alarms
    made = paired.cost_gap(truth, challenger, champion, 1, (5.0, 1.0))
    assert made.value == pytest.approx((2 * 1 - (5 + 1)) / 8) and made.high < 0
    alike = paired.cost_gap(truth, challenger, champion, 1, (2.0, 2.0))  # then only the number of errors counts, and both make two
    assert alike.value == 0 and alike.low == pytest.approx(-alike.high) and "Tango" in alike.method


def test_three_labels_and_equal_answers() -> None:
    rng = np.random.default_rng(5)
    truth, said = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    same = paired.macro_f1_gap(truth, said, said, 3, rng=np.random.default_rng(0), replicates=200)
    assert (same.low, same.value, same.high) == (0, 0, 0)
    once, again = (paired.macro_f1_gap(truth, truth, said, 3, rng=seeds.generator(7, "a"), replicates=200) for _ in range(2))
    assert once == again  # seeded
    assert once.value == pytest.approx(1 - metrics.f1_score(truth, said, average="macro"))


def test_no_spread_is_no_interval() -> None:
    truth = np.array([True] * 40 + [False] * 40)
    perfect = np.linspace(1, 0, 80)
    assert paired.auroc_gap(truth, perfect, perfect**2) is None  # another score, the same order


def test_the_area_has_about_the_bounds_of_a_stratified_bootstrap() -> None:
    truth, first, second = rows(np.random.default_rng(11), 900, 0.6, 0.7, 0.4, 0.4)
    made = paired.auroc_gap(truth == 1, second, first)
    assert made is not None
    rng, drawn = np.random.default_rng(0), []
    parts = [np.flatnonzero(truth == label) for label in (0, 1)]
    for _ in range(200):
        take = np.concatenate([rng.choice(part, part.size) for part in parts])
        drawn.append(metrics.roc_auc_score(truth[take], second[take]) - metrics.roc_auc_score(truth[take], first[take]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert made.low == pytest.approx(low, abs=0.2 * (high - low)) and made.high == pytest.approx(high, abs=0.2 * (high - low))


# --- coverage ----------------------------------------------------------------------------------------------------------------

WORLDS = (
    (0.8, 0.9, 0.3, 200, 0.40),  # some difference
    (1.5, 1.6, 0.2, 300, 0.15),  # both nearly without fault, few positives
    (0.8, 0.8, 0.1, 400, 0.40),  # nearly the same model
)
SIMULATIONS = 600
LEAST = 0.93 - 3 * math.sqrt(0.93 * 0.07 / SIMULATIONS)  # 0.899: three standard errors under 93 %, as docs/explanation/intervals.md has it


@pytest.mark.parametrize("world", WORLDS, ids=["apart", "rare", "alike"])
def test_intervals_cover_what_they_claim(world: tuple[float, float, float, int, float]) -> None:
    champion, challenger, apart, n, share = world
    rng = np.random.default_rng(17)

    def measure(truth: Any, first: Any, second: Any) -> dict[str, Interval | None]:
        said, other = answers(second), answers(first)
        turned = int((said != other).sum()) >= paired.LEAST_TURNED
        return {
            "auroc": paired.auroc_gap(truth == 1, second, first),
            "log_loss": paired.loss_gap(every(quality_scores.log_losses, second), every(quality_scores.log_losses, first), truth),
            "brier": paired.loss_gap(every(quality_scores.brier_scores, second), every(quality_scores.brier_scores, first), truth),
            "cost": paired.cost_gap(truth, said, other, 1, (5.0, 1.0)),
            "macro_f1": paired.macro_f1_gap(truth, said, other, 2, rng=rng, replicates=300) if turned else None,
        }

    truth, first, second = rows(rng, 200_000, champion, challenger, apart, share)
    true = {name: made.value for name, made in measure(truth, first, second).items() if made is not None}
    held = {name: [0, 0] for name in true}
    for _ in range(SIMULATIONS):
        for name, made in measure(*rows(rng, n, champion, challenger, apart, share)).items():
            if made is not None:
                held[name][0] += made.low <= true[name] <= made.high
                held[name][1] += 1
    shares = {name: inside / total for name, (inside, total) in held.items() if total >= SIMULATIONS // 2}
    assert {"auroc", "log_loss", "brier", "cost"} <= set(shares)
    assert min(shares.values()) >= LEAST, shares


# --- in turns ----------------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """Takes so many seconds for every character, and keeps a diary."""

    def __init__(self, name: str, clock: Clock, seconds: float, diary: list[str]) -> None:
        self.name, self.clock, self.seconds, self.diary = name, clock, seconds, diary

    def scores(self, texts: Any) -> Any:
        self.clock.now += self.seconds * sum(len(text) for text in texts)
        self.diary.append(f"{self.name}:{texts[0]}")
        return np.array([[0.5, 0.5]])

    def clear_cache(self) -> None:
        self.diary.append(f"{self.name}:forget")


def test_latency_is_that_of_the_same_rows_in_turns() -> None:
    clock, diary = Clock(), list[str]()
    first, second = Slow("a", clock, 0.001, diary), Slow("b", clock, 0.002, diary)
    texts = [("x" * size, "x" * size) for size in range(1, 41)]
    turns = ask_in_turns(first, second, texts, calls=60, seconds=1000, clock=clock)
    assert len(turns.champion) == len(turns.challenger) == 60
    assert turns.ratio() == pytest.approx((2, 2, 2)) and turns.champion[2] == pytest.approx(3.0)
    lengths = [*range(1, 41), *range(1, 21)]  # gone through again
    assert turns.medians() == pytest.approx((np.median(lengths), 2 * np.median(lengths)))
    asked = diary[10:18]  # after five rows to warm both
    assert asked == ["a:forget", "a:x", "b:forget", "b:x", "b:forget", "b:xx", "a:forget", "a:xx"]


def test_slow_models_take_few_turns_and_too_few_bound_nothing() -> None:
    clock, diary = Clock(), list[str]()
    first, second = Slow("a", clock, 10, diary), Slow("b", clock, 10, diary)
    turns = ask_in_turns(first, second, [("x", "x")], calls=500, seconds=1, clock=clock)
    assert len(turns.champion) == LEAST_TURNS
    assert ask_in_turns(first, second, [("x", "x")], calls=3, clock=clock).ratio()[1:] == (None, None)
