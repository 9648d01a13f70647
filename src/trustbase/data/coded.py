"""A column as the distinct values in it and which of them each row has: small where many rows have few values, and made piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Coded:
    """One column.

    Attributes:
        words: its distinct values, in order of appearance.
        codes: index into `words`, `(rows,)`, in the smallest integers that hold it; -1 for an empty cell.
    """

    words: tuple[str, ...]
    codes: NDArray[np.signedinteger[Any]]

    def translated(self, numbers: Sequence[int] | NDArray[np.integer], empty: int = -1) -> NDArray[np.int64]:
        """For each row the number of its value; `empty` where it has none.

        Args:
            numbers: one for each of `words`.
            empty: for an empty cell.
        """
        return np.asarray(np.array([*numbers, empty], dtype=np.int64)[self.codes])  # -1 picks the last


class Coder:
    """Takes a column piece by piece, and gives all of it as one `Coded`."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._parts: list[NDArray[np.signedinteger[Any]]] = []

    def add(self, column: pa.ChunkedArray | pa.Array) -> None:
        """The next rows."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        encoded = array.dictionary_encode()
        own = [self._index.setdefault(word, len(self._index)) for word in encoded.dictionary.to_pylist()]
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        kind = np.int8 if len(self._index) < 1 << 7 else np.int32
        self._parts.append(np.array([*own, -1], dtype=kind)[codes])

    def done(self) -> Coded:
        return Coded(tuple(self._index), np.concatenate(self._parts) if self._parts else np.zeros(0, np.int8))


def coded(column: pa.ChunkedArray | pa.Array) -> Coded:
    """A column that stands in memory."""
    coder = Coder()
    coder.add(column)
    return coder.done()
