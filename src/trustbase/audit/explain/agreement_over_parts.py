"""How far told and real falls of many answers agree over random parts of the training rows, with an interval over parts and answers.

All answers are measured on the same few parts, so their rank correlations go up and down together: an interval over answers alone takes
the chance of the parts for knowledge. Leaving out one part after another tells how much of the mean is owed to the parts drawn.

Source: Spearman (1904), Am. J. Psychology 15; Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 11 (jackknife); Bonett &
Wright (2000), Psychometrika 65 (Fisher's z of rank correlations).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy import stats as tests

from trustbase.audit.stats import Interval, enclosing

Floats = NDArray[np.float64]

LEAST_PARTS = 5
SOURCE = (
    "Spearman (1904); Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 11; Bonett & Wright (2000), Psychometrika 65"
)
METHOD = "t interval of Fisher's z over parts (left out one after another) and answers together"
_MOST = 1 - 1e-9  # of a correlation whose z is finite


def over_parts(told: Floats, real: Floats, *, confidence: float = 0.95) -> Interval | None:
    """The mean over answers of the rank correlation over parts; None where too few parts or answers rank anything.

    Args:
        told: by how much each answer's score should fall without each part, `(parts, answers)`.
        real: by how much it fell, `(parts, answers)`.
        confidence: of the interval.
    """
    moved = (np.ptp(told, axis=0) > 0) & (np.ptp(real, axis=0) > 0)
    told, real = told[:, moved], real[:, moved]
    parts, answers = told.shape
    if parts < LEAST_PARTS or answers < 2:
        return None
    each = _correlations(told, real)
    mean = float(each.mean())
    without = [_correlations(np.delete(told, part, 0), np.delete(real, part, 0)).mean() for part in range(parts)]
    of_parts = (parts - 1) / parts * float(((_z(np.array(without)) - _z(np.array(without)).mean()) ** 2).sum())
    of_answers = float(each.var(ddof=1)) / answers / max(1 - mean**2, 1e-9) ** 2
    least = (1 + mean**2 / 2) / max(parts - 3, 1) / answers  # of answers that have nothing to do with each other
    half = float(special.stdtrit(parts - 1, 0.5 + confidence / 2)) * math.sqrt(max(of_parts + of_answers, least))
    centre = float(_z(np.array(mean)))
    return enclosing(math.tanh(centre - half), mean, math.tanh(centre + half), METHOD, SOURCE, answers)


def _correlations(told: Floats, real: Floats) -> Floats:
    """Spearman's rank correlation of each answer, `(answers,)`; 0 where one side ranks nothing."""
    one, other = (ranks - ranks.mean(axis=0) for ranks in (tests.rankdata(told, axis=0), tests.rankdata(real, axis=0)))
    spread = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    return np.asarray(np.divide((one * other).sum(axis=0), spread, out=np.zeros_like(spread), where=spread > 0))


def _z(correlations: Floats) -> Floats:
    return np.asarray(np.arctanh(np.clip(correlations, -_MOST, _MOST)))
