"""How often intervals of withheld answers and prediction sets hold the truth, and how often planted defects are found, over many seeds.

Run: python benchmarks/shift.py [--draws 400] [--out benchmarks/results/shift.json]   (some minutes on one core; needs no model)

Rows are drawn with a true probability of their label. A model that tells it is calibrated; one that tells it sharpened (odds to a power
above 1) is over-confident. Rows whose truth is turned after thresholds were fitted are of another kind than those they were fitted on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trustbase.audit import stats
from trustbase.audit.ranks import auroc
from trustbase.audit.reliability import expected_calibration_error
from trustbase.audit.robustness.abstention import area, area_interval, threshold_of
from trustbase.audit.robustness.conformal import conformal_threshold, expected_coverage, prediction_sets

SHAPES = {"hard": (1.2, 0.8), "easy": (0.4, 0.2), "sure": (0.15, 0.05)}  # beta shapes of the true probability


def drawn(rng: np.random.Generator, rows: int, shape: str, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Told probabilities `(rows, 2)` and truth `(rows,)`."""
    real = rng.beta(*SHAPES[shape], rows)
    truth = (rng.random(rows) < real).astype(int)
    told = real**sharpness / (real**sharpness + (1 - real) ** sharpness)
    return np.stack([1 - told, told], axis=1), truth


def known(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """So many rows that what they say is the truth."""
    return drawn(np.random.default_rng(123), 1_000_000, shape)


def sure_and_wrong(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return scores.max(1), (scores.argmax(1) != truth).astype(float)


def area_covered(shape: str, rows: int, draws: int) -> dict[str, float]:
    """The interval of the area under risk and coverage."""
    sure, wrong = sure_and_wrong(*known(shape))
    truth, inside, width = float(area(sure, wrong, np.ones((1, len(sure))))[0]), 0, 0.0
    for seed in range(draws):
        rng = np.random.default_rng([seed, rows])
        own = sure_and_wrong(*drawn(rng, rows, shape))
        found = area_interval(*own, 0.95)
        inside, width = inside + (found.low <= truth <= found.high), width + (found.high - found.low) / draws
    return {"truth": truth, "coverage": inside / draws, "width": width}


def sets_covered(shape: str, fitted: int, rows: int, draws: int) -> dict[str, float]:
    """The interval of coverage, of the very sets that were fitted; and the mean coverage of such sets."""
    scores, truth = known(shape)
    odd = np.sort(1 - scores[np.arange(len(truth)), truth])
    inside, told = 0, []
    for seed in range(draws):
        rng = np.random.default_rng([seed, fitted, rows])
        own, right = drawn(rng, fitted, shape)
        threshold = conformal_threshold(1 - own[np.arange(fitted), right], 0.9)
        assert threshold is not None
        real = float(np.searchsorted(odd, threshold, side="right") / len(odd))
        scores, truth = drawn(rng, rows, shape)
        found = stats.proportion(int(prediction_sets(scores, threshold)[np.arange(rows), truth].sum()), rows)
        inside, told = inside + (found.low <= real <= found.high), [*told, real]
    return {"mean": float(np.mean(told)), "coverage": inside / draws}


def over_confident(sharpness: float, rows: int, draws: int) -> float:
    """How often the calibration error of a model is found to be above 0.05, whole interval."""
    found = 0
    for seed in range(draws):
        rng = np.random.default_rng([seed, rows])
        scores, truth = drawn(rng, rows, "hard", sharpness)
        sure, wrong = sure_and_wrong(scores, truth)
        found += expected_calibration_error(sure, 1 - wrong, rng=rng, draws=400).low > 0.05
    return found / draws


def fitted_elsewhere(turned: float, rows: int, draws: int) -> float:
    """How often sets are found to cover less than luck with calibration rows explains, where so many measured rows are of another kind."""
    found, fitted = 0, rows // 2
    for seed in range(draws):
        rng = np.random.default_rng([seed, rows, 7])
        own, right = drawn(rng, fitted, "easy")
        threshold = conformal_threshold(1 - own[np.arange(fitted), right], 0.9)
        assert threshold is not None
        scores, truth = drawn(rng, rows, "easy")
        truth = np.where(rng.random(rows) < turned, 1 - truth, truth)
        share = stats.proportion(int(prediction_sets(scores, threshold)[np.arange(rows), truth].sum()), rows)
        found += share.high < expected_coverage(fitted, 0.9, 0.95)[0]
    return found / draws


def sure_of_itself(sharpness: float, rows: int, draws: int) -> float:
    """How often a threshold that a model's own probabilities promise an error of 5 % for is found to leave more."""
    found = 0
    for seed in range(draws):
        rng = np.random.default_rng([seed, rows, 9])
        scores, truth = drawn(rng, rows, "hard", sharpness)
        sure, wrong = sure_and_wrong(scores, truth)
        given = sure >= threshold_of(sure, 0.8)
        found += stats.proportion(int(wrong[given].sum()), int(given.sum())).low > (1 - sure[given]).mean()
    return found / draws


def blind(rows: int, draws: int) -> float:
    """How often a score that tells nothing passes for one that notices random signs (AUROC of 0.8)."""
    found = 0
    for seed in range(draws):
        rng = np.random.default_rng([seed, rows, 11])
        found += auroc(np.arange(rows) % 2 == 0, rng.random(rows)).value >= 0.8
    return found / draws


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--draws", type=int, default=400)
    options.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / "shift.json")
    given = options.parse_args()
    draws, table = given.draws, {}

    def say(name: str, measure: Callable[[], object]) -> None:
        table[name] = measure()
        print(f"{name:60} {json.dumps(table[name])}")

    for shape in SHAPES:
        for rows in (100, 300, 1000):
            say(f"area under risk and coverage, {shape}, {rows} rows", lambda s=shape, r=rows: area_covered(s, r, draws))
    for fitted, rows in ((60, 200), (200, 700), (1000, 1000)):
        say(f"coverage of sets, fitted on {fitted}, {rows} rows", lambda f=fitted, r=rows: sets_covered("hard", f, r, draws))
    for sharpness in (1.0, 1.5, 2.0, 3.0):
        for rows in (300, 1000):
            say(
                f"calibration error over 0.05, sharpened {sharpness:g}, {rows} rows",
                lambda s=sharpness, r=rows: over_confident(s, r, draws),
            )
            say(f"risk over what is told, sharpened {sharpness:g}, {rows} rows", lambda s=sharpness, r=rows: sure_of_itself(s, r, draws))
    for turned in (0.0, 0.05, 0.1, 0.2):
        for rows in (300, 1000):
            say(f"sets fitted elsewhere, {turned:g} turned, {rows} rows", lambda t=turned, r=rows: fitted_elsewhere(t, r, draws))
    say("blind score passes its control, 60 rows", lambda: blind(60, draws))
    given.out.write_text(json.dumps({"draws": draws, "table": table}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
