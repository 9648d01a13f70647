"""Which documents stand in the corpus already, exactly or nearly, within and across sources; the first in the recipe's order stays.

Works on the shards' tables alone, in passes over ranges of hash values, so that memory does not grow with the corpus.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data.corpus.minhash import EMPTY, similarity
from trustbase.data.corpus.shard import read_table

KEPT, EXACT, NEAR = 0, 1, 2
REASONS = {EXACT: "exact duplicate", NEAR: "near duplicate"}
ROWS = 2_000_000  # documents sorted at once: about 100 MB
_PAIRS = 50_000  # signatures compared at once
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Shards:
    """The shards' tables as one: documents are numbered through, in order.

    Attributes:
        folders: of the shards.
        counts: documents of each.
    """

    folders: Sequence[Path]
    counts: Sequence[int]

    @cached_property
    def starts(self) -> list[int]:
        """Number of each shard's first document, and of the end."""
        return [0, *np.cumsum(self.counts, dtype=np.int64).tolist()]

    @property
    def documents(self) -> int:
        return self.starts[-1]

    def parts(self, name: str) -> Iterator[tuple[int, NDArray[Any]]]:
        """A table shard by shard, with the number of its first document."""
        for folder, start, count in zip(self.folders, self.starts, self.counts, strict=False):
            if count:
                yield start, read_table(folder, name, count)

    def place(self, document: int) -> tuple[int, int]:
        """Shard and place in it of a document."""
        shard = bisect_right(self.starts, document) - 1
        return shard, document - self.starts[shard]

    def take(self, name: str, documents: Numbers) -> NDArray[Any]:
        """Rows of a table for these documents, `(documents, …)`."""
        shards = np.searchsorted(self.starts, documents, side="right") - 1
        found: NDArray[Any] | None = None
        for shard in np.unique(shards).tolist():
            own = np.flatnonzero(shards == shard)
            rows = read_table(self.folders[shard], name, self.counts[shard])[documents[own] - self.starts[shard]]
            if found is None:
                found = np.empty((len(documents), *rows.shape[1:]), rows.dtype)
            found[own] = rows
        assert found is not None
        return found


@dataclass
class Decision:
    """What becomes of each document.

    Attributes:
        state: `KEPT`, `EXACT` or `NEAR`, uint8 `(documents,)`.
        examples: for each reason a few pairs of a document and the earlier one that stays.
    """

    state: NDArray[np.uint8]
    examples: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def drop(self, reason: int, documents: Numbers, firsts: Numbers, most: int = 3) -> None:
        self.state[documents] = reason
        known = self.examples.setdefault(reason, [])
        for pair in zip(documents[: most - len(known)].tolist(), firsts.tolist(), strict=False):
            known.append(pair)


def drop_exact(shards: Shards, decision: Decision, *, rows: int = ROWS) -> None:
    """All but the first of the documents with the same 128 bits of hash."""
    passes = -(-shards.documents // rows)
    for turn in range(passes):
        keys, documents = _gather(shards, decision, "hashes", 0, turn, passes)
        group, own = _groups(keys, documents)
        if len(own):
            first = _first_of(group, shards.take("hashes", own)[:, 1])
            later = np.flatnonzero(first != np.arange(len(own)))
            decision.drop(EXACT, own[later], own[first[later]])


def _first_of(groups: Numbers, second: NDArray[np.uint64]) -> Numbers:
    """For each place the first one of its group with the same second half of the hash."""
    order = np.lexsort((np.arange(len(groups)), second, groups))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (groups[order[1:]] != groups[order[:-1]]) | (second[order[1:]] != second[order[:-1]])
    leaders = order[np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))]
    found = np.empty(len(order), np.int64)
    found[order] = leaders
    return found


def drop_near(
    shards: Shards, decision: Decision, *, bands: int, least: float, rows: int = ROWS, progress: Callable[[int], None] = lambda band: None
) -> None:
    """Documents whose signature agrees with that of an earlier one in at least `least` of its rows.

    Band by band, and in each group of documents that share a band, the first leads: those that are similar to it fall; of those
    that are left the next one leads. A leader may fall itself in a later band, so what fell to it need not be similar to what stays.

    Args:
        shards: the tables.
        decision: what fell already takes no part.
        bands: of each signature.
        least: estimated similarity from which a document falls.
        rows: documents sorted at once.
        progress: told each finished band.
    """
    passes = -(-shards.documents // rows)
    for band in range(bands):
        for turn in range(passes):
            keys, documents = _gather(shards, decision, "bands", band, turn, passes)
            keys, documents = keys[keys != EMPTY], documents[keys != EMPTY]
            _lead(shards, decision, *_groups(keys, documents), least)
        progress(band + 1)


def _lead(shards: Shards, decision: Decision, group: Numbers, documents: Numbers, least: float) -> None:
    """Within each group: compare all with the first, let the similar ones fall, go on with the rest."""
    while len(documents):
        first = np.ones(len(group), bool)
        first[1:] = group[1:] != group[:-1]
        leader = documents[np.maximum.accumulate(np.where(first, np.arange(len(group)), 0))]
        others = np.flatnonzero(~first)
        alike = np.zeros(len(group), bool)
        for start in range(0, len(others), _PAIRS):
            part = others[start : start + _PAIRS]
            pair = similarity(shards.take("signatures", leader[part]), shards.take("signatures", documents[part]))
            alike[part] = pair >= least
        decision.drop(NEAR, documents[alike], leader[alike])
        left = ~first & ~alike
        group, documents = group[left], documents[left]


def _gather(shards: Shards, decision: Decision, name: str, column: int, turn: int, passes: int) -> tuple[NDArray[np.uint64], Numbers]:
    """One column of a table for the documents that are left and whose hash falls to this pass, with their numbers."""
    keys, documents = [], []
    for start, table in shards.parts(name):
        own = np.asarray(table[:, column])
        wanted = decision.state[start : start + len(own)] == KEPT
        if passes > 1:
            wanted &= (own >> np.uint64(20)) % np.uint64(passes) == turn
        keys.append(own[wanted])
        documents.append(np.flatnonzero(wanted) + start)
    if not keys:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    return np.concatenate(keys), np.concatenate(documents)


def _groups(keys: NDArray[np.uint64], documents: Numbers) -> tuple[Numbers, Numbers]:
    """Documents that share a key with another: number of the group and document, groups together, documents in order."""
    order = np.argsort(keys, kind="stable")
    keys, documents = keys[order], documents[order]
    same = keys[1:] == keys[:-1]
    shared = np.zeros(len(keys), bool)
    shared[1:] |= same
    shared[:-1] |= same
    places = np.flatnonzero(shared)
    if not len(places):
        return places, documents[places]
    keys = keys[places]
    return np.concatenate([[0], np.cumsum(keys[1:] != keys[:-1])]), documents[places]
