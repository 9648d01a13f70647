"""Equal texts: counting them, and keeping one of each where the recipe asks for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data.split import buckets


@dataclass(frozen=True)
class Repeats:
    """How often texts repeat within a split.

    Attributes:
        duplicates: rows whose text stood in an earlier row.
        conflicting_texts: distinct texts that carry more than one label.
        conflicting_rows: rows with such a text.
    """

    duplicates: int
    conflicting_texts: int
    conflicting_rows: int


def count_repeats(texts: pa.Array, labels: NDArray[np.int64]) -> Repeats:
    """Count equal texts, and those that contradict each other."""
    return repeats_of(_codes(texts), labels)


def repeats_of(codes: NDArray[np.int64], labels: NDArray[np.int64]) -> Repeats:
    """The same, where texts are known by numbers from 0 without gaps, `(rows,)`."""
    if len(codes) == 0:
        return Repeats(0, 0, 0)
    classes = int(labels.max()) + 1
    distinct_pairs = np.unique(codes * classes + labels)
    conflicting = np.bincount(distinct_pairs // classes) > 1  # text → whether it carries several labels
    return Repeats(len(codes) - len(conflicting), int(conflicting.sum()), int(conflicting[codes].sum()))


def repeats_of_keys(keys: NDArray[np.uint64], labels: NDArray[np.int64]) -> Repeats:
    """The same, where texts are known by keys (`split.keys`), `(rows,)`."""
    found = [repeats_of(_numbered(keys[rows]), labels[rows]) for rows in buckets(keys)]
    names = ("duplicates", "conflicting_texts", "conflicting_rows")
    return Repeats(*(sum(getattr(one, name) for one in found) for name in names))


def one_of_each(texts: pa.Array, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of one row for each text, in order: the first row that carries the text's most frequent label (on ties, the earliest)."""
    return one_of_codes(_codes(texts), labels)


def one_of_codes(codes: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same, where texts are known by numbers, `(rows,)`."""
    if len(codes) == 0:
        return np.zeros(0, np.int64)
    classes = int(labels.max()) + 1
    pairs, first, counts = np.unique(codes * classes + labels, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts, pairs // classes))  # within each text the most frequent label, and of these the earliest, leads
    leads = np.diff(pairs[order] // classes, prepend=-1) != 0
    return np.sort(first[order][leads])


def one_of_keys(keys: NDArray[np.uint64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same, where texts are known by keys, `(rows,)`."""
    return np.sort(np.concatenate([rows[one_of_codes(_numbered(keys[rows]), labels[rows])] for rows in buckets(keys)]))


def _numbered(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def _codes(texts: pa.Array) -> NDArray[np.int64]:
    return np.asarray(texts.dictionary_encode().indices.to_numpy(zero_copy_only=False), dtype=np.int64)
