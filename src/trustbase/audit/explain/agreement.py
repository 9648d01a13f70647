"""How far two explanations of one input agree."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trustbase.audit.explain.lime import largest
from trustbase.audit.explain.local import FIRST
from trustbase.audit.explain.reasons import LEAST_REASON

Floats = NDArray[np.float64]

ZEROED = f"weights under {LEAST_REASON:.0%} of a row's largest count as 0"  # said wherever units are ranked by `rank_correlation`
LEAST_UNITS = 3  # of an input: two are ranked alike or the other way round, and nothing between


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's rank correlation of two lists of weights; None of few units, or where one of them ranks nothing.

    Weights under a twentieth of the largest count as none, so that it does not matter in which order noise ranks what adds nothing. Of
    weights without a relation it is 0 on average, whatever the number of units.
    """
    one, other = _telling(one), _telling(other)
    if len(one) < LEAST_UNITS or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.clip(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1], -1, 1))


def _telling(weights: Floats) -> Floats:
    return np.where(np.abs(weights) < LEAST_REASON * np.abs(weights).max(initial=0.0), 0.0, weights)


def first_overlap(one: Floats, other: Floats) -> float | None:
    """Share of the five units of the largest |weight| that both name; of fewer than ten units, of the first half. None of few units."""
    if len(one) < LEAST_UNITS:
        return None
    first = min(FIRST, ceil(len(one) / 2))
    return len(set(largest(one, first).tolist()) & set(largest(other, first).tolist())) / first
