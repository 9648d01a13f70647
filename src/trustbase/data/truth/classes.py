"""One label of several for each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data import labels
from trustbase.data.rows import in_quotes
from trustbase.data.truth.base import Named, Read, Truth
from trustbase.errors import Problem
from trustbase.records import LabelSchema


class Classes(Truth):
    """The cell is the label's name."""

    needs_every_label = True

    def schema(self, column: pa.ChunkedArray, named: Named) -> LabelSchema:
        found = labels.label_texts(column)[0].unique().to_pylist()
        roles = {"positive": named.positive, "favourable": named.favourable, "neutral": named.neutral}
        if not named.choices:
            return labels.make_schema(found, source=named.source, **roles)
        schema = labels.make_schema(named.choices, source=named.source, **roles)
        return replace(schema, names=named.choices)  # scored in the order in which they are read

    def read(self, column: pa.ChunkedArray, schema: LabelSchema, texts: Sequence[str], *, whose: str) -> Read:
        cells, trimmed = labels.label_texts(column)
        codes = labels.label_codes(cells, schema)
        unknown = np.flatnonzero(codes < 0).tolist()
        return Read(codes, {row: (f"(label) is none {whose}", f"got {in_quotes(cells[row].as_py() or '')}") for row in unknown}, trimmed)

    def write(self, values: NDArray[Any], schema: LabelSchema) -> list[str]:
        named: list[str] = np.array(schema.names, dtype=object)[values].tolist()
        return named

    def counts(self, values: NDArray[Any], schema: LabelSchema) -> dict[str, Any]:
        found = np.bincount(values, minlength=len(schema.names))
        return {"labels": {name: int(count) for name, count in zip(schema.names, found, strict=True)}}

    def to_arrow(self, values: NDArray[Any], schema: LabelSchema) -> pa.Array:
        return pa.array(values, pa.int64())

    def from_arrow(self, column: pa.ChunkedArray, schema: LabelSchema) -> NDArray[Any]:
        return np.asarray(column.to_numpy(), dtype=np.int64)

    def codes(self, values: NDArray[Any], schema: LabelSchema) -> NDArray[np.int64]:
        return values

    def needed(self, values: NDArray[Any], taken: NDArray[np.bool_], schema: LabelSchema) -> NDArray[np.bool_]:
        left = np.bincount(values[~taken], minlength=len(schema.names))
        return np.asarray(taken & (left[values] == 0))

    def refused(self, values: NDArray[Any], schema: LabelSchema) -> list[Problem]:
        counts = np.bincount(values, minlength=len(schema.names))
        return [Problem("data.sample.train", f"no row of label '{schema.names[code]}' is left") for code in np.flatnonzero(counts == 0)]


CLASSES = Classes()
