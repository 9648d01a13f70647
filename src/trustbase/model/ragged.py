"""Scores of a row that are themselves a table: of each unit, tag or place. Rows differ in length, so they are one array each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ragged = NDArray[np.object_]  # `(rows,)` of arrays


def ragged(rows: Iterable[Any]) -> Ragged:
    """Arrays of rows as one array of objects, `(rows,)`: indexed, masked and joined like any other, and never stacked."""
    parts = list(rows)
    found = np.empty(len(parts), dtype=object)
    for place, part in enumerate(parts):
        found[place] = part
    return found


def largest_difference(rows: Iterable[Any], others: Iterable[Any]) -> NDArray[np.float64]:
    """The largest |difference| between the numbers of two tables, row by row, float64 `(rows,)`.

    Raises:
        ValueError: two tables of one row are of different shapes.
    """
    pairs = zip(rows, others, strict=True)
    return np.array([_apart(np.asarray(one, float), np.asarray(other, float)) for one, other in pairs], dtype=np.float64)


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if one.shape != other.shape:
        raise ValueError(f"answers to one input are of different shapes: {one.shape} and {other.shape}")
    return float(np.abs(one - other).max(initial=0.0))
