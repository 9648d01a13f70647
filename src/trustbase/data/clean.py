"""Equal texts: counting them, and keeping one of each where the recipe asks for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


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
    if len(texts) == 0:
        return Repeats(0, 0, 0)
    codes = texts.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    classes = int(labels.max()) + 1
    distinct_pairs = np.unique(codes * classes + labels)
    conflicting = np.bincount(distinct_pairs // classes) > 1  # text → whether it carries several labels
    return Repeats(len(texts) - len(conflicting), int(conflicting.sum()), int(conflicting[codes].sum()))


def one_of_each(texts: pa.Array, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of one row for each text, in order: the first row that carries the text's most frequent label (on ties, the earliest)."""
    codes = texts.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    keep = []
    for rows in np.split(order, starts[1:]):
        own = labels[rows]
        best = int(own[0]) if len(rows) == 1 else Counter(own.tolist()).most_common(1)[0][0]
        keep.append(rows[np.flatnonzero(own == best)[0]])
    return np.sort(np.array(keep, dtype=np.int64))
