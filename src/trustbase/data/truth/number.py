"""A number for each row: a price, a score, a risk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data.rows import DECIMAL_COMMA, has_decimal_comma, in_quotes
from trustbase.data.truth.base import Named, Read, Truth, assumed, trimmed
from trustbase.errors import DataError, Problem
from trustbase.records import LabelSchema

#: Numbers beyond it are bad rows, and training rows must differ by more than its inverse: scores are float32, which ends at 3.4e38 and
#: begins at 1.2e-38, and answers beyond the labels and their products with a spread need room between both.
LARGEST, LEAST_SPREAD = 1e30, 1e-30
#: Standard deviations from the mean of the training rows: the square of no more than these can be a loss in float32.
FARTHEST = 1e19
#: Interquartile ranges beyond the quartiles from which a number is asked about: normal ones would be 27 standard deviations out there.
FAR = 20
_UNIT = "write them in another unit"


class Number(Truth):
    """The cell is a finite number as programs write it: 12, -0.5, 1e3; no thousands' separators, units or commas, and one alone."""

    nested = True  # so that a list is said to be no number, as any other cell that is none

    def schema(self, column: pa.ChunkedArray, named: Named) -> LabelSchema:
        roles = (("data.positive", named.positive), ("data.favourable", named.favourable))
        problems = [Problem(where, f"names a label '{name}', and this task's truth is a number") for where, name in roles if name]
        cells = trimmed(column)[0]
        found = np.array([number for cell in cells if (number := _number(cell)) is not None])
        values = found[np.abs(found) <= LARGEST]
        alike = _alike(values, named.column, named.source)
        if not len(found):
            problems.append(_none(cells, named))
        elif len(values) == len(cells):
            problems += alike
        if problems:
            raise DataError("the labels are not as described", problems=problems)
        if alike:  # cells that are no usable numbers may be why: reading names each, and `refused` what is left where they are tolerated
            return assumed([named.column])
        return assumed([named.column], center=float(values.mean()), scale=float(values.std()))

    def doubtful(self, values: NDArray[Any], known: NDArray[Any]) -> list[int]:
        low, high = np.quantile(known, [0.25, 0.75])
        room = FAR * (high - low)  # of numbers that are mostly one and the same there is none, and nothing to hold the others against
        return np.flatnonzero((values < low - room) | (values > high + room)).tolist() if room > 0 else []

    def refused(self, values: NDArray[Any], schema: LabelSchema) -> list[Problem]:
        return _alike(values, schema.names[0], "data.label")

    def read(self, column: pa.ChunkedArray, schema: LabelSchema, texts: Sequence[str], *, whose: str) -> Read:
        cells, changed = trimmed(column)
        values = np.full(len(cells), np.nan)
        bad = {}
        for row, cell in enumerate(cells):
            number = _number(cell)
            if number is None:
                kind = DECIMAL_COMMA if has_decimal_comma(cell) else "is no finite number"
                bad[row] = (f"(label) {kind}", f"got {in_quotes(cell)}")
            elif abs(number) > LARGEST:
                bad[row] = (f"(label) is beyond {LARGEST:g}, the largest number that can be learned", f"got {in_quotes(cell)}; {_UNIT}")
            elif abs(number - schema.center) > FARTHEST * schema.scale:
                most = f"{schema.center:g} ± {FARTHEST * schema.scale:g}"
                bad[row] = (
                    "(label) is too far from the training rows' numbers for a score",
                    f"got {in_quotes(cell)}, and {most} is usable",
                )
            else:
                values[row] = number
        return Read(values, bad, changed)

    def write(self, values: NDArray[Any], schema: LabelSchema) -> list[str]:
        return [repr(value) for value in values.tolist()]

    def counts(self, values: NDArray[Any], schema: LabelSchema) -> dict[str, Any]:
        quantiles = np.quantile(values, [0.25, 0.5, 0.75])
        names = ("mean", "standard_deviation", "quartile_1", "median", "quartile_3")
        numbers = (values.mean(), values.std(), *quantiles)  # neither least nor largest: these belong to single rows
        return {"labels": {}, "numbers": {name: float(value) for name, value in zip(names, numbers, strict=True)}}

    def to_arrow(self, values: NDArray[Any], schema: LabelSchema) -> pa.Array:
        return pa.array(values, pa.float64())

    def from_arrow(self, column: pa.ChunkedArray, schema: LabelSchema) -> NDArray[Any]:
        return np.asarray(column.to_numpy(), dtype=np.float64)


def _alike(values: NDArray[Any], column: str, where: str) -> list[Problem]:
    """Why nothing is learned from these numbers; empty where they differ enough."""
    if not len(values):
        return [Problem(where, f"column '{column}' (label) must be numbers that differ; it holds 0 numbers")]
    low, high, spread = float(values.min()), float(values.max()), float(values.std())
    least = max(LEAST_SPREAD, 1e-12 * max(abs(low), abs(high)))
    if spread > least:
        return []
    found = f"it holds {len(values):,} numbers"
    if low == high:
        return [Problem(where, f"column '{column}' (label) must be numbers that differ; {found}, all {low:g}")]
    message = f"must be numbers that differ, with a standard deviation over {least:g}; {found} from {low!r} to {high!r}"
    return [Problem(where, f"column '{column}' (label) {message}", _UNIT)]


def _none(cells: Sequence[str], named: Named) -> Problem:
    """What is said where no cell at all is a number: one line, as it is likely the wrong column."""
    commas = sum(map(has_decimal_comma, cells))
    step = f"{commas:,} of them are written with a comma: write 1.5 for 1,5" if commas else "is it the right column?"
    message = f"must be numbers that differ; none of its {len(cells):,} cells is one, the first is {in_quotes(cells[0])}"
    return Problem(named.source, f"column '{named.column}' (label) {message}", step)


def _number(cell: str) -> float | None:
    """The number that a cell writes, infinite where a float cannot hold it; None where it is none."""
    try:
        number = float(cell) if "_" not in cell else math.nan
    except ValueError:
        return None
    return None if math.isnan(number) or (math.isinf(number) and not any(map(str.isdigit, cell))) else number


NUMBER = Number()
