"""How far two models' RMSE, or R², lie apart on the same rows: differences of functions of mean squares, which no range bounds.

Each row moves such a difference by so much (to first order), and the mean of these moves has tilted bounds, as of any errors without a
largest value (`tails.py`). The sample that is tilted to such a bound is the least favourable one, and the difference is read from it as it
stands: both mean squares are taken where they hold together, and neither is bounded by itself.

Source: least favourable families: Efron (1981), Canad. J. Statist. 9; DiCiccio & Romano (1990), Int. Statist. Rev. 58. How far an unseen
row reaches is found as in `tails.py`, and carried less far, as ghosts stand on both sides: chosen by simulation
(`docs/explanation/intervals.md`; `tests/unit/test_tail_gaps.py` repeats a part).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trustbase.audit.stats import GHOST, Floats, Interval, enclosing, normal_quantile
from trustbase.audit.tails import METHOD, SOURCE, mean_size_bounds, reach
from trustbase.audit.tilting import Part, bounding_shares

LEAST_SQUARED = 100  # rows; with 50, what holds where one row in 33 is ten times as far off is 2 to 3 times as wide as normal errors need
_RARE = 1200  # a ghost stands where one row in so many would lie
_AT_LEAST, _AT_MOST = 1.0, 20.0  # it lies 1 + these / sqrt(rows) times as far as the largest row, at least and at most
_ROUNDING = 1e-14  # of the farthest square, which no row moves the difference by: squares of like errors were subtracted
_SAID = f"{METHOD}, of how each row moves the difference"


def rmse_gap(errors: Floats, alike: float, *, confidence: float = 0.95) -> Interval:
    """The challenger's root mean square of errors less the champion's.

    Args:
        errors: of the champion and of the challenger on the same rows, `(2, rows)`.
        alike: how large an unseen one may be where all are alike: the distance between any answer and any truth.
        confidence: of the interval.

    Raises:
        ValueError: fewer than two rows, or an error that is not finite.
    """
    _check(errors)
    low, high = rmse_gap_bounds(errors, alike, normal_quantile(confidence))
    value = _root_gap(np.moveaxis((errors**2).mean(-1), 0, -1))
    return enclosing(float(low), float(value), float(high), _SAID, SOURCE, errors.shape[-1])


def rmse_gap_bounds(errors: Floats, alike: float, quantile: float) -> tuple[Floats, Floats]:
    """Bounds of the difference of two roots of mean squares, from errors `(2, …, rows)`, each `(…,)`."""
    squares = errors**2
    means = squares.mean(-1)
    most = mean_size_bounds(np.abs(errors), alike, quantile, power=2)[1]
    roots = np.where(means > 0, np.sqrt(means), np.where(most > 0, most, 1.0))  # of no error at all: what it may be at most
    slopes = 1 / (2 * roots)  # by which a root moves with its mean square
    first, second = slopes[..., None] * squares
    far = _reach(second - first, alike**2 * slopes.max(0))
    ghosts = (
        np.stack([(far + slopes[1] * means[1]) / slopes[0], means[1]], -1),  # a row on which the champion is far off
        np.stack([means[0], (far + slopes[0] * means[0]) / slopes[1]], -1),
    )
    return _read_from_tilted(second - first, far, np.moveaxis(squares, 0, -1), ghosts, _root_gap, quantile)


def explained_gap(truth: Floats, errors: Floats, alike: float, *, confidence: float = 0.95) -> Interval:
    """The challenger's R² less the champion's: the difference of their mean squares as a share of the truth's variance.

    Args:
        truth: `(rows,)`.
        errors, alike, confidence: as of `rmse_gap`.

    Raises:
        ValueError: fewer than two rows, a number that is not finite, or truths that are all the same.
    """
    _check(errors)
    if np.ptp(truth) <= 0:
        raise ValueError("all true numbers are the same, so there is no variance to explain")
    low, high = explained_gap_bounds(truth, errors, alike, normal_quantile(confidence))
    value = float((errors[0] ** 2 - errors[1] ** 2).mean() / truth.var())
    return enclosing(float(low), value, float(high), _SAID, SOURCE, errors.shape[-1])


def explained_gap_bounds(truth: Floats, errors: Floats, alike: float, quantile: float) -> tuple[Floats, Floats]:
    """Bounds of the difference of two R², from truths `(…, rows)` and errors `(2, …, rows)`, each `(…,)`."""
    centred = truth - truth.mean(-1, keepdims=True)
    scale = centred.std(-1)
    first, second = (errors / scale[..., None]) ** 2
    centred = centred / scale[..., None]
    means = [part.mean(-1) for part in (first, second)]
    moves = first - second - (means[0] - means[1])[..., None] * centred**2
    far = _reach(moves, (alike / scale) ** 2)
    none, one = np.zeros(far.shape), np.ones(far.shape)
    ghosts = (np.stack([means[0], means[1] + far, none, one], -1), np.stack([means[0] + far, means[1], none, one], -1))
    return _read_from_tilted(moves, far, np.stack([first, second, centred, centred**2], -1), ghosts, _share_gap, quantile)


def _root_gap(means: Floats) -> Floats:
    return np.asarray(np.sqrt(means[..., 1]) - np.sqrt(means[..., 0]))


def _share_gap(means: Floats) -> Floats:
    return np.asarray((means[..., 0] - means[..., 1]) / (means[..., 3] - means[..., 2] ** 2))


def _reach(moves: Floats, alike: Floats) -> Floats:
    """How far an unseen row may move a difference of squares, either way: as far as its root, which is an error, reaches."""
    rows = moves.shape[-1]
    moves = np.where(np.abs(moves) <= _ROUNDING * np.asarray(alike)[..., None], 0.0, moves)
    carried = {"beyond": _RARE / rows, "at_least": _AT_LEAST, "at_most": 1 + _AT_MOST / np.sqrt(rows)}
    return reach(np.sqrt(np.abs(moves)), np.sqrt(alike), **carried) ** 2


def _read_from_tilted(
    moves: Floats,
    far: Floats,
    parts: Floats,
    ghosts: tuple[Floats, Floats],
    statistic: Callable[[Floats], Floats],
    quantile: float,
) -> tuple[Floats, Floats]:
    """Values of a statistic in the samples tilted to both bounds of the mean move, the outer ones of two choices of ghosts.

    A ghost far to one side leaves no room on the other where rows lie close together (`stats.bounded_mean_bounds`), so each bound is
    also sought with the ghost of its own side alone.

    Args:
        moves: by how much each row moves the statistic, `(…, rows)`.
        far: how far an unseen row moves it, down or up, `(…,)`.
        parts: what each row adds to the means that the statistic is of, `(…, rows, k)`.
        ghosts: the parts of unseen rows that move it down and up, each `(…, k)`.
        statistic: of means `(…, k)`.
        quantile: two-sided normal quantile.
    """
    scale = np.where(far > 0, far, 1.0)  # the search of a tilt is made for numbers near 1
    small, reached = moves / scale[..., None], far / scale
    value = statistic(parts.mean(-2))
    bounds = [value, value]
    for side, outer in ((0, np.minimum), (1, np.maximum)):
        for chosen in ((0, 1), (side,)):
            part = Part.of(small, [(2 * ghost - 1) * reached for ghost in chosen], GHOST)
            shares = bounding_shares(part, small.mean(-1), (2 * side - 1) * quantile)
            rows = np.concatenate([parts, *(ghosts[ghost][..., None, :] for ghost in chosen)], axis=-2)
            bounds[side] = outer(bounds[side], statistic((shares[..., None] * rows).sum(-2)))
    return bounds[0], bounds[1]


def _check(errors: Floats) -> None:
    if errors.shape[-1] < 2 or not np.isfinite(errors).all():
        raise ValueError(f"a difference needs two or more rows with finite errors, got {errors.shape[-1]}, not all of them finite")
