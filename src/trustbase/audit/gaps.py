"""The gaps between groups that a fairness audit reports: which rates each compares, and how it is bounded.

Source: Hardt, Price & Srebro (2016), NeurIPS, section 2 (equalized odds, equal opportunity); Feldman et al. (2015), KDD,
definition 1.1 (disparate impact); Bellamy et al. (2019), IBM J. Res. Dev. 63, section 5 (average odds).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trustbase.audit import contrasts
from trustbase.audit.contrasts import Bounds, Rates
from trustbase.records import Direction


@dataclass(frozen=True)
class Gap:
    """A gap over groups: the rates it compares, and how they are bounded."""

    metric: str
    rates: tuple[str, ...]
    bounds: Callable[[Sequence[Rates], float], Bounds]
    method: str
    direction: Direction = "lower"


GAPS = (
    Gap("demographic_parity_difference", ("selection_rate",), lambda r, c: contrasts.gap_bounds(r[0], confidence=c), contrasts.GAP_METHOD),
    Gap(
        "demographic_parity_ratio",
        ("selection_rate",),
        lambda r, c: contrasts.ratio_bounds(r[0], confidence=c),
        f"{contrasts.RATIO_METHOD}; the four-fifths rule of thumb reads this ratio at 0.8: a metric, not the law",
        "higher",
    ),
    Gap(
        "equalized_odds_difference",
        ("true_positive_rate", "false_positive_rate"),
        lambda r, c: contrasts.worst_gap_bounds(r, confidence=c),
        f"larger of the gaps in true and false positive rate; {contrasts.GAP_METHOD}",
    ),
    Gap(
        "equal_opportunity_difference", ("true_positive_rate",), lambda r, c: contrasts.gap_bounds(r[0], confidence=c), contrasts.GAP_METHOD
    ),
    Gap(
        "average_odds_difference",
        ("true_positive_rate", "false_positive_rate"),
        lambda r, c: contrasts.mean_gap_bounds(r[0], r[1], confidence=c),
        f"mean of the gaps in true and false positive rate; {contrasts.GAP_METHOD}",
    ),
    Gap("accuracy_difference", ("accuracy",), lambda r, c: contrasts.gap_bounds(r[0], confidence=c), contrasts.GAP_METHOD),
)
