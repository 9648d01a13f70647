"""Ratios over texts: what is counted in tokens or other units, while the texts are what was drawn."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trustbase.audit import tilting
from trustbase.audit.stats import Interval, bounded_mean_bounds, enclosing, normal_quantile

LEAST_FREEDOM = 12  # with fewer, simulated intervals covered up to 99 %
_METHOD = "t interval of a ratio over documents, residuals corrected for their document's weight"
_CLUSTERED = "Bell & McCaffrey (2002), Survey Methodology 28; Satterthwaite (1946), Biometrics 2"
_UNSEEN = "Hanley & Lippman-Hand (1983), JAMA 249, for a count of zero"
_SOURCE = "Cochran (1977), Sampling Techniques, section 2.11 (ratio estimator); " + tilting.SOURCE


def share_of(part: NDArray[np.integer], whole: NDArray[np.integer], *, confidence: float = 0.95) -> Interval:
    """Sum of `part` over sum of `whole`, rows being drawn (tokens of one text are not independent).

    Args:
        part: unknown tokens of each text `(rows,)`.
        whole: tokens of each text `(rows,)`.

    Raises:
        ValueError: there are no tokens.
    """
    rows, total = len(whole), float(whole.sum())
    if rows == 0 or total == 0:
        raise ValueError("the test texts have no tokens")
    value = float(part.sum()) / total
    if not 0 < value < 1:
        edge = 1 - (1 - confidence) ** (1 / rows)  # share of texts that could still differ and not have shown up
        return enclosing(max(0.0, value - edge), value, min(1.0, value + edge), "ratio over texts, none differs", _UNSEEN, rows)
    moves = (part - value * whole) * rows / total  # of the share, by each text
    low, high = bounded_mean_bounds(moves, moves.min(), moves.max(), normal_quantile(confidence))
    return enclosing(max(0.0, value + float(low)), value, min(1.0, value + float(high)), "ratio over texts, tilted sample", _SOURCE, rows)


def freedom(units: NDArray[np.integer]) -> float:
    """Degrees of freedom that so many units in each text leave to the variance of a ratio over texts.

    A few long texts that hold most of the units leave few, however many short ones stand beside them.

    Source: Bell & McCaffrey (2002), Survey Methodology 28, section 4, where whole texts differ; Satterthwaite (1946), Biometrics 2.
    """
    share = units / max(float(units.sum()), 1.0)
    if not (share < 1).all():
        return 0.0
    each = share**2 / (1 - share)
    return float(each.sum() ** 2 / (each**2).sum()) - 1


def mean_over_units(sums: NDArray[np.floating], units: NDArray[np.integer], *, confidence: float = 0.95) -> Interval:
    """Mean of all units of all texts, above zero, the texts being drawn: units of one text are not independent.

    Bounds by a t quantile on the logarithm, with residuals corrected for the weight of their own text.

    Args:
        sums: of what is measured, for each text `(rows,)`.
        units: how many there are in each text `(rows,)`; `freedom` of them must be at least `LEAST_FREEDOM`.

    Raises:
        ValueError: too few texts hold the units, or their mean is not above zero.
    """
    value, error, quantile = _error(np.asarray(sums, float), units, confidence)
    if value <= 0:
        raise ValueError(f"a mean on the scale of logarithms must be above zero, got {value}")
    half = quantile * error / value
    return enclosing(value * math.exp(-half), value, value * math.exp(half), _METHOD + ", on the logarithm", _CLUSTERED, len(units))


def share_over_units(part: NDArray[np.integer], units: NDArray[np.integer], *, confidence: float = 0.95) -> Interval:
    """Share of all units of all texts, as `mean_over_units` but on the logit, so that the bounds stay between 0 and 1.

    Raises:
        ValueError: too few texts hold the units.
    """
    value, error, quantile = _error(np.asarray(part, float), units, confidence)
    if not 0 < value < 1:
        return share_of(part, units, confidence=confidence)
    centre, half = math.log(value / (1 - value)), quantile * error / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-bound)) for bound in (centre - half, centre + half))
    return enclosing(low, value, high, _METHOD + ", on the logit", _CLUSTERED, len(units))


def _error(part: NDArray[np.float64], units: NDArray[np.integer], confidence: float) -> tuple[float, float, float]:
    """Ratio, its standard error, and the t quantile."""
    left = freedom(units)
    if left < LEAST_FREEDOM:
        raise ValueError(f"a ratio over texts needs {LEAST_FREEDOM} degrees of freedom, and these texts leave {left:.1f}")
    total = float(units.sum())
    value = float(part.sum()) / total
    residual = (part - value * units) / total
    error = math.sqrt(float((residual**2 / (1 - units / total)).sum()))
    return value, error, float(special.stdtrit(left, 0.5 + confidence / 2))
