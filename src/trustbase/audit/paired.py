"""Differences of two models on the same rows, `challenger - champion`, each with an interval that knows that the rows are shared.

Accuracy has Tango's score interval (`stats.paired_difference`). Mean losses, costs and AUROC are means of what each row adds to the
difference, bounded by tilting; macro F1, which is none, has a seeded bootstrap of rows. `tests/unit/test_paired.py` simulates what they
cover. For AUROC a normal interval (DeLong's) was tried and covered 79 to 90 % where both areas are near 1, so it only gives the spread.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trustbase.audit import ranks, tilting
from trustbase.audit.counts import f1_scores
from trustbase.audit.stats import Floats, Interval, bounded_mean, enclosing, normal_quantile, paired_difference
from trustbase.audit.tilting import Part, tilted_bounds

MCNEMAR = "McNemar (1947), Psychometrika 12; exact binomial form: Fleiss, Levin & Paik (2003), section 13.1"
_DELONG = f"differences of placements: DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44, equations 3 to 6; {tilting.SOURCE}"
_BOOTSTRAP = "Efron & Tibshirani (1993), sections 6.2 (drawing rows of discrete data is drawing cells) and 13.3 (percentiles)"
_GHOST = 0.1  # rows that an unseen row weighs; a quarter was wider and covered no better, by simulation
LEAST_TURNED = 10  # rows answered differently, under which resampling them does not show how few they are

Codes = NDArray[np.int64]


def mcnemar_exact(first_only: int, second_only: int) -> float:
    """Two-sided exact p-value of equal accuracies, from the rows that exactly one of two models answers rightly; 1 where there are none.

    Source: McNemar (1947); under equal accuracies each such row is either model's with probability one half.

    Raises:
        ValueError: a count below zero.
    """
    if min(first_only, second_only) < 0:
        raise ValueError(f"counts of rows are at least 0, got {first_only} and {second_only}")
    rows = first_only + second_only
    if not rows:
        return 1.0
    return float(min(1.0, 2 * special.bdtr(min(first_only, second_only), rows, 0.5)))


def mean_gap(difference: Floats, least: float, most: float, *, confidence: float = 0.95) -> Interval:
    """Mean of each row's difference, which lies between `least` and `most`, by tilting.

    Args:
        difference: challenger less champion `(rows,)`.
        least: what an unseen row may count at least.
        most: what an unseen row may count at most.
    """
    made = bounded_mean(difference, least, most, confidence=confidence)
    return replace(made, method=f"mean difference of each row; {made.method}")


def loss_gap(challenger: Floats, champion: Floats, truth: Codes, *, confidence: float = 0.95) -> Interval:
    """Difference of two mean losses.

    An unseen row counts at most the largest difference that any row would have, whatever label were true; at least the smallest.

    Args:
        challenger: loss of each row under each label `(rows, classes)`.
        champion: the same of the other model.
        truth: label index `(rows,)`.
    """
    every = challenger - champion
    given = every[np.arange(len(truth)), truth]
    return mean_gap(given, float(every.min()), float(every.max()), confidence=confidence)


def cost_gap(
    truth: Codes, challenger: Codes, champion: Codes, positive: int, costs: tuple[float, float], *, confidence: float = 0.95
) -> Interval:
    """Difference of two mean costs of errors.

    Args:
        truth: label index `(rows,)`.
        challenger: its answers `(rows,)`.
        champion: its answers `(rows,)`.
        positive: index of the positive label.
        costs: of a false negative and of a false positive.
    """
    each = np.where(truth == positive, costs[0], costs[1])
    if costs[0] == costs[1]:  # the kinds of error need not be told apart
        made = paired_difference(challenger == truth, champion == truth, confidence=confidence)
        low, high = -made.high * costs[0], -made.low * costs[0]
        return enclosing(low, -made.value * costs[0], high, made.method, made.source, made.n)
    difference = each * ((challenger != truth).astype(float) - (champion != truth))
    return mean_gap(difference, -max(costs), max(costs), confidence=confidence)


def auroc_gap(positive: NDArray[np.bool_], challenger: Floats, champion: Floats, *, confidence: float = 0.95) -> Interval | None:
    """Difference of two AUROCs; None where these rows show no spread of it (both rank them alike, or without a fault).

    Args:
        positive: rows of the positive label `(rows,)`; both labels must occur.
        challenger: its scores `(rows,)`.
        champion: its scores `(rows,)`.
    """
    places = ranks.row_placements(positive, challenger) - ranks.row_placements(positive, champion)
    parts = [places[positive], places[~positive]]
    value, most = float(parts[0].mean()), float(np.abs(places).max())
    if most == 0:
        return None
    # an unseen row of either label may be placed as differently as the one that is placed most differently
    tilted = [Part.of(part, [-most, most], _GHOST, lost=1) for part in parts]
    centre = value - sum(float(part.mean()) for part in parts)
    low, high = tilted_bounds(tilted, value, centre, ranks.t_quantile(parts, normal_quantile(confidence)))
    method = "tilted differences of placements of both labels' rows, with a tenth of a row for what was never seen"
    return enclosing(max(float(low), -1.0), value, min(float(high), 1.0), method, _DELONG, len(positive))


def macro_f1_gap(
    truth: Codes,
    challenger: Codes,
    champion: Codes,
    classes: int,
    *,
    rng: np.random.Generator,
    replicates: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Difference of two macro F1, with the percentiles of a bootstrap that draws rows, each with both models' answers.

    Args:
        truth: label index `(rows,)`.
        challenger: its answers `(rows,)`.
        champion: its answers `(rows,)`.
        classes: number of labels.
    """
    cell = (truth * classes + challenger) * classes + champion
    present, counts = np.unique(cell, return_counts=True)
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), replicates)
    values = _f1_difference(drawn, present, classes)
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    value = float(_f1_difference(counts[None], present, classes)[0])
    return enclosing(float(low), value, float(high), f"percentiles of {replicates} paired bootstrap samples", _BOOTSTRAP, len(truth))


def _f1_difference(counts: NDArray[np.int64], present: Codes, classes: int) -> Floats:
    """Macro F1 of the challenger less that of the champion, from counts of cells `(samples, cells)`, `(samples,)`."""
    truth, said, other = present // classes**2, present // classes % classes, present % classes
    each = []
    for answer in (said, other):
        table = np.zeros((counts.shape[0], classes, classes))
        for index in range(present.size):
            table[:, truth[index], answer[index]] += counts[:, index]
        each.append(np.asarray(f1_scores(table)["macro_f1"], float))
    apart: Floats = each[0] - each[1]
    return apart
