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

    def __init__(self, rows: int) -> None:
        """Args:
        rows: the most that will come; room for them is made once, since many small arrays would leave memory in pieces.
        """
        self._index: dict[str, int] = {}
        self._codes: NDArray[np.signedinteger[Any]] = np.empty(rows, np.int8)
        self._done = 0

    def add(self, column: pa.ChunkedArray | pa.Array) -> None:
        """The next rows."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        encoded = array.dictionary_encode()
        own = [self._index.setdefault(word, len(self._index)) for word in encoded.dictionary.to_pylist()]
        if self._codes.dtype == np.int8 and len(self._index) >= 1 << 7:
            self._codes = self._codes.astype(np.int32)
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        self._codes[self._done : self._done + len(codes)] = np.array([*own, -1])[codes]
        self._done += len(codes)

    def done(self) -> Coded:
        return Coded(tuple(self._index), self._codes[: self._done])


def coded(column: pa.ChunkedArray | pa.Array) -> Coded:
    """A column that stands in memory."""
    coder = Coder(len(column))
    coder.add(column)
    return coder.done()
