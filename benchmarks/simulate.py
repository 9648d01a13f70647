"""What every simulation of coverage shares: a row of the table, how a share of hits is taken, and which cells whole counts leave open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from trustbase.audit import stats

Z = stats.normal_quantile(0.95)
LOWEST, HIGHEST = 0.93, 0.97
# why a cell may cover more than the band; never less
WHOLE_COUNTS = "whole counts: no two-sided interval covers 93 to 97 % at this rate and number of rows"
FEW_ERRORS = "fewer than four rows of the smaller label are misplaced: a lower bound that allows for what was not seen cannot fall short"
EDGE = "edge: a largest, a smallest or an absolute value whose truth lies where it cannot be missed on one side"


@dataclass(frozen=True)
class Row:
    """Coverage of one interval in one case.

    Attributes:
        reason: why it may cover more than 97 %; empty where it must cover 93 to 97 %.
        valid: False where the audit says `insufficient` for such data, so that nothing is claimed.
    """

    interval: str
    case: str
    coverage: float
    width: float
    draws: int
    reason: str = ""
    valid: bool = True
    naive_coverage: float | None = None
    naive_width: float | None = None

    @property
    def kept(self) -> bool:
        """Whether it covers what it must."""
        return not self.valid or (self.coverage >= LOWEST and (self.coverage <= HIGHEST or bool(self.reason)))


def row(interval, case, low, high, truth, **more):
    """Coverage of bounds `(draws,)`."""
    inside = (low <= truth) & (truth <= high)
    return Row(interval, case, float(inside.mean()), float((high - low).mean()), int(inside.size), **more)


def loop(interval, case, truth, draws, make, **more):
    """Coverage of an interval that is made once per draw."""
    made = [make() for _ in range(draws)]
    return row(interval, case, np.array([i.low for i in made]), np.array([i.high for i in made]), truth, **more)


def whole_counts(n, *rates):
    """The reason why a proportion may leave the band; empty where, at half of the rates or more, an interval that errs on both sides fits.

    An interval decides, for each count, whether a rate lies inside; the counts that say yes are a run from a to b. Of all runs with at most
    4.5 % on either side, one must have a probability in the band.
    """
    k = np.arange(n + 1)
    stuck = 0
    for p in rates:
        below, above = binom.cdf(k - 1, n, p), binom.sf(k, n, p)
        starts, ends = k[below <= 0.045], k[above <= 0.045]
        inside = 1 - below[starts][:, None] - above[ends][None, :]
        fits = (starts[:, None] <= ends[None, :]) & (inside >= LOWEST) & (inside <= HIGHEST)
        stuck += not fits.any()
    return WHOLE_COUNTS if stuck > len(rates) / 2 else ""
