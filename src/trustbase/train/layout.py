"""Where the tokens of a batch stand: pieces one after another in rows, each with positions of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Layout:
    """Pieces of a batch in their rows; tokens are counted in the order of the pieces.

    Attributes:
        sizes: tokens of each piece, `(pieces,)`.
        rows: the row of each, ascending, `(pieces,)`.
        shape: rows and tokens of a row.
    """

    sizes: Numbers
    rows: Numbers
    shape: tuple[int, int]

    @classmethod
    def of(cls, sizes: Numbers, rows: Numbers) -> Layout:
        """Lay pieces out in rows as long as the fullest."""
        count = int(rows[-1]) + 1
        return cls(sizes, rows, (count, int(np.bincount(rows, sizes, count).max())))

    @cached_property
    def begins(self) -> Numbers:
        """First token of each piece among all tokens, `(pieces,)`."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def piece(self) -> Numbers:
        """The piece of each token, `(tokens,)`."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def within(self) -> Numbers:
        """Place of each token in its piece, `(tokens,)`."""
        return np.arange(self.sizes.sum()) - np.repeat(self.begins, self.sizes)

    @cached_property
    def places(self) -> Numbers:
        """Place of each token in the flat batch, `(tokens,)`."""
        first = np.searchsorted(self.rows, self.rows)  # first piece of the same row
        column = self.begins - self.begins[first]
        return np.repeat(self.rows * self.shape[1] + column, self.sizes) + self.within

    @property
    def firsts(self) -> Numbers:
        """Place of each piece's first token in the flat batch, `(pieces,)`."""
        return self.places[self.begins]

    @property
    def crowded(self) -> bool:
        """Whether any row holds more than one piece."""
        return len(self.rows) > self.shape[0]

    def fill(self, values: NDArray[np.integer], empty: int) -> NDArray[np.int64]:
        """Put one number a token into the rows, `(rows, length)`."""
        filled = np.full(self.shape[0] * self.shape[1], empty, np.int64)
        filled[self.places] = values
        return filled.reshape(self.shape)

    def inputs(self, ids: NDArray[np.integer], pad: int, device: str) -> dict[str, Tensor]:
        """What a model reads: `input_ids`, and what keeps pieces and padding apart.

        In crowded rows `pieces` (-1 at padding) and `position_ids`; else `attention_mask`, where there is padding; each `(rows, length)`.
        """
        found = {"input_ids": self.fill(ids, pad)}
        if self.crowded:
            found |= {"pieces": self.fill(self.piece, -1), "position_ids": self.fill(self.within, 0)}
        elif len(self.places) < self.shape[0] * self.shape[1]:
            found["attention_mask"] = self.fill(np.ones_like(self.places), 0)
        return {name: torch.from_numpy(value).to(device) for name, value in found.items()}
