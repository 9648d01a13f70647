"""What learning is given, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase.model.plain.shared import PlainModel

Oracle = Callable[[sparse.csr_matrix], NDArray[np.float64]]  # rows → probabilities `(rows, classes)`


@dataclass(frozen=True, eq=False)
class Material:
    """Training rows as numbers.

    Attributes:
        matrix: float64 `(rows, features)`.
        labels: class of each row, int64 `(rows,)`; every class occurs.
        classes: how many there are.
        words_alone: whether nothing but words is read.
        codes: which features are codes of categories, bool `(features,)`.
    """

    matrix: sparse.csr_matrix
    labels: NDArray[np.int64]
    classes: int
    words_alone: bool
    codes: NDArray[np.bool_]

    @property
    def width(self) -> int:
        return int(self.matrix.shape[1])


@dataclass(frozen=True)
class Learned:
    """A plain model, and what the library that learned it says of the same rows: both must agree before anything ships."""

    model: PlainModel
    oracle: Oracle
    notes: list[str] = field(default_factory=list)
