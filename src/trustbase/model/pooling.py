"""What a model says of several sequences of one row, put together: the mean over the windows of a text, or one score for each choice.

The same rule in training (`Pooling`, on tensors) and in the runtimes (`pooled`, on arrays). The mean is that of scores before softmax:
of probabilities it would let one sure window count for less than two unsure ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trustbase.model.encoded import Encoded

if TYPE_CHECKING:
    import torch

MEAN, CHOICES = "mean", "choices"


def pooled(values: NDArray[np.float32], encoded: Encoded, rows: NDArray[np.integer]) -> NDArray[np.float32]:
    """Values of sequences `(sequences, width)` as values of rows `(rows, width)`; of choices, which have one each, `(rows, choices)`.

    Args:
        values: what the model gave for the sequences of `rows`, in order.
        encoded: all rows.
        rows: those that it was asked about.
    """
    if encoded.sequences is None:
        return values
    if encoded.together == CHOICES and values.shape[1] == 1:
        return values.reshape(len(rows), -1)
    counts = np.diff(encoded.sequences)[rows]
    sums = np.add.reduceat(values.astype(np.float64), np.cumsum(counts) - counts, axis=0)
    return np.asarray(sums / counts[:, None], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Pooling:
    """The sequences of a batch and the rows that own them.

    Attributes:
        owners: row of each sequence in the batch, int64 `(sequences,)`.
        rows: how many there are.
        together: "mean" or "choices".
    """

    owners: torch.Tensor
    rows: int
    together: str = MEAN

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Scores of sequences `(sequences, width)` → of rows, fp32 `(rows, width)` or `(rows, choices)`."""
        values = values.float()
        if self.together == CHOICES:
            return values.reshape(self.rows, -1)
        sums = values.new_zeros(self.rows, values.shape[1]).index_add(0, self.owners, values)
        return sums / self.owners.bincount(minlength=self.rows).unsqueeze(1)
