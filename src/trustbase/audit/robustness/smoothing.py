"""The arithmetic of certificates by random masking: of many answers to an input with random units hidden, what no change can turn.

A smoothed answer is the one that an input gets most often while `kept` of its `units`, drawn at random, are read and the others are
hidden. Whoever changes `radius` units changes only what is read of those draws that keep one of them, a share of
`1 - C(units - radius, kept) / C(units, kept)`; so an answer given with more than a half beyond that share stays the most frequent one.

Source: Levine & Feizi (2020), "Robustness certificates for sparse adversarial attacks by randomized ablation", AAAI, section 3; Zeng, Xu,
Zheng & Huang (2023), "Certified robustness to text adversarial attacks by randomized [MASK]", Computational Linguistics 49, section 3 (with
β = 1, which needs no estimate); Cohen, Rosenfeld & Kolter (2019), ICML, section 3.2.2 (one sample chooses the answer, another counts it).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trustbase.audit.explain.units import Masks

SOURCE = (
    "Levine & Feizi (2020), AAAI, section 3; Zeng et al. (2023), Computational Linguistics 49, section 3; "
    "Cohen et al. (2019), ICML, section 3.2.2"
)
CHOOSING = 20  # draws that choose the answer; those that count it are others


@dataclass(frozen=True)
class Smoothed:
    """The smoothed answer to one input.

    Attributes:
        answer: the answer that is counted, by its place.
        usual: the most frequent answer of all draws; another one than `answer` only where both are about as frequent.
        share: how often `answer` was given among the draws that count it.
        low: what its true share is at least, at the confidence asked for; `share` itself where every mask was asked.
    """

    answer: int
    usual: int
    share: float
    low: float


def kept_of(units: int, share: float) -> int:
    """How many units are read: the share of them, rounded, and one at least."""
    return min(units, max(1, round(share * units)))


def touched(units: int, kept: int, radius: int) -> float:
    """Share of the draws that keep one of `radius` changed units; 1 where as many units are changed as there are."""
    return 1.0 if radius >= units else 1.0 - comb(units - radius, kept) / comb(units, kept)


def draws(units: int, kept: int, count: int, rng: np.random.Generator) -> tuple[Masks, bool]:
    """Masks `(draws, units)`, and whether these are all there are (then each stands in them once).

    Args:
        units: of the input.
        kept: units that each mask keeps.
        count: most masks.
        rng: of what is drawn, each time from all masks anew.
    """
    if comb(units, kept) <= count:
        found = np.zeros((comb(units, kept), units), dtype=bool)
        for row, places in enumerate(combinations(range(units), kept)):
            found[row, list(places)] = True
        return found, True
    ranks = rng.random((count, units)).argsort(axis=1).argsort(axis=1)
    return np.asarray(ranks < kept), False


def smoothed(answers: NDArray[np.integer], whole: bool, error: float) -> Smoothed:
    """The smoothed answer, from the answers to the masks of `draws`.

    Args:
        answers: `(draws,)`; of a sample the first `CHOOSING` choose the answer, and the others count it.
        whole: whether every mask was asked, so that nothing was sampled.
        error: chance with which the true share may lie under `low`.
    """
    if whole:
        answer = int(np.bincount(answers).argmax())
        share = float((answers == answer).mean())
        return Smoothed(answer, answer, share, share)
    answer = int(np.bincount(answers[:CHOOSING]).argmax())
    counted = answers[CHOOSING:]
    hits = int((counted == answer).sum())
    return Smoothed(answer, int(np.bincount(answers).argmax()), hits / len(counted), at_least(hits, len(counted), error))


def at_least(hits: int, count: int, error: float) -> float:
    """The one-sided exact lower bound of a share.

    Source: Clopper & Pearson (1934), Biometrika 26.
    """
    return float(special.betaincinv(hits, count - hits + 1, error)) if hits else 0.0


def stands(low: float, units: int, kept: int, radius: int) -> bool:
    """Whether an answer whose share is at least `low` is the most frequent one for every change of `radius` units."""
    return low - touched(units, kept, radius) > 0.5
