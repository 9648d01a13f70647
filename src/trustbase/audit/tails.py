"""Means of errors that know no largest value: mean, root of the mean square, share of the variance explained, and paired gains.

A share has bounds that an unseen row cannot pass; an error of a number has none, and a mean of errors or of their squares rests on the
few largest. So the sample is tilted (`tilting.py`) with a ghost that stands beyond the largest error seen: further where the largest ones
lie far apart, as then the next one will too, and further the fewer rows there are to tell.

Source: the reach of an unseen row: Hill (1975), Ann. Statist. 3 (how heavy a tail is); Weissman (1978), JASA 73 (carrying it on beyond the
sample); bounds of a ratio from those of a mean of `part - ratio * whole`: Fieller (1954), J. R. Statist. Soc. B 16. How far it is carried
on at least and at most is ours, chosen by simulation (`docs/explanation/intervals.md`; `tests/unit/test_tails.py` repeats a part).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import optimize

from trustbase.audit import tilting
from trustbase.audit.stats import Floats, Interval, bounded_mean_bounds, enclosing, normal_quantile

LEAST_ERRORS = 20  # rows, under which the tail of errors cannot be told
LEAST_EXPLAINED = 50  # for R², whose two mean squares both rest on few rows
_BEYOND = 25  # a ghost stands where one row in so many times the sample would
_AT_LEAST = 12.0  # the ghost lies at least 1 + this / sqrt(rows) times as far as the largest row
_AT_MOST = 4.0  # and no further than this, or than that least
_SHARES_BEYOND, _SHARES_AT_LEAST, _SHARES_AT_MOST = 6, 3.0, 2.5  # of R², where ghosts stand on both sides of a ratio
METHOD = "tilted sample, with a quarter of a row where the largest errors point to for what was never seen"
SOURCE = f"{tilting.SOURCE}; Hill (1975), Ann. Statist. 3; Weissman (1978), JASA 73"
_RATIO = f"{SOURCE}; Fieller (1954), J. R. Statist. Soc. B 16"
_ROUNDING = 1e-9  # of the largest size, or of `alike`, by which sizes may differ that are alike: numbers told and true were subtracted
_EXPANSIONS = 60  # of the bracket of a ratio's bound, each by a factor of four


def reach(
    sizes: Floats, alike: float | Floats = 0.0, *, beyond: float = _BEYOND, at_least: float = _AT_LEAST, at_most: float = _AT_MOST
) -> Floats:
    """How far a row that was not seen may lie, from the sizes of those that were, `(…, rows)` → `(…,)`.

    Args:
        sizes: none below 0; at least two.
        alike: how far it may lie where all rows are of one size, and so say nothing about others.
        beyond: the place is the one that one row in `beyond` times the sample would pass.
        at_least: it lies at least `1 + at_least / sqrt(rows)` times as far as the largest row.
        at_most: times as far as the largest row, where `at_least` does not ask for more.
    """
    ordered = np.sort(np.asarray(sizes, float), axis=-1)
    rows = ordered.shape[-1]
    count = min(max(4, int(np.ceil(np.sqrt(rows)))), rows - 1)
    largest, base = ordered[..., -1], ordered[..., -count - 1]
    least = 1 + at_least / np.sqrt(rows)
    tiny = np.finfo(float).tiny
    logs = np.log(np.maximum(ordered[..., -count:], tiny)) - np.log(np.maximum(base, tiny))[..., None]
    weight = logs.mean(-1)  # Hill's estimate
    with np.errstate(over="ignore"):
        times = np.where(largest > 0, base / np.maximum(largest, tiny) * (count * beyond) ** np.minimum(weight, 50.0), 0.0)
    times = np.where((base > 0) | (largest == 0), times, np.inf)  # most rows count nothing: the tail cannot be told
    far = largest * np.clip(times, least, max(at_most, float(least)))
    same = largest - ordered[..., 0] <= _ROUNDING * np.maximum(largest, alike)
    return np.asarray(np.where(same, np.maximum(far, alike), far))


def farthest(*numbers: Floats) -> float:
    """The largest distance between any two of some numbers, such as a truth and an answer."""
    return float(max(x.max() for x in numbers) - min(x.min() for x in numbers))


def mean_size(sizes: Floats, alike: float, *, confidence: float = 0.95) -> Interval:
    """The mean of sizes, such as absolute errors.

    Args:
        sizes: none below 0 `(rows,)`.
        alike: how large an unseen one may be where all are alike: the distance between any answer and any truth.

    Raises:
        ValueError: fewer than two sizes, or one that is not finite.
    """
    x = _finite(sizes)
    low, high = mean_size_bounds(x, alike, normal_quantile(confidence))
    return enclosing(float(low), float(x.mean()), float(high), METHOD, SOURCE, x.size)


def mean_size_bounds(sizes: Floats, alike: float, quantile: float, *, power: int = 1) -> tuple[Floats, Floats]:
    """Bounds of the mean of sizes `(…, rows)`, or of the root (`power` 2: of the mean square), each `(…,)`."""
    far = reach(sizes, alike)
    scale = np.where(far > 0, far, 1.0)  # the search of a tilt is made for numbers near 1
    low, high = bounded_mean_bounds((sizes / scale[..., None]) ** power, np.zeros(far.shape), (far / scale) ** power, quantile)
    return scale * np.maximum(low, 0.0) ** (1 / power), scale * np.clip(high, 0.0, 1.0) ** (1 / power)


def root_mean_square(errors: Floats, alike: float, *, confidence: float = 0.95) -> Interval:
    """The root of the mean square of errors; arguments and `Raises` as of `mean_size`, but for signs, which do not matter."""
    x = np.abs(_finite(errors))
    low, high = mean_size_bounds(x, alike, normal_quantile(confidence), power=2)
    return enclosing(float(low), float(np.sqrt((x**2).mean())), float(high), f"{METHOD}, of squares", SOURCE, x.size)


def mean_move(moves: Floats, alike: float, *, confidence: float = 0.95) -> Interval:
    """The mean of numbers of either sign, such as differences of two models' absolute errors; arguments and `Raises` as of `mean_size`."""
    x = _finite(moves)
    low, high = mean_move_bounds(x, alike, normal_quantile(confidence))
    return enclosing(float(low), float(x.mean()), float(high), METHOD, SOURCE, x.size)


def mean_move_bounds(moves: Floats, alike: float, quantile: float) -> tuple[Floats, Floats]:
    """Bounds of the mean of numbers of either sign `(…, rows)`, each `(…,)`."""
    far = reach(np.abs(moves), alike)
    scale = np.where(far > 0, far, 1.0)
    low, high = bounded_mean_bounds(moves / scale[..., None], -far / scale, far / scale, quantile)
    return scale * low, scale * high


def explained(truth: Floats, told: Floats, *, confidence: float = 0.95) -> Interval:
    """R²: 1 less the mean squared error as a share of the truth's variance on the same rows.

    A share is possible where a mean of `squared error - share * squared distance of the truth from its mean` of 0 is.

    Raises:
        ValueError: fewer than two rows, a number that is not finite, or truths that are all the same.
    """
    errors, centred = np.abs(_finite(told - truth)), np.abs(truth - truth.mean())
    variance, rows = float((centred**2).mean()), len(truth)
    if variance <= 0:
        raise ValueError("all true numbers are the same, so there is no variance to explain")
    scale = np.sqrt(variance)
    part, whole = (errors / scale) ** 2, (centred / scale) ** 2
    most_part, most_whole = (
        float(reach(x / scale, alike, beyond=_SHARES_BEYOND, at_least=_SHARES_AT_LEAST, at_most=_SHARES_AT_MOST)) ** 2
        for x, alike in ((errors, float(centred.max() / scale)), (centred, 0.0))
    )
    share, quantile = float(part.mean()), normal_quantile(confidence)

    def bound(side: int) -> Callable[[float], float]:
        def at(tried: float) -> float:
            bounds = bounded_mean_bounds(part - tried * whole, -tried * most_whole, most_part, quantile)
            return float(bounds[side]) / (1 + tried)

        return at

    low, high = _root(bound(0), share, 0.25), _root(bound(1), share, 4.0)
    return enclosing(1 - high, 1 - share, 1 - low, f"{METHOD}, of a ratio of two mean squares", _RATIO, rows)


def _root(at: Callable[[float], float], share: float, step: float) -> float:
    """The share at which a bound reaches 0, sought from the one seen, downwards (`step` below 1) or upwards."""
    near = share if share > 0 else 1e-12
    if share <= 0 and step < 1:
        return 0.0
    for _ in range(_EXPANSIONS):
        far = near * step
        if (at(far) > 0) == (step < 1):
            return float(optimize.brentq(at, min(near, far), max(near, far), xtol=1e-14, rtol=1e-10))
        near = far
    return 0.0 if step < 1 else near


def _finite(values: Floats) -> Floats:
    x = np.asarray(values, float)
    if x.size < 2 or not np.isfinite(x).all():
        raise ValueError(f"a mean needs at least two finite values, got {x.size} with {int((~np.isfinite(x)).sum())} not finite")
    return x
