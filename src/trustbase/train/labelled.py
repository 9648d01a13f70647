"""Rows with one target each, as batches: planned from seed and epoch alone, so that any position in any epoch can be found again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustbase import seeds
from trustbase.data.batch import plan_batches
from trustbase.model.encoded import within
from trustbase.model.pooling import MEAN, Pooling
from trustbase.train.batches import Batch

_COUNTED = 1 << 22  # numbers that are read from a file at once


class LabelledRows(ABC):
    """What all labelled rows share."""

    labels: NDArray[Any]  # targets of the task, `(rows, …)`

    @property
    @abstractmethod
    def lengths(self) -> NDArray[np.integer]: ...

    @abstractmethod
    def take(self, rows: NDArray[np.int64], device: str, number: int = 0) -> Batch: ...

    def __len__(self) -> int:
        return len(self.labels)

    def by_row(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[Any]:
        return values

    def plan(self, *, batch_tokens: int, seed: int, epoch: int) -> Sequence[NDArray[np.int64]]:
        return plan_batches(self.lengths, batch_tokens=batch_tokens, rng=seeds.generator(seed, "batches", epoch))

    def size(self, chosen: NDArray[np.int64]) -> int:
        return len(chosen) * int(self.lengths[chosen].max())

    def parts(self, chosen: NDArray[np.int64], device: str, number: int) -> list[Batch]:
        return [self.take(chosen, device, number)]


class TokenRows(LabelledRows):
    """Texts as token ids, padded when a batch is taken."""

    def __init__(
        self,
        ids: NDArray[np.int32],
        offsets: NDArray[np.int64],
        labels: NDArray[Any],
        pad_id: int,
        segments: NDArray[np.uint8] | None = None,
        columns: NDArray[np.float32] | None = None,
        *,
        sequences: NDArray[np.int64] | None = None,
        together: str = MEAN,
    ) -> None:
        self._columns = columns  # of a table, `(rows, columns)`; None for texts alone
        self._ids = ids
        self._segments = segments  # which text of a pair a token belongs to; None where there is one text
        self._offsets = offsets  # a file's numbers, where the ids are: as many as there are rows
        self._lengths = _differences(offsets)
        self.labels = np.asarray(labels)
        self._pad_id = pad_id
        self._sequences = sequences  # which sequences each row owns (`model.encoded`); None where each row is one
        self._together = together

    @property
    def lengths(self) -> NDArray[np.integer]:
        """Tokens that each row takes in a padded batch of its like, `(rows,)`."""
        if self._sequences is None:
            return self._lengths
        return np.asarray(np.diff(self._sequences) * np.maximum.reduceat(self._lengths, self._sequences[:-1]), dtype=np.int64)

    def size(self, chosen: NDArray[np.int64]) -> int:
        lines = self._lines(chosen)
        return len(lines) * int(self._lengths[lines].max())

    def _lines(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sequences of these rows: the lines of their batch."""
        return rows if self._sequences is None else _places_of(self._sequences, rows)

    @property
    def tokens(self) -> NDArray[np.int64]:
        found = np.array([self._pad_id])
        for start in range(0, self._ids.size, _COUNTED):  # the ids may be in a file that is larger than memory
            found = np.union1d(found, np.flatnonzero(np.bincount(self._ids[start : start + _COUNTED])))
        return found.astype(np.int64)

    def take(self, rows: NDArray[np.int64], device: str, number: int = 0) -> Batch:
        """Pad the rows to their longest, on the right; all sequences of each."""
        lines = self._lines(rows)
        starts, sizes = self._offsets[lines], self._lengths[lines]
        columns = np.arange(int(sizes.max()))
        real = columns < sizes[:, None]  # (rows, length)
        places = np.minimum(starts[:, None] + columns, self._ids.size - 1)
        ids = np.where(real, self._ids[places], self._pad_id).astype(np.int64)
        inputs = {"input_ids": torch.from_numpy(ids).to(device), "attention_mask": torch.from_numpy(real.astype(np.int64)).to(device)}
        if self._segments is not None:
            kinds = np.where(real, self._segments[places], 0).astype(np.int64)
            inputs["token_type_ids"] = torch.from_numpy(kinds).to(device)
        if self._columns is not None:
            inputs["columns"] = torch.from_numpy(self._columns[_owners_of(self._sequences, rows)]).to(device)
        labels = torch.from_numpy(self.labels[rows]).to(device)
        pooling = _pooling_of(self._sequences, rows, self._together, device)
        return Batch(rows, inputs, labels, ids.size, number, {"label": rows}, pooling=pooling)


def _differences(offsets: NDArray[np.int64]) -> NDArray[np.int32]:
    """Tokens of each row, `(rows,)`; the offsets may be in a file."""
    found = np.empty(max(len(offsets) - 1, 0), np.int32)
    for start in range(0, len(found), _COUNTED):
        found[start : start + _COUNTED] = np.diff(offsets[start : start + _COUNTED + 1])
    return found


class StateRows(TokenRows):
    """The same, with what the frozen layers say of every token: the input of the layers above."""

    def __init__(
        self,
        ids: NDArray[np.int32],
        offsets: NDArray[np.int64],
        labels: NDArray[np.int64],
        pad_id: int,
        segments: NDArray[np.uint8] | None = None,
        columns: NDArray[np.float32] | None = None,
        *,
        states: Tensor,
        sequences: NDArray[np.int64] | None = None,
        together: str = MEAN,
    ) -> None:
        super().__init__(ids, offsets, labels, pad_id, segments, columns, sequences=sequences, together=together)
        self._states = states  # `(tokens, width)`

    @property
    def tokens(self) -> None:  # type: ignore[override]
        """No token is looked up in a table that is trained."""
        return None

    def take(self, rows: NDArray[np.int64], device: str, number: int = 0) -> Batch:
        """Padded as ever; a row's padding has the states of its own last token, which nobody attends to."""
        batch = super().take(rows, device, number)
        lines = self._lines(rows)
        starts = self._offsets[lines]
        sizes = self._offsets[lines + 1] - starts
        places = starts[:, None] + np.minimum(np.arange(int(sizes.max())), sizes[:, None] - 1)
        return replace(batch, inputs={**batch.inputs, "states": self._states[torch.from_numpy(places)].to(device)})


class FeatureRows(LabelledRows):
    """Outputs of a frozen body, one vector a row, and the row's table columns where there are any: the input of the head alone.

    Lengths stay those of the texts, so that `batch_tokens` gives the batches it gives in any other adaptation.
    """

    def __init__(
        self,
        features: Tensor,
        lengths: NDArray[np.int64],
        labels: NDArray[Any],
        columns: NDArray[np.float32] | None = None,
        *,
        sequences: NDArray[np.int64] | None = None,
        together: str = MEAN,
    ) -> None:
        self._features = features  # one for each sequence
        self._columns = columns
        self._sequences, self._together = sequences, together
        self._lengths = lengths
        self.labels = np.asarray(labels)

    @property
    def lengths(self) -> NDArray[np.integer]:
        return self._lengths

    @property
    def tokens(self) -> None:
        return None

    def size(self, chosen: NDArray[np.int64]) -> int:
        return int(self._lengths[chosen].sum())

    def take(self, rows: NDArray[np.int64], device: str, number: int = 0) -> Batch:
        """The vectors of these rows, `(rows, width)`; of rows of several sequences `(sequences, width)`."""
        lines = rows if self._sequences is None else _places_of(self._sequences, rows)
        inputs = {"features": self._features[torch.from_numpy(lines)].to(device)}
        if self._columns is not None:
            inputs["columns"] = torch.from_numpy(self._columns[_owners_of(self._sequences, rows)]).to(device)
        labels = torch.from_numpy(self.labels[rows]).to(device)
        pooling = _pooling_of(self._sequences, rows, self._together, device)
        return Batch(rows, inputs, labels, int(self._lengths[rows].sum()), number, {"label": rows}, pooling=pooling)


def _places_of(sequences: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sequences of these rows, in that order."""
    return within(sequences[rows], sequences[rows + 1] - sequences[rows])


def _owners_of(sequences: NDArray[np.int64] | None, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each of their sequences, in that order."""
    return rows if sequences is None else np.repeat(rows, sequences[rows + 1] - sequences[rows])


def _pooling_of(sequences: NDArray[np.int64] | None, rows: NDArray[np.int64], together: str, device: str) -> Pooling | None:
    """How the sequences of these rows come together; None where each row is one."""
    if sequences is None:
        return None
    owners = np.repeat(np.arange(len(rows)), sequences[rows + 1] - sequences[rows])
    return Pooling(torch.from_numpy(owners).to(device), len(rows), together)
