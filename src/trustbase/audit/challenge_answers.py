"""A champion and a challenger that give numbers, or sets of labels: what each reaches, and how far apart they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit import paired
from trustbase.audit.challenge import Contrast, Contrasting, Pair, contrast
from trustbase.audit.context import Answers
from trustbase.audit.quality_labels import exact, f1_of_sums, f1_sums
from trustbase.audit.resampled import LEAST_TURNED, LEAST_UNITS, of_sums
from trustbase.audit.stats import Floats, Interval, paired_difference
from trustbase.audit.tail_gaps import LEAST_SQUARED, explained_gap, rmse_gap
from trustbase.audit.tails import LEAST_ERRORS, farthest, mean_move
from trustbase.records import Direction

Inside = NDArray[np.bool_]


def number_contrasts(pair: Pair) -> list[Contrast]:
    """Mean absolute error, RMSE, R² and the coverage of intervals."""
    every = np.ones(len(pair.context.test), bool)
    return [_mae(pair, every), _rmse(pair), _r2(pair), *_coverage(pair)]


def _errors(answers: Answers, pair: Pair) -> Floats:
    return np.asarray(np.abs(answers.predicted - pair.context.test.labels), dtype=np.float64)


def _mae(pair: Pair, inside: Inside) -> Contrast:
    """Mean absolute errors and their paired difference, in some of the rows."""
    unit, least, n = pair.context.labels.names[0], max(pair.context.minimum_cell, LEAST_ERRORS), int(inside.sum())
    if n < least:
        return few("mae", n, least, "lower", unit)
    errors, alike = _both(pair)
    champion, challenger = np.abs(errors[:, inside])
    made = mean_move(challenger - champion, alike, confidence=pair.context.confidence)
    return contrast(pair, "mae", (float(champion.mean()), float(challenger.mean())), made, "lower", unit)


def _rmse(pair: Pair) -> Contrast:
    unit, least, n = pair.context.labels.names[0], max(pair.context.minimum_cell, LEAST_SQUARED), len(pair.context.test)
    if n < least:
        return few("rmse", n, least, "lower", unit)
    errors, alike = _both(pair)
    made = rmse_gap(errors, alike, confidence=pair.context.confidence)
    roots = np.sqrt((errors**2).mean(axis=1))
    return contrast(pair, "rmse", (float(roots[0]), float(roots[1])), made, "lower", unit)


def _r2(pair: Pair) -> Contrast:
    unit, least, truth = "share of the variance", max(pair.context.minimum_cell, LEAST_SQUARED), pair.context.test.labels
    n = len(truth)
    if n < least:
        return few("r2", n, least, "higher", unit)
    if np.ptp(truth) == 0:
        return Contrast("r2", None, None, None, None, None, n, "higher", unit, reason="the value is not defined on these rows")
    errors, alike = _both(pair)
    made = explained_gap(truth, errors, alike, confidence=pair.context.confidence)
    shares = 1 - (errors**2).mean(axis=1) / truth.var()
    return contrast(pair, "r2", (float(shares[0]), float(shares[1])), made, "higher", unit)


def _both(pair: Pair) -> tuple[Floats, float]:
    """Errors of both `(2, rows)`, and the distance between any truth and any answer."""
    truth, answers = pair.context.test.labels, (pair.champion.predicted, pair.challenger.predicted)
    return np.stack([np.asarray(told, float) - truth for told in answers]), farthest(truth, *answers)


def _coverage(pair: Pair) -> list[Contrast]:
    """How often each one's own interval holds the truth; nothing where one of them tells none."""
    decisions = (pair.context.decision, pair.decision or pair.context.decision)
    halves = [decision.interval["half_width"] for decision in decisions if decision.interval]
    n, least = len(pair.context.test), pair.context.minimum_cell
    if len(halves) < 2:
        return []
    if n < least:
        return [few("interval_coverage", n, least, "higher", "share")]
    held = [_errors(answers, pair) <= half for answers, half in zip((pair.champion, pair.challenger), halves, strict=True)]
    made = paired_difference(held[1], held[0], confidence=pair.context.confidence)
    return [contrast(pair, "interval_coverage", (float(held[0].mean()), float(held[1].mean())), made, "higher", "share")]


def label_contrasts(pair: Pair) -> list[Contrast]:
    """Exact match, micro and macro F1, and the share of single labels that are wrong."""
    every, truth = np.ones(len(pair.context.test), bool), pair.context.test.labels
    sums = np.concatenate([f1_sums(answers.predicted, truth) for answers in (pair.champion, pair.challenger)], axis=1)
    turned = int((pair.champion.predicted != pair.challenger.predicted).any(axis=1).sum())
    made = [_exact_match(pair, every)]
    for name, statistic in (("micro_f1", _micro_f1), ("macro_f1", _macro_f1)):
        made.append(of_drawn_rows(pair, name, sums, statistic, "higher", "share", turned=turned))
    return [*made, _hamming(pair)]


def _right(answers: Answers, pair: Pair) -> Inside:
    return exact(answers, pair.context.test.labels)


def _exact_match(pair: Pair, inside: Inside) -> Contrast:
    n, least = int(inside.sum()), pair.context.minimum_cell
    if n < least:
        return few("exact_match", n, least, "higher", "share")
    champion, challenger = _right(pair.champion, pair)[inside], _right(pair.challenger, pair)[inside]
    made = paired_difference(challenger, champion, confidence=pair.context.confidence)
    return contrast(pair, "exact_match", (float(champion.mean()), float(challenger.mean())), made, "higher", "share")


def _micro_f1(sums: Floats, side: int) -> Floats:
    return f1_of_sums(np.split(sums, 2, axis=-1)[side], micro=True)


def _macro_f1(sums: Floats, side: int) -> Floats:
    return f1_of_sums(np.split(sums, 2, axis=-1)[side], micro=False)


def _hamming(pair: Pair) -> Contrast:
    n, least, truth = len(pair.context.test), pair.context.minimum_cell, pair.context.test.labels
    if n < least:
        return few("hamming_loss", n, least, "lower", "share of labels")
    champion, challenger = (np.asarray(answers.predicted != truth).mean(axis=1) for answers in (pair.champion, pair.challenger))
    made = paired.mean_gap(challenger - champion, -1.0, 1.0, confidence=pair.context.confidence)
    return contrast(pair, "hamming_loss", (float(champion.mean()), float(challenger.mean())), made, "lower", "share of labels")


def of_drawn_rows(
    pair: Pair,
    metric: str,
    sums: Floats,
    statistic: Callable[[Floats, int], Floats],
    direction: Direction,
    unit: str,
    *,
    turned: int | None = None,
) -> Contrast:
    """The difference of a statistic of sums over rows, each row drawn with both models' answers.

    Args:
        pair: both models' answers.
        metric: that the statistic is.
        sums: what each row adds, of both models `(rows, k)`.
        statistic: sums `(…, k)` and side (0 the champion, 1 the challenger) → value `(…,)`; NaN where it is not defined.
        direction: which way is better.
        unit: of the value.
        turned: rows on which the two differ, where these can be few: drawing them again does not show how few they are.
    """
    n, least = len(sums), max(LEAST_UNITS, pair.context.minimum_cell)
    if n < least:
        return few(metric, n, least, direction, unit)
    total = sums.sum(axis=0)
    values = float(statistic(total, 0)), float(statistic(total, 1))
    if not np.isfinite(values).all():
        return Contrast(metric, None, None, None, None, None, n, direction, unit, reason="the value is not defined on these rows")
    if pair.same:
        return contrast(pair, metric, values, Interval(0, 0, "", "", 0, n), direction, unit)
    if turned is not None and turned < LEAST_TURNED:
        reason = f"only {turned} rows are answered differently, fewer than {LEAST_TURNED}"
        return Contrast(metric, *values, values[1] - values[0], None, None, n, direction, unit, reason=reason)
    rng = seeds.generator(pair.context.seed, "compare", metric)
    made = of_sums(sums, lambda drawn: statistic(drawn, 1) - statistic(drawn, 0), rng=rng, confidence=pair.context.confidence)
    return contrast(pair, metric, values, made, direction, unit, seed=pair.context.seed)


def few(metric: str, n: int, least: int, direction: Direction, unit: str) -> Contrast:
    """What is told of too few rows: nothing."""
    return Contrast(metric, None, None, None, None, None, n, direction, unit, reason=f"{n} rows, fewer than {least}")


NUMBER = Contrasting("mae", number_contrasts, _mae)
LABELS = Contrasting("exact_match", label_contrasts, _exact_match, _right)
