"""Batches of a split: planned from seed and epoch alone, so that any position in any epoch can be found again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustbase import seeds
from trustbase.data.batch import plan_batches
from trustbase.model.contexts import positions
from trustbase.model.encoded import Encoded, within
from trustbase.model.pooling import MEAN, Pooling
from trustbase.model.ragged import ragged
from trustbase.model.searching import best_spans
from trustbase.model.token_units import read_places

_COUNTED = 1 << 22  # numbers that are read from a file at once


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


class _Rows(ABC):
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


class TokenRows(_Rows):
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
        return rows if self._sequences is None else places_of(self._sequences, rows)

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
            inputs["columns"] = torch.from_numpy(self._columns[owners_of(self._sequences, rows)]).to(device)
        labels = torch.from_numpy(self.labels[rows]).to(device)
        pooling = pooling_of(self._sequences, rows, self._together, device)
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


class FeatureRows(_Rows):
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
        lines = rows if self._sequences is None else places_of(self._sequences, rows)
        inputs = {"features": self._features[torch.from_numpy(lines)].to(device)}
        if self._columns is not None:
            inputs["columns"] = torch.from_numpy(self._columns[owners_of(self._sequences, rows)]).to(device)
        labels = torch.from_numpy(self.labels[rows]).to(device)
        pooling = pooling_of(self._sequences, rows, self._together, device)
        return Batch(rows, inputs, labels, int(self._lengths[rows].sum()), number, {"label": rows}, pooling=pooling)


class UnitRows(_Rows):
    """Texts whose units have a tag each: `rows` as they are, with the tags of the units that are read, which alone have part in a loss."""

    def __init__(self, rows: TokenRows, encoded: Encoded, labels: NDArray[Any]) -> None:
        """Args:
        rows: the same texts; what labels they have does not matter.
        encoded: from `encode_units`.
        labels: array of objects, the tags of each row's units, `(rows,)`.
        """
        self._rows, self._encoded = rows, encoded
        self.labels = labels

    @property
    def lengths(self) -> NDArray[np.integer]:
        return self._rows.lengths

    @property
    def tokens(self) -> NDArray[np.int64] | None:
        return self._rows.tokens

    def size(self, chosen: NDArray[np.int64]) -> int:
        return self._rows.size(chosen)

    def take(self, rows: NDArray[np.int64], device: str, number: int = 0) -> Batch:
        """The rows, padded, in all their windows; `labels` are the tags of the units that are read, `(read,)`, and `targets` say where each
        stands and whose it is.
        """
        batch, part = self._rows.take(rows, device, number), self._encoded.take(rows)
        lines, positions = read_places(part)
        owners = torch.from_numpy(lines).to(device)
        targets = {
            "places": torch.from_numpy(lines * batch.inputs["input_ids"].shape[1] + positions).to(device),
            "owners": owners if batch.pooling is None else batch.pooling.owners[owners],
        }
        labels = torch.from_numpy(_read(self.labels[rows], part)).to(device)
        return replace(batch, labels=labels, targets=targets, pooling=None)

    def by_row(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[Any]:
        return unit_tables(self._encoded.take(rows), values)


class UnitFeatureRows(FeatureRows):
    """Outputs of a frozen body for every unit that is read: the input of a head for tokens alone."""

    def __init__(self, features: Tensor, encoded: Encoded, labels: NDArray[Any]) -> None:
        """Args:
        features: `(read, width)`, in the order of rows and units.
        encoded: from `encode_units`.
        labels: array of objects, the tags of each row's units, `(rows,)`.
        """
        super().__init__(features, encoded.lengths, labels)
        self._encoded = encoded
        assert encoded.unit_places is not None
        self._bounds = np.concatenate([[0], np.cumsum(encoded.unit_places >= 0)])[encoded.row_units]  # of each row among the features

    def take(self, rows: NDArray[np.int64], device: str, number: int = 0) -> Batch:
        """The vectors of the units of these rows, `(read, width)`."""
        part = self._encoded.take(rows)
        starts = self._bounds[rows]
        counts = self._bounds[rows + 1] - starts
        features = self._features[torch.from_numpy(within(starts, counts))].to(device)
        owners = torch.from_numpy(np.repeat(np.arange(len(rows)), counts)).to(device)
        labels = torch.from_numpy(_read(self.labels[rows], part)).to(device)
        return Batch(rows, {"features": features}, labels, self.size(rows), number, {"label": rows}, {"owners": owners})

    def by_row(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[Any]:
        return unit_tables(self._encoded.take(rows), values)


class SpanRows(_Rows):
    """Questions and texts: `rows` as they are, with both ends of the answer in each window."""

    def __init__(self, rows: TokenRows, encoded: Encoded, labels: NDArray[Any], most: int) -> None:
        """Args:
        rows: the same inputs; what labels they have does not matter.
        encoded: from `encode_contexts`.
        labels: array of objects, the text that is searched and its answers, `(rows,)`.
        most: tokens of the longest answer that is looked for.
        """
        self._rows, self._encoded, self._most = rows, encoded, most
        self.labels = labels
        self._ends, self.fates = positions(encoded, ragged(spans for _, spans in labels))

    @property
    def lengths(self) -> NDArray[np.integer]:
        return self._rows.lengths

    @property
    def tokens(self) -> NDArray[np.int64] | None:
        return self._rows.tokens

    def size(self, chosen: NDArray[np.int64]) -> int:
        return self._rows.size(chosen)

    def take(self, rows: NDArray[np.int64], device: str, number: int = 0) -> Batch:
        """All windows of the rows, padded; `labels` are first and last token of the answer in each, `(windows, 2)`."""
        batch = self._rows.take(rows, device, number)
        assert batch.pooling is not None
        labels = torch.from_numpy(self._ends[self._encoded.of_rows(rows)]).to(device)
        return replace(batch, labels=labels, targets={"owners": batch.pooling.owners}, pooling=None)

    def by_row(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[Any]:
        part = self._encoded.take(rows)
        lengths = part.flat.lengths.tolist()
        return best_spans([table[:length] for table, length in zip(values, lengths, strict=True)], part, self._most).astype(np.float64)


def _read(labels: NDArray[Any], part: Encoded) -> NDArray[np.int64]:
    """The tags of the units that are read, `(read,)`."""
    assert part.unit_places is not None
    tags = np.concatenate([*labels, np.zeros(0, np.int64)])
    return np.asarray(tags[part.unit_places >= 0], dtype=np.int64)


def unit_tables(part: Encoded, values: NDArray[np.float64]) -> NDArray[Any]:
    """Probabilities of the units that a model reads, `(read, tags)`, as a table for each row; the first tag is that of all others."""
    assert part.unit_places is not None
    whole = np.zeros((len(part.unit_places), values.shape[1]))
    whole[:, 0] = part.unit_places < 0
    whole[part.unit_places >= 0] = values
    return ragged(whole[start:end] for start, end in pairwise(part.row_units.tolist()))


def places_of(sequences: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sequences of these rows, in that order."""
    return within(sequences[rows], sequences[rows + 1] - sequences[rows])


def owners_of(sequences: NDArray[np.int64] | None, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each of their sequences, in that order."""
    return rows if sequences is None else np.repeat(rows, sequences[rows + 1] - sequences[rows])


def pooling_of(sequences: NDArray[np.int64] | None, rows: NDArray[np.int64], together: str, device: str) -> Pooling | None:
    """How the sequences of these rows come together; None where each row is one."""
    if sequences is None:
        return None
    owners = np.repeat(np.arange(len(rows)), sequences[rows + 1] - sequences[rows])
    return Pooling(torch.from_numpy(owners).to(device), len(rows), together)
