"""Two settings over several seeds: how far apart they are, and whether that is more than seeds make of one setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

SOURCE = "Student (1908), The probable error of a mean; paired by seed"


@dataclass(frozen=True)
class Difference:
    """The second setting's loss minus the first's, over the same seeds.

    Attributes:
        value, low, high: mean and its interval; the bounds are None where there are fewer than two pairs.
        pairs: seeds with which both were trained.
        confidence: of the interval.
        beyond_noise: whether the interval leaves out zero; None where there is none.
        source: of the method.
    """

    value: float
    low: float | None
    high: float | None
    pairs: int
    confidence: float
    beyond_noise: bool | None
    source: str = SOURCE

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def paired_difference(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95) -> Difference:
    """Mean difference `second - first` with its t interval; each pair shares seed, order of texts and first weights.

    Source: Student (1908); with few pairs the interval is wide, as it has to be (12.7 standard errors with two, 4.3 with three).
    """
    apart = np.asarray(second, float) - np.asarray(first, float)
    pairs = len(apart)
    if not pairs:
        return Difference(math.nan, None, None, 0, confidence, None)
    mean = float(apart.mean())
    if pairs < 2:
        return Difference(mean, None, None, pairs, confidence, None)
    half = float(stats.t.ppf((1 + confidence) / 2, pairs - 1) * apart.std(ddof=1) / math.sqrt(pairs))
    low, high = mean - half, mean + half
    return Difference(mean, low, high, pairs, confidence, not low <= 0 <= high)


@dataclass(frozen=True)
class Noise:
    """Standard deviation of the loss of one setting from seed to seed, pooled over settings; None where it is not known."""

    deviation: float | None
    freedom: int

    def band(self, confidence: float = 0.95) -> float | None:
        """How far apart two single trainings must be to differ beyond noise, did seeds not pair them."""
        if self.deviation is None:
            return None
        return float(stats.t.ppf((1 + confidence) / 2, self.freedom) * math.sqrt(2) * self.deviation)


def pooled_noise(groups: Sequence[Sequence[float]]) -> Noise:
    """Noise from several trainings of each of some settings."""
    several = [np.asarray(group, float) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    if not freedom:
        return Noise(None, 0)
    return Noise(math.sqrt(sum(float(((group - group.mean()) ** 2).sum()) for group in several) / freedom), freedom)
