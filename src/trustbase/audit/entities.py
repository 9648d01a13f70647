"""Entities answered beside true ones: counts of each row, what becomes of each entity, and intervals of precision, recall and F1.

An answer is right where start, end and type are: strict matching, as `conlleval` and the strict mode of seqeval count.

Source: Tjong Kim Sang & De Meulder (2003), section 4.1 (precision, recall and F1 over entities); the kinds of errors: Chinchor & Sundheim
(1993), "MUC-5 evaluation metrics" (correct, incorrect, partial, missing, spurious), with boundary and type told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.catalogue import ENTITY_FATES, Fate
from trustbase.audit.resampled import of_shares
from trustbase.audit.stats import Floats, Interval
from trustbase.data.tags import Entity

Statistic = Callable[[Floats], Floats]


def sums_of(told: NDArray[Any], truth: NDArray[Any], label: str | None = None) -> Floats:
    """Hits, answered and true entities of each row, of one type or of all, `(rows, 3)`."""
    rows = [(_of(answer, label), _of(true, label)) for answer, true in zip(told, truth, strict=True)]
    return np.array([(len(answer & true), len(answer), len(true)) for answer, true in rows], dtype=np.float64).reshape(-1, 3)


def precision(sums: Floats) -> Floats:
    """Share of the answered entities that are right; not defined where none was answered."""
    return _ratio(sums[..., 0], sums[..., 1])


def recall(sums: Floats) -> Floats:
    """Share of the true entities that were answered; not defined where there are none."""
    return _ratio(sums[..., 0], sums[..., 2])


def f1(sums: Floats) -> Floats:
    """Harmonic mean of both; not defined where nothing was answered and there was nothing."""
    return _ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


STATISTICS: dict[str, Statistic] = {"f1": f1, "precision": precision, "recall": recall}


def interval(sums: Floats, statistic: Statistic, *, rng: np.random.Generator, confidence: float) -> Interval:
    """The interval of a statistic of entities, whose rows are resampled.

    Where they are all alike, it is what the share of rows says that have an entity of which the statistic speaks (`resampled.of_shares`).

    Raises:
        ValueError: the value is not defined, or there are too few rows.
    """
    told = sums[:, 1] > 0 if statistic is precision else sums[:, 2] > 0 if statistic is recall else (sums[:, 1:] > 0).any(axis=1)
    harmonic, n = statistic is f1, int(_size(sums, statistic))
    return of_shares(sums, statistic, np.asarray(told), rng=rng, confidence=confidence, n=n, harmonic=harmonic)


def fates(told: NDArray[Any], truth: NDArray[Any]) -> tuple[dict[Fate, int], dict[Fate, int]]:
    """What became of each true entity, and what each answered one is: two tables, each summing to all of its own.

    A true entity is correct, or has its span answered with another type, or overlaps an answered one of its type (wrong boundary) or of
    another (both wrong), or is missed. An answered one is told by the same rules, or spurious where nothing true is near.
    """
    of_true, of_told = dict.fromkeys(ENTITY_FATES, 0), dict.fromkeys(ENTITY_FATES, 0)
    for answer, true in zip(told, truth, strict=True):
        for entity in true:
            of_true[_fate(entity, answer, "missed")] += 1
        for entity in answer:
            of_told[_fate(entity, true, "spurious")] += 1
    return of_true, of_told


def mixed_up(told: NDArray[Any], truth: NDArray[Any], most: int = 10) -> list[dict[str, Any]]:
    """Types that were answered in place of others on the very same span, the most frequent first."""
    counts: dict[tuple[str, str], int] = {}
    for answer, true in zip(told, truth, strict=True):
        spans = {(start, end): name for start, end, name in answer}
        for start, end, name in true:
            other = spans.get((start, end), name)
            if other != name:
                counts[name, other] = counts.get((name, other), 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"truth": name, "answer": other, "n": count} for (name, other), count in ordered[:most]]


def _fate(entity: Entity, others: Sequence[Entity], alone: Fate) -> Fate:
    start, end, name = entity
    near = [other for other in others if other[0] < end and start < other[1]]
    if not near:
        return alone
    if entity in near:
        return "correct"
    if any(other[:2] == (start, end) for other in near):
        return "wrong_type"
    return "wrong_boundary" if any(other[2] == name for other in near) else "wrong_both"


def _of(entities: Sequence[Entity], label: str | None) -> set[Entity]:
    return {entity for entity in entities if label is None or entity[2] == label}


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0), dtype=np.float64)


def _size(sums: Floats, statistic: Statistic) -> float:
    """Entities that a number speaks of."""
    told, true = sums[:, 1].sum(), sums[:, 2].sum()
    return float(told if statistic is precision else true)
