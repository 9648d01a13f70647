"""Rows whose units or windows have a target each, as batches: words with tags, and windows of texts that are searched."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustbase.model.contexts import positions
from trustbase.model.encoded import Encoded, within
from trustbase.model.ragged import ragged
from trustbase.model.searching import best_spans
from trustbase.model.token_units import read_places
from trustbase.train.batches import Batch
from trustbase.train.labelled import FeatureRows, LabelledRows, TokenRows


class _OfTokens(LabelledRows):
    """Rows of tokens as they are, with other labels."""

    _rows: TokenRows

    @property
    def lengths(self) -> NDArray[np.integer]:
        return self._rows.lengths

    @property
    def tokens(self) -> NDArray[np.int64] | None:
        return self._rows.tokens

    def size(self, chosen: NDArray[np.int64]) -> int:
        return self._rows.size(chosen)


class UnitRows(_OfTokens):
    """Texts whose units have a tag each: `rows` as they are, with the tags of the units that are read, which alone have part in a loss."""

    def __init__(self, rows: TokenRows, encoded: Encoded, labels: NDArray[Any]) -> None:
        """Args:
        rows: the same texts; what labels they have does not matter.
        encoded: from `encode_units`.
        labels: array of objects, the tags of each row's units, `(rows,)`.
        """
        self._rows, self._encoded = rows, encoded
        self.labels = labels

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
        return _unit_tables(self._encoded.take(rows), values)


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
        return _unit_tables(self._encoded.take(rows), values)


class SpanRows(_OfTokens):
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


def _unit_tables(part: Encoded, values: NDArray[np.float64]) -> NDArray[Any]:
    """Probabilities of the units that a model reads, `(read, tags)`, as a table for each row; the first tag is that of all others."""
    assert part.unit_places is not None
    whole = np.zeros((len(part.unit_places), values.shape[1]))
    whole[:, 0] = part.unit_places < 0
    whole[part.unit_places >= 0] = values
    return ragged(whole[start:end] for start, end in pairwise(part.row_units.tolist()))
