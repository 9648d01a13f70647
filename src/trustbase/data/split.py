"""Which row belongs to which part: by what the data says, or by a hash of the text so that equal texts stay together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

SPLITS = ("train", "validation", "test")
_SALT = b"trustbase/split/1\0"  # no seed: a row keeps its part in every run, and when other rows join or leave
_WORDS = {
    **{"train": "train", "training": "train"},
    **{"validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"},
    **{"test": "test", "testing": "test"},
}


def positions(texts: Sequence[str]) -> NDArray[np.float64]:
    """A number in [0, 1) that follows from each text alone, evenly spread, `(rows,)`."""
    first = b"".join([hashlib.sha256(_SALT + text.encode("utf-8")).digest()[:8] for text in texts])
    numbers = np.frombuffer(first, np.dtype(">u8")).astype(np.uint64)
    return np.asarray((numbers >> np.uint64(11)) / 2.0**53, dtype=np.float64)  # 53 bits: every number is exact


def by_content(texts: Sequence[str], *, test: float, validation: float) -> dict[str, NDArray[np.int64]]:
    """Row indices of each part; equal texts are always in the same one.

    Args:
        texts: what the model reads.
        test: share of the texts that go to test; 0 for none.
        validation: share of the texts that go to validation; 0 for none.
    """
    place = positions(texts)
    parts = {"test": place < test, "validation": (place >= test) & (place < test + validation), "train": place >= test + validation}
    return {name: np.flatnonzero(mask) for name, mask in parts.items()}


def by_column(values: pa.ChunkedArray) -> tuple[dict[str, NDArray[np.int64]], dict[int, str]]:
    """Row indices of each part that a split column names, and the rows whose value names none.

    Returns:
        part → row indices, and row index → the value that is no part's name ("" for an empty cell).
    """
    encoded = values.combine_chunks().dictionary_encode()
    words = encoded.dictionary.to_pylist()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    meaning = [_WORDS.get(word.strip().lower()) for word in words]
    parts: dict[str, NDArray[np.int64]] = {}
    for name in SPLITS:
        own = [code for code, part in enumerate(meaning) if part == name]
        rows = np.flatnonzero(np.isin(codes, own))
        if len(rows):
            parts[name] = rows
    unknown = [-1, *(code for code, part in enumerate(meaning) if part is None)]
    bad = {int(row): "" if codes[row] < 0 else words[codes[row]] for row in np.flatnonzero(np.isin(codes, unknown))}
    return parts, bad


def overlap(one: pa.Array, other: pa.Array) -> int:
    """Rows of `other` whose text also stands in `one`."""
    return int(pc.sum(pc.is_in(other, value_set=one)).as_py() or 0)
