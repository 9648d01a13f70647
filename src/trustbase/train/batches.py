"""Batches of a split: planned from seed and epoch alone, so that any position in any epoch can be found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustbase import seeds
from trustbase.data.batch import plan_batches


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows that go through the model together."""

    rows: NDArray[np.int64]  # indices into the split, `(rows,)`
    inputs: Mapping[str, Tensor]  # what the model reads, `(rows, length)` each
    labels: Tensor  # int64 `(rows,)`
    tokens: int  # padding included
    number: int = 0  # which batch of training this is, counted from 0; names its random streams


class Material(Protocol):
    """Rows in the form the model reads."""

    labels: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]: ...

    @property
    def tokens(self) -> NDArray[np.int64] | None:
        """Every token id that a batch can hold, or None where the model reads none."""

    def take(self, rows: NDArray[np.int64], device: str, number: int = 0) -> Batch: ...


def epoch_plan(material: Material, *, batch_tokens: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """The batches of one epoch, always the same for the same seed and epoch."""
    return plan_batches(material.lengths, batch_tokens=batch_tokens, rng=seeds.generator(seed, "batches", epoch))


class TokenRows:
    """Texts as token ids, padded when a batch is taken."""

    def __init__(self, ids: NDArray[np.int32], offsets: NDArray[np.int64], labels: NDArray[np.int64], pad_id: int) -> None:
        self._ids = ids
        self._offsets = np.asarray(offsets, dtype=np.int64)
        self.labels = np.asarray(labels, dtype=np.int64)
        self._pad_id = pad_id

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self._offsets)

    @property
    def tokens(self) -> NDArray[np.int64]:
        return np.union1d(np.flatnonzero(np.bincount(self._ids)), self._pad_id).astype(np.int64)

    def take(self, rows: NDArray[np.int64], device: str, number: int = 0) -> Batch:
        """Pad the rows to their longest, on the right."""
        starts, sizes = self._offsets[rows], self.lengths[rows]
        columns = np.arange(int(sizes.max()))
        real = columns < sizes[:, None]  # (rows, length)
        places = np.minimum(starts[:, None] + columns, self._ids.size - 1)
        ids = np.where(real, self._ids[places], self._pad_id).astype(np.int64)
        inputs = {"input_ids": torch.from_numpy(ids).to(device), "attention_mask": torch.from_numpy(real.astype(np.int64)).to(device)}
        return Batch(rows, inputs, torch.from_numpy(self.labels[rows]).to(device), ids.size, number)


class FeatureRows:
    """Outputs of a frozen body, one vector a row: the input of the head alone.

    Lengths stay those of the texts, so that `batch_tokens` gives the batches it gives in any other adaptation.
    """

    def __init__(self, features: Tensor, lengths: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        self._features = features
        self._lengths = lengths
        self.labels = np.asarray(labels, dtype=np.int64)

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self._lengths

    @property
    def tokens(self) -> None:
        return None

    def take(self, rows: NDArray[np.int64], device: str, number: int = 0) -> Batch:
        """The vectors of these rows, `(rows, width)`."""
        features = self._features[torch.from_numpy(rows)].to(device)
        return Batch(rows, {"features": features}, torch.from_numpy(self.labels[rows]).to(device), int(self._lengths[rows].sum()), number)
