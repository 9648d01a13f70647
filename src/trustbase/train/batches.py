"""Batches, and what training asks of the rows that they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trustbase.model.pooling import Pooling


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows that go through the model together.

    A *unit* is what one loss belongs to: a row where rows are classified, a predicted token in language modelling, a pair of
    segments. How many there are is known before the model is asked, so that the units of all batches of an update weigh alike.
    """

    rows: NDArray[np.int64]  # indices into the split, `(rows,)`
    inputs: Mapping[str, Tensor]  # what the model reads, `(rows, length)` each
    labels: Tensor  # targets of the task, `(rows, …)`; pretraining, which has none, keeps what is to be found in `targets`
    tokens: int  # padding included
    number: int = 0  # which batch of training this is, counted from 0; names its random streams
    owners: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)  # by term of the loss: what each unit belongs to, `(units,)`
    targets: Mapping[str, Tensor] = field(default_factory=dict)  # what an objective compares with
    objective: str = ""  # which of several objectives of one run the batch was made for
    pooling: Pooling | None = None  # how what the model says of several sequences of a row becomes one; None where each row is one
    idle: bool = False  # made so that all processes ask a divided model equally often: its losses count for nothing

    @property
    def units(self) -> dict[str, int]:
        """Losses of each term."""
        return {term: len(owners) for term, owners in self.owners.items()}


def idle(batch: Batch) -> Batch:
    """The same batch, as one that counts for nothing."""
    return replace(batch, rows=batch.rows[:0], tokens=0, owners={}, idle=True)


class Material(Protocol):
    """What training reads: epochs of batches."""

    def __len__(self) -> int:
        """Rows of an epoch."""

    @property
    def tokens(self) -> NDArray[np.int64] | None:
        """Every token id that a batch can hold, or None where that is not known or the model reads none."""

    def plan(self, *, batch_tokens: int, seed: int, epoch: int) -> Sequence[Any]:
        """The batches of an epoch, as `parts` takes them; always the same for the same seed and epoch."""

    def size(self, chosen: Any) -> int:
        """Tokens of a batch of the plan, padding included."""

    def parts(self, chosen: Any, device: str, number: int) -> list[Batch]:
        """A batch of the plan: one part for each objective."""


class Labelled(Material, Protocol):
    """Rows with labels, which can also be scored."""

    labels: NDArray[Any]  # targets of the task, `(rows, …)`

    @property
    def lengths(self) -> NDArray[np.integer]: ...

    def take(self, rows: NDArray[np.int64], device: str, number: int = 0) -> Batch: ...

    def by_row(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[Any]:
        """What was computed for a batch, row by row."""
