"""A number for each row: a price, a score, a risk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data.rows import in_quotes
from trustbase.data.truth.base import Named, Read, Truth, assumed, trimmed
from trustbase.errors import DataError, Problem
from trustbase.records import LabelSchema


class Number(Truth):
    """The cell is a finite number as programs write it: 12, -0.5, 1e3; no thousands' separators, units or commas."""

    def schema(self, column: pa.ChunkedArray, named: Named) -> LabelSchema:
        roles = (("data.positive", named.positive), ("data.favourable", named.favourable))
        problems = [Problem(where, f"names a label '{name}', and this task's truth is a number") for where, name in roles if name]
        values = np.array([number for cell in trimmed(column)[0] if (number := _number(cell)) is not None])
        spread = float(values.std()) if len(values) else 0.0
        if spread <= 1e-12 * float(np.abs(values).max(initial=0.0)):
            found = f"it holds {len(values):,} numbers" + (f", all {values[0]:g}" if len(values) else "")
            problems.append(Problem(named.source, f"column '{named.column}' (label) must be numbers that differ; {found}"))
        if problems:
            raise DataError("the labels are not as described", problems=problems)
        return assumed([named.column], center=float(values.mean()), scale=spread)

    def read(self, column: pa.ChunkedArray, schema: LabelSchema, texts: Sequence[str], *, whose: str) -> Read:
        cells, changed = trimmed(column)
        values = np.full(len(cells), np.nan)
        bad = {}
        for row, cell in enumerate(cells):
            number = _number(cell)
            if number is None:
                bad[row] = ("(label) is no finite number", f"got {in_quotes(cell or '')}")
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


def _number(cell: str | None) -> float | None:
    try:
        number = float(cell) if cell is not None and "_" not in cell else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


NUMBER = Number()
