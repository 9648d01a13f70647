"""Where the answers are worst: accuracy over slices of the test rows, with bounds that hold for all slices at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext, Partition
from trustbase.audit.guard import NAMED_ROWS
from trustbase.audit.rivals import plain_text
from trustbase.audit.stats import normal_quantile, proportion_bounds
from trustbase.data.marked import parts
from trustbase.data.terms import are_marked

AFTERWARDS = ("true_label", "predicted_label")  # parts that only the truth or the answer makes
_MAX_VALUES = 25  # of a column that is sliced by its values; a column with more is sliced by quartiles where it is numeric
_LONGEST_VALUE = 40  # characters; a column with longer values holds texts, which are not written anywhere
_MOST_WORDS = 5  # of such a value
_SOURCE = "Lancaster (1961), JASA 56 (mid-P); Bonferroni (Dunn 1961, JASA 56) over the slices examined"


@dataclass(frozen=True)
class Slice:
    """One part of the test rows.

    Attributes:
        kind: "group", "column", "text_length", "true_label" or "predicted_label".
        name: `((column, value), …)`, as in a finding id.
        low, high: bounds of the accuracy that hold for every slice at once.
    """

    kind: str
    name: tuple[tuple[str, str], ...]
    n: int
    accuracy: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "slice": dict(self.name),
            "n": self.n,
            "accuracy": self.accuracy,
            "low": self.low,
            "high": self.high,
        }


@dataclass(frozen=True)
class SliceTable:
    """All slices examined, worst first, and how many were too small to look at."""

    slices: tuple[Slice, ...]
    too_small: int
    method: str
    source: str = _SOURCE

    def known_beforehand(self) -> tuple[Slice, ...]:
        """Slices that can be told before the answer and the truth are known: by group, column or length."""
        return tuple(item for item in self.slices if item.kind not in AFTERWARDS)


def slice_accuracies(context: AuditContext) -> SliceTable:
    """Accuracy of every slice of at least `minimum_cell` rows (and never fewer than 30, as slices are named), worst first."""
    least = least_rows(context)
    correct = context.answers.predicted == context.test.labels
    named: list[tuple[str, tuple[tuple[str, str], ...], int, int]] = []
    too_small = 0
    for kind, columns, codes, names in partitions(context):
        n = np.bincount(codes, minlength=len(names))
        right = np.bincount(codes, weights=correct, minlength=len(names))
        for index, values in enumerate(names):
            if n[index] >= least:
                named.append((kind, tuple(zip(columns, values, strict=True)), int(n[index]), round(float(right[index]))))
            else:
                too_small += int(n[index] > 0)
    count = max(len(named), 1)
    quantile = normal_quantile(1 - (1 - context.confidence) / count)
    low, high = proportion_bounds([item[3] for item in named], [item[2] for item in named], quantile)
    slices = [
        Slice(kind, name, n, right / n, min(float(low[i]), right / n), max(float(high[i]), right / n))
        for i, (kind, name, n, right) in enumerate(named)
    ]
    slices.sort(key=lambda item: (item.accuracy, -item.n, item.name))
    afterwards = sum(item.kind in AFTERWARDS for item in slices)
    among = f", {afterwards} of them by true label or by answer" if afterwards else ""
    return SliceTable(tuple(slices), too_small, f"mid-P bounds that hold for all {count} slices at once{among} (Bonferroni)")


def least_rows(context: AuditContext) -> int:
    """Rows from which a part of the test rows is measured; where the parts are fixed, all of those are."""
    return 1 if context.parts is not None else max(context.minimum_cell, NAMED_ROWS)


def findable(context: AuditContext) -> tuple[Partition, ...]:
    """The parts that findings may speak of: known beforehand and of rows enough. A row of none of them has a code beyond the names."""
    least, found = least_rows(context), []
    for kind, columns, codes, names in partitions(context):
        if kind not in AFTERWARDS:
            kept = np.bincount(codes, minlength=len(names)) >= least
            place = np.where(kept, kept.cumsum() - 1, kept.sum())
            found.append((kind, columns, place[codes], [name for name, stays in zip(names, kept, strict=True) if stays]))
    return tuple(found)


def partitions(context: AuditContext) -> Iterator[Partition]:
    """The ways to divide the test rows that are looked at: by group, column, length of the text, label and answer."""
    if context.parts is not None:
        yield from context.parts
        return
    groups = {column: _coded(values) for column, values in context.test.groups.items()}
    for column, (codes, names) in groups.items():
        yield "group", (column,), codes, [(name,) for name in names]
    for (first, (a, a_names)), (second, (b, b_names)) in combinations(groups.items(), 2):
        present, codes = np.unique(a * len(b_names) + b, return_inverse=True)  # two columns of postcodes have more pairs than memory
        pairs: list[tuple[str, ...]] = [(a_names[code // len(b_names)], b_names[code % len(b_names)]) for code in present.tolist()]
        yield "group", (first, second), codes.astype(np.int64), pairs
    yield from _columns(context, skip=groups)
    lengths = np.fromiter((len(text) for text in context.test.texts), np.float64, len(context.test))
    if len(context.test) and (quarters := _quartiles(lengths, "characters")) is not None:
        yield "text_length", ("text length",), quarters[0], quarters[1]
    labels: list[tuple[str, ...]] = [(name,) for name in context.labels.names]
    yield "true_label", ("true label",), context.test.labels, labels
    yield "predicted_label", ("predicted label",), context.answers.predicted, labels


def _columns(context: AuditContext, *, skip: Mapping[str, Any]) -> Iterator[Partition]:
    """Columns of the template with few values, and quartiles of the numeric ones; never a text column as it stands."""
    table = context.test.table
    named = table.column_names
    if are_marked(context.test.texts):
        yield from _entities(context.test.texts)
        named = list(context.test.features)
    if plain_text(context.test):
        return
    for column in named:
        if column in skip:
            continue
        values = np.array([value or "" for value in table.column(column).to_pylist()], dtype=object)
        codes, names = _coded(values)
        if len(names) <= _MAX_VALUES and not _texts(names):
            yield "column", (column,), codes, [(name or "missing",) for name in names]
        elif (numbers := _numeric(names)) is not None and (quarters := _quartiles(numbers[codes], "")) is not None:
            yield "column", (column,), quarters[0], quarters[1]


def _entities(texts: Sequence[str]) -> Iterator[Partition]:
    """What is known of two marked entities: their types, and how far apart they stand; where they stand in the text says nothing."""
    found = [parts(text) for text in texts]
    for which, column in enumerate(("head type", "tail type")):
        codes, names = _coded(np.array([item.types[which] if item else "" for item in found], dtype=object))
        if any(names) and len(names) <= _MAX_VALUES:
            yield "column", (column,), codes, [(name or "missing",) for name in names]
    apart = np.array([len(item.between) if item else 0 for item in found], dtype=np.float64)
    if (quarters := _quartiles(apart, "characters")) is not None:
        yield "column", ("between entities",), quarters[0], quarters[1]


def _texts(names: list[str]) -> bool:
    """Whether a column's values read like texts that people wrote, rather than names of a category."""
    return any(len(name) > _LONGEST_VALUE or len(name.split()) > _MOST_WORDS for name in names)


def _coded(values: NDArray[np.object_]) -> tuple[NDArray[np.int64], list[str]]:
    import pandas as pd

    codes, names = pd.factorize(values, sort=True)
    return codes.astype(np.int64), [str(name) for name in names]


def _numeric(names: list[str]) -> NDArray[np.float64] | None:
    try:
        numbers = np.array([float(name) for name in names])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _quartiles(values: NDArray[np.float64], unit: str) -> tuple[NDArray[np.int64], list[tuple[str, ...]]] | None:
    """Rows by quartile of a number, and the inner bounds of each; None where nearly all rows are alike.

    The outer bounds are left open: the smallest and the largest value belong to single rows.
    """
    edges = np.unique(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
    if len(edges) < 3:
        return None
    codes = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    tail = f" {unit}" if unit else ""
    inner = [f"{low:g} to {high:g}{tail}" for low, high in pairwise(edges[1:-1])]
    names: list[tuple[str, ...]] = [(f"under {edges[1]:g}{tail}",), *((name,) for name in inner), (f"{edges[-2]:g}{tail} and over",)]
    return codes.astype(np.int64), names
