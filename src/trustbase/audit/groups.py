"""Counts by group, fast: one pass over the rows, then everything else is arithmetic on a small table.

All count metrics (accuracy, selection rate, true and false positive rate, precision) of every group and of every intersection follow
from how many rows of each group have which true and which answered label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from trustbase.audit.stats import Floats
from trustbase.data import groups as naming
from trustbase.records import UNKNOWN_GROUP

Counts = NDArray[np.int64]
_DENSE_CELLS = 2**24  # above this, only the combinations of groups that occur get a cell


@dataclass(frozen=True, eq=False)
class Codes:
    """A group column as small integers, so that strings are read once.

    Attributes:
        codes: index into `names`, `(rows,)`.
        names: the groups, sorted as text.
    """

    codes: NDArray[Any]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class GroupCounts:
    """Rows of each group (or intersection) by true and answered label.

    Attributes:
        columns: group columns, in recipe order.
        members: the groups that occur, each a tuple with one value per column.
        table: `(groups, classes, classes)`, true label before answered label.
    """

    columns: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    table: Counts

    def marginal(self, columns: Sequence[str]) -> GroupCounts:
        """Counts over fewer columns, by summing the table.

        Raises:
            KeyError: a column that was not counted.
        """
        chosen = [self.columns.index(column) if column in self.columns else _no_such(column, self.columns) for column in columns]
        index: dict[tuple[str, ...], int] = {}
        target = [index.setdefault(tuple(member[c] for c in chosen), len(index)) for member in self.members]
        table = np.zeros((len(index), *self.table.shape[1:]), np.int64)
        np.add.at(table, target, self.table)
        order = sorted(range(len(index)), key=list(index).__getitem__)
        names = list(index)
        return GroupCounts(tuple(columns), tuple(names[i] for i in order), table[order])

    @cached_property
    def _margins(self) -> Cells:
        """Counts of every label at once, `(groups, classes)`: summed once, for with many labels the table is large."""
        table = self.table
        hits = np.diagonal(table, axis1=1, axis2=2)
        return Cells(n=table.sum((1, 2)), positives=table.sum(2), selected=table.sum(1), hits=hits, right=hits.sum(1))

    def one_vs_rest(self, label: int) -> Cells:
        """Counts where `label` is the outcome that is selected."""
        all_labels = self._margins
        return replace(
            all_labels,
            positives=all_labels.positives[:, label],
            selected=all_labels.selected[:, label],
            hits=all_labels.hits[:, label],
        )


@dataclass(frozen=True)
class Unnamed:
    """Groups of a column with more than `most` of them that are counted together and never named.

    Attributes:
        small, small_rows: groups of fewer than `least` rows, and their rows together.
        further, further_rows: groups of enough rows beyond the `most` largest, and their rows together.
    """

    least: int
    most: int
    small: int = 0
    small_rows: int = 0
    further: int = 0
    further_rows: int = 0

    def __str__(self) -> str:
        parts = []
        if self.small:
            parts.append(f"{self.small} of the groups with fewer than {self.least} rows each, {self.small_rows} rows together")
        if self.further:
            parts.append(f"{self.further} of the groups beyond the {self.most} largest, {self.further_rows} rows together")
        return "; ".join(parts)

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def named_groups(counts: GroupCounts, *, least: int, most: int) -> tuple[GroupCounts, Unnamed]:
    """The groups that are named, by the rule of `data.groups.named_groups`, and what is known of the rest together."""
    n = counts.table.sum((1, 2))
    kept = naming.named_groups(n, least=least, most=most)
    rest_of = np.setdiff1d(np.arange(n.size), kept)
    small, further = rest_of[n[rest_of] < least], rest_of[n[rest_of] >= least]
    rest = Unnamed(least, most, small.size, int(n[small].sum()), further.size, int(n[further].sum()))
    return GroupCounts(counts.columns, tuple(counts.members[i] for i in kept.tolist()), counts.table[kept]), rest


def same_groups(counts: GroupCounts, named: GroupCounts) -> GroupCounts:
    """Counts of a part of the rows for the groups named among all rows, `(groups of named, …)`: zeros where none is left of one."""
    place = {member: i for i, member in enumerate(counts.members)}
    table = np.zeros((len(named.members), *counts.table.shape[1:]), np.int64)
    for i, member in enumerate(named.members):
        if member in place:
            table[i] = counts.table[place[member]]
    return GroupCounts(counts.columns, named.members, table)


@dataclass(frozen=True, eq=False)
class Cells:
    """Counts of one label against the rest, each of any leading shape then `(groups,)`.

    `right` counts rows whose answer is exactly right (over all labels, not one against the rest).
    """

    n: Counts
    positives: Counts
    selected: Counts
    hits: Counts
    right: Counts

    @property
    def negatives(self) -> Counts:
        return self.n - self.positives

    @property
    def false_alarms(self) -> Counts:
        return self.selected - self.hits

    def counts(self, metric: str) -> tuple[Counts, Counts]:
        """Successes and trials of a rate."""
        pairs = {
            "base_rate": (self.positives, self.n),
            "selection_rate": (self.selected, self.n),
            "accuracy": (self.right, self.n),
            "true_positive_rate": (self.hits, self.positives),
            "false_positive_rate": (self.false_alarms, self.negatives),
            "positive_predictive_value": (self.hits, self.selected),
        }
        return pairs[metric]

    def rate(self, metric: str) -> Floats:
        """A rate, NaN where nothing meets its condition."""
        k, n = self.counts(metric)
        rate: Floats = np.divide(k, n, out=np.full(k.shape, np.nan), where=n > 0)
        return rate


RATES = ("base_rate", "selection_rate", "accuracy", "true_positive_rate", "false_positive_rate", "positive_predictive_value")


def encode(values: ArrayLike | Codes | pd.Series[Any] | pd.Categorical) -> Codes:
    """A group column as codes; missing values are the group "unknown". Groups are sorted by name."""
    if isinstance(values, Codes):
        return values
    kind = getattr(values, "dtype", None)
    if isinstance(kind, pd.CategoricalDtype):
        category = values.array if isinstance(values, pd.Series) else values
        return _named(np.asarray(category.codes), kind.categories)  # type: ignore[union-attr]
    array = values if isinstance(values, pd.Series) else np.asarray(values)
    if isinstance(array, np.ndarray) and array.dtype == object and _repeats_objects(array):
        pointers, first = _by_identity(array)
        named = _named(*pd.factorize(array[first]))
        return Codes(named.codes[pointers], named.names)
    return _named(*pd.factorize(array))


def _repeats_objects(array: NDArray[Any]) -> bool:
    """Whether the column is made of few objects, each repeated, as columns with few groups mostly are."""
    head = array[:2000]
    return array.size > 10_000 and len({id(value) for value in head}) < 100


def _by_identity(array: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Code of each object by its address, and the first row of each: compares no strings, so it is five times faster.

    Equal strings at different addresses get different codes here; the caller joins them by value.
    """
    codes, _ = pd.factorize(np.frombuffer(array.tobytes(), np.intp))
    first = np.full(int(codes.max()) + 1, array.size, np.int64)
    if first.size < 1000:  # later rows never lower the minimum of a code that was seen in the head
        head = codes[:100_000]
        np.minimum.at(first, head, np.arange(head.size))
    missing = np.flatnonzero(first == array.size)
    if missing.size:
        np.minimum.at(first, codes, np.arange(array.size))
    return codes, first


def _named(codes: NDArray[Any], uniques: Any) -> Codes:
    """Sort groups by name and give missing values (code -1) the group "unknown"."""
    texts = [UNKNOWN_GROUP if pd.isna(value) else str(value) for value in uniques] + [UNKNOWN_GROUP]
    has_missing = bool((codes < 0).any())
    names = sorted(set(texts if has_missing else texts[:-1]))
    index = {name: i for i, name in enumerate(names)}
    place = np.array([index.get(text, 0) for text in texts], np.int16 if len(names) < 2**15 else np.int64)
    return Codes(place.take(codes, mode="wrap") if has_missing else place[codes], tuple(names))


def group_counts(
    y_true: ArrayLike, y_pred: ArrayLike, groups: Mapping[str, ArrayLike | Codes | pd.Series[Any]], *, classes: int | None = None
) -> GroupCounts:
    """Count rows by the intersection of all group columns, true label and answer, in one pass.

    Args:
        y_true: label index `(rows,)`.
        y_pred: answered label index `(rows,)`.
        groups: group column → values, or codes made by `encode`, each `(rows,)`.
        classes: number of labels; by default one more than the largest index.

    Raises:
        ValueError: columns of unequal length, or a label outside `0 … classes - 1`.
    """
    truth, answer = np.asarray(y_true), np.asarray(y_pred)
    columns = {name: encode(values) for name, values in groups.items()}
    lengths = {"y_true": truth.size, "y_pred": answer.size, **{name: c.codes.size for name, c in columns.items()}}
    if len(set(lengths.values())) != 1 or not truth.size:
        raise ValueError(f"group counts need columns of one length above 0, got {lengths}")
    largest = max(int(truth.max()), int(answer.max()))
    number = classes or largest + 1
    if min(int(truth.min()), int(answer.min())) < 0 or largest >= number:
        raise ValueError(f"labels must lie in 0 … {number - 1}, got {min(truth.min(), answer.min())} … {largest}")
    sizes = [len(c.names) for c in columns.values()]
    present, code, total = _combine([c.codes for c in columns.values()], sizes, number)
    cell = _fold(code, [(truth, number), (answer, number)], total)
    table = np.bincount(cell, minlength=total).reshape(-1, number, number)
    filled = np.flatnonzero(table.sum((1, 2)))
    keys = np.stack(np.unravel_index(present[filled], sizes), axis=1) if sizes else np.zeros((filled.size, 0), np.int64)
    names = [c.names for c in columns.values()]
    members = tuple(tuple(name[k] for name, k in zip(names, key, strict=True)) for key in keys)
    return GroupCounts(tuple(columns), members, table[filled])


def _combine(codes: list[NDArray[Any]], sizes: list[int], classes: int) -> tuple[Counts, NDArray[Any], int]:
    """Group combinations that have a cell, the combination of each row, and the number of cells."""
    groups = int(np.prod(sizes, dtype=object)) if sizes else 1
    dense = groups * classes**2 <= _DENSE_CELLS
    start = codes[0] if codes else np.zeros(1, np.uint8)
    code = _fold(start, list(zip(codes[1:], sizes[1:], strict=True)), groups * (classes**2 if dense else 1))
    if dense:
        return np.arange(groups), code, groups * classes**2
    present, code = np.unique(code, return_inverse=True)
    return present, code, present.size * classes**2


def _fold(code: NDArray[Any], digits: list[tuple[NDArray[Any], int]], total: int) -> NDArray[Any]:
    """Append mixed-radix digits to a code, in the smallest integers that hold the result (less memory traffic)."""
    kind = np.min_scalar_type(max(total - 1, 1))
    if kind.itemsize == 8:
        kind = np.dtype(np.int64)
    result = code.astype(kind)
    for digit, size in digits:
        result = result * kind.type(size) + digit.astype(kind, copy=False)
    return result


def rows_by_group(groups: Mapping[str, Codes], columns: Sequence[str]) -> dict[tuple[str, ...], NDArray[np.int64]]:
    """Row indices of each group of a column, or of each intersection of columns."""
    sizes = [len(groups[column].names) for column in columns]
    present, code, _ = _combine([groups[column].codes for column in columns], sizes, 1)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=present.size))
    parts = np.split(order, ends[:-1])
    keys = np.stack(np.unravel_index(present, sizes), axis=1)
    names = [groups[column].names for column in columns]
    return {tuple(name[k] for name, k in zip(names, key, strict=True)): part for key, part in zip(keys, parts, strict=True) if part.size}


def _no_such(column: str, columns: Sequence[str]) -> int:
    raise KeyError(f"group column '{column}' was not counted; there are {', '.join(columns) or 'none'}")
