"""Documents as rows of tokens: cut into pieces that fit, and put together so that little of a row is empty.

A piece never shares a row's tokens with another: what reads the rows keeps attention and positions inside each piece
(`layout.Layout`). Everything follows from the streams of seed and epoch, so that any batch of any epoch can be found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from trustbase.data.batch import plan_batches

Numbers = NDArray[np.int64]
_POOL = 16_384  # pieces that are fitted together; enough for full rows, few enough that rows stay random


class TokenSource(Protocol):
    """Tokens of documents end to end, such as `data.corpus.pack.Tokens`."""

    @property
    def ids(self) -> NDArray[np.integer]:
        """All ids, `(tokens,)`."""

    @property
    def bounds(self) -> NDArray[np.int64]:
        """Where each document begins, and the end, `(documents + 1,)`."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Stretches of documents, `(pieces,)` each.

    Attributes:
        documents: which document.
        offsets: where in it, in tokens (an objective may count special ones).
        lengths: how many of them.
    """

    documents: Numbers
    offsets: Numbers
    lengths: Numbers

    def __len__(self) -> int:
        return len(self.documents)

    def take(self, chosen: Numbers) -> Pieces:
        """Some of them, in that order."""
        return Pieces(self.documents[chosen], self.offsets[chosen], self.lengths[chosen])


@dataclass(frozen=True, eq=False)
class Chosen:
    """The pieces of one batch; `rows` says in which row of it each lies, ascending, and `numbers` names the rows in the epoch."""

    pieces: Pieces
    rows: Numbers
    numbers: Numbers
    length: int  # of the longest row

    @property
    def tokens(self) -> int:
        """Tokens of the batch, padding included."""
        return self.length * len(self.numbers)


class Plan(Sequence[Chosen]):
    """The batches of an epoch; each is looked up when it is asked for."""

    def __init__(self, pieces: Pieces, sizes: Numbers, row_starts: Numbers, batch_starts: Numbers) -> None:
        """Args:
        pieces: in the order of the rows.
        sizes: tokens that each takes in a row, `(pieces,)`.
        row_starts: first piece of each row, and the end, `(rows + 1,)`.
        batch_starts: first row of each batch, and the end, `(batches + 1,)`.
        """
        self.pieces, self.sizes = pieces, sizes
        self.row_starts, self.batch_starts = row_starts, batch_starts

    def __len__(self) -> int:
        return len(self.batch_starts) - 1

    @overload
    def __getitem__(self, index: int) -> Chosen: ...
    @overload
    def __getitem__(self, index: slice) -> list[Chosen]: ...
    def __getitem__(self, index: int | slice) -> Chosen | list[Chosen]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        index %= len(self)
        first, last = self.batch_starts[index], self.batch_starts[index + 1]
        starts = self.row_starts[first : last + 1]
        inside = np.arange(starts[0], starts[-1])
        rows = np.repeat(np.arange(last - first), np.diff(starts))
        length = int(np.add.reduceat(self.sizes[inside], starts[:-1] - starts[0]).max())
        return Chosen(self.pieces.take(inside), rows, np.arange(first, last), length)

    @property
    def rows(self) -> int:
        """Rows of the epoch."""
        return len(self.row_starts) - 1

    @property
    def filled(self) -> float:
        """Share of the rows' tokens that is no padding, in (0, 1]."""
        longest = np.add.reduceat(self.sizes, self.row_starts[:-1])
        lengths = np.maximum.reduceat(longest, self.batch_starts[:-1])
        return float(self.sizes.sum() / (lengths * np.diff(self.batch_starts)).sum())


def cut(lengths: Numbers, documents: Numbers, room: int) -> Pieces:
    """Cut documents into pieces of `room` tokens; the last of each is what is left.

    Args:
        lengths: tokens of each document named, `(documents,)`; those of none are passed over.
        documents: their numbers; one that is named twice is read twice.
        room: most tokens of a piece.
    """
    counts = -(-lengths // room)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = number * room
    return Pieces(np.repeat(documents, counts), offsets, np.minimum(room, np.repeat(lengths, counts) - offsets))


def pack(pieces: Pieces, sizes: Numbers, *, capacity: int, batch_tokens: int, rng: np.random.Generator) -> Plan:
    """Put pieces together into rows of at most `capacity` tokens, and rows into batches, in random order.

    Args:
        pieces: what is to be read.
        sizes: tokens that each takes in a row, `(pieces,)`, at most `capacity`.
        capacity: tokens of a row.
        batch_tokens: most tokens of a batch.
        rng: source of the order.
    """
    order = rng.permutation(len(pieces))
    found: list[list[int]] = []
    for start in range(0, len(order), _POOL):
        pool = order[start : start + _POOL]
        pool = pool[np.argsort(-sizes[pool], kind="stable")]
        found += [pool[row].tolist() for row in _best_fit(sizes[pool].tolist(), capacity)]
    shuffled = [found[i] for i in rng.permutation(len(found))]
    counts = np.array([len(row) for row in shuffled], np.int64)
    inside = np.array([piece for row in shuffled for piece in row], np.int64)
    rows = max(1, batch_tokens // capacity)
    batch_starts = np.append(np.arange(0, len(shuffled), rows), len(shuffled))
    return Plan(pieces.take(inside), sizes[inside], np.concatenate([[0], np.cumsum(counts)]), batch_starts)


def one_a_row(pieces: Pieces, sizes: Numbers, *, batch_tokens: int, rng: np.random.Generator | None, max_rows: int | None = None) -> Plan:
    """Each piece in a row of its own, those of similar size together; without `rng` in the order of their sizes."""
    batches = plan_batches(sizes, batch_tokens=batch_tokens, rng=rng, max_rows=max_rows)
    order = np.concatenate(batches) if batches else np.zeros(0, np.int64)
    batch_starts = np.concatenate([[0], np.cumsum([len(batch) for batch in batches])]).astype(np.int64)
    return Plan(pieces.take(order), sizes[order], np.arange(len(order) + 1), batch_starts)


def _best_fit(sizes: list[int], capacity: int) -> list[list[int]]:
    """Put each item into the row that it fills best.

    Args:
        sizes: of the items, descending.
        capacity: of a row.

    Returns:
        The items of each row.

    Source: best-fit decreasing, as Ding et al. (2024), Fewer truncations improve language modeling, section 3, use it.
    """
    waiting: list[list[int]] = [[] for _ in range(capacity + 1)]  # rows by the space that is left in them
    spaces = 0  # its bit r is set where a row with r left is waiting
    rows: list[list[int]] = []
    for item, size in enumerate(sizes):
        fitting = spaces >> size
        if fitting:
            left = size + (fitting & -fitting).bit_length() - 1
            row = waiting[left].pop()
            if not waiting[left]:
                spaces ^= 1 << left
            rows[row].append(item)
        else:
            row, left = len(rows), capacity
            rows.append([item])
        left -= size
        if left:
            spaces |= 1 << left
            waiting[left].append(row)
    return rows
