"""Any number of labels for each row, of a set that the training rows show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data.rows import in_quotes
from trustbase.data.truth.base import Named, Read, Truth, assumed, read_json, trimmed
from trustbase.errors import DataError, Problem
from trustbase.records import LabelSchema

SEPARATOR = ";"


class Labels(Truth):
    """The cell is a JSON list of names, or names with semicolons between them; `[]` says that a row has none."""

    needs_every_label = True
    nested = True

    def schema(self, column: pa.ChunkedArray, named: Named) -> LabelSchema:
        roles = (("data.positive", named.positive), ("data.favourable", named.favourable))
        problems = [Problem(where, f"names '{name}', and no label of several is the positive one") for where, name in roles if name]
        found: set[str] = set()
        for cell in set(trimmed(column)[0]):
            found.update(names_in(cell) or ())
        if not found:
            problems.append(Problem(named.source, f"column '{named.column}' (label) names no label in any row"))
        if problems:
            raise DataError("the labels are not as described", problems=problems)
        return assumed(sorted(found))

    def read(self, column: pa.ChunkedArray, schema: LabelSchema, texts: Sequence[str], *, whose: str) -> Read:
        cells, changed = trimmed(column)
        places = {name: place for place, name in enumerate(schema.names)}
        values = np.zeros((len(cells), len(schema.names)), dtype=bool)
        bad: dict[int, tuple[str, str]] = {}
        for row, cell in enumerate(cells):
            names = names_in(cell)
            if names is None:
                bad[row] = ("(label) is neither names between semicolons nor a JSON list of names", f"got {in_quotes(cell)}")
                continue
            unknown = [name for name in names if name not in places]
            if unknown:
                bad[row] = (f"(label) names what is none {whose}", f"got {', '.join(map(in_quotes, unknown[:5]))}")
            elif len(set(names)) != len(names):
                bad[row] = ("(label) names a label twice", f"got {in_quotes(cell)}")
            else:
                values[row, [places[name] for name in names]] = True
        return Read(values, bad, changed)

    def write(self, values: NDArray[Any], schema: LabelSchema) -> list[str]:
        return [json.dumps([schema.names[place] for place in np.flatnonzero(row)], ensure_ascii=False) for row in values]

    def counts(self, values: NDArray[Any], schema: LabelSchema) -> dict[str, Any]:
        named = {name: int(count) for name, count in zip(schema.names, values.sum(axis=0), strict=True)}
        return {"labels": named, "rows_without_label": int((~values.any(axis=1)).sum()), "labels_a_row": float(values.sum(axis=1).mean())}

    def needed(self, values: NDArray[Any], taken: NDArray[np.bool_], schema: LabelSchema) -> NDArray[np.bool_]:
        left = values[~taken]
        shown = values[:, ~left.any(axis=0)].any(axis=1) | ~values[:, left.all(axis=0)].all(axis=1)  # never without one is as bad as never
        return np.asarray(taken & shown)

    def refused(self, values: NDArray[Any], schema: LabelSchema) -> list[Problem]:
        counts = values.sum(axis=0)
        alike = {0: "no training row has", len(values): "every training row has"}
        return [
            Problem("data.label", f"{alike[int(count)]} label '{name}', so nothing says when it is right")
            for name, count in zip(schema.names, counts, strict=True)
            if int(count) in alike
        ]


def names_in(cell: str) -> list[str] | None:
    """The names in a cell; None where it is a list of something else."""
    if not cell.startswith("["):
        return [name.strip() for name in cell.split(SEPARATOR) if name.strip()] or None
    try:
        found = read_json(cell)
    except ValueError:
        return None
    if not all(isinstance(name, str) and name.strip() for name in found):
        return None
    return [name.strip() for name in found]


LABELS = Labels()
