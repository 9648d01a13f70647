"""Calibration: the reliability curve and the expected calibration error, with honest intervals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from trustbase.audit.stats import Interval, enclosing, normal_quantile, wilson_bounds

_SOURCE = "Naeini, Cooper & Hauskrecht (2015), AAAI, section 4 (binned calibration error)"


def reliability_curve(
    confidence_scores: ArrayLike, correct: ArrayLike, *, bins: int = 15, confidence: float = 0.95
) -> list[dict[str, float]]:
    """Rows of the reliability curve, one per filled bin: n, mean confidence, accuracy with Wilson bounds."""
    sure, right = np.asarray(confidence_scores, float), np.asarray(correct, float)
    index = np.minimum((sure * bins).astype(np.int64), bins - 1)
    n = np.bincount(index, minlength=bins)
    total, hits = np.bincount(index, sure, bins), np.bincount(index, right, bins)
    low, high = wilson_bounds(hits, n, normal_quantile(confidence))
    return [
        {"from": b / bins, "to": (b + 1) / bins, "n": int(n[b]), "confidence": float(total[b] / n[b]), "accuracy": float(hits[b] / n[b]),
         "low": float(low[b]), "high": float(high[b])}
        for b in range(bins) if n[b]
    ]  # fmt: skip


def expected_calibration_error(
    confidence_scores: ArrayLike, correct: ArrayLike, *, bins: int = 15, rng: np.random.Generator, confidence: float = 0.95
) -> Interval:
    """Expected calibration error over equal-width bins."""
    sure, right = np.asarray(confidence_scores, float), np.asarray(correct, float)
    index = np.minimum((sure * bins).astype(np.int64), bins - 1)
    gap = np.bincount(index, right - sure, bins) / sure.size
    square = np.bincount(index, (right - sure) ** 2, bins) / sure.size
    error = np.sqrt(np.maximum(square - gap**2, 0) / sure.size)
    value = float(np.abs(gap).sum())
    half = normal_quantile(confidence) * math.sqrt(float((error**2).sum()))
    bias = float(error.sum()) * math.sqrt(2 / math.pi)
    return enclosing(
        max(value - bias - half, 0.0), value, value + half, "normal bounds, lower one less the bias of the estimate", _SOURCE, sure.size
    )
