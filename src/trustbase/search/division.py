"""What trials read: a validation part cut from the training documents, and as many of the others as one trial needs.

The documents that the corpus holds out stay untouched: the audit looks at them, and choices are made without them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files
from trustbase.errors import DataError

if TYPE_CHECKING:
    from trustbase.data.corpus.store import CorpusStore
    from trustbase.train.packing import TokenSource

SCHEMA = "trustbase/division/1"
SHARE = 0.05  # of the training tokens, for validation
MOST = 1 << 18  # tokens of validation: more would cost each trial more than it tells
_LEAST = 10  # documents on either side; fewer say nothing about texts that come

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Documents as tokens, mapped into memory.

    Attributes:
        folder: where its files are.
    """

    folder: Path

    @cached_property
    def ids(self) -> NDArray[Any]:
        """All ids, `(tokens,)`."""
        found: NDArray[Any] = np.load(self.folder / "ids.npy", mmap_mode="r")
        return found

    @cached_property
    def bounds(self) -> Numbers:
        """Where each document begins, and the end, `(documents + 1,)`."""
        found: Numbers = np.load(self.folder / "bounds.npy", mmap_mode="r")
        return found

    @property
    def size(self) -> dict[str, int]:
        """How many documents and tokens there are."""
        return {"documents": len(self.bounds) - 1, "tokens": int(self.bounds[-1])}


@dataclass(frozen=True)
class Division:
    """Training documents divided for trials; as `pretrain` takes a corpus, but `held_out` is the validation part here.

    Attributes:
        folder: where it is.
        store: the corpus, which knows how often a document is read in each pass.
        seed: of the order of the documents: that of the recipe, so that all trials of a seed read the same in the same order.
        digest: of all of it.
    """

    folder: Path
    store: CorpusStore
    seed: int
    digest: str

    @cached_property
    def train(self) -> Part:
        """What trials learn from."""
        return Part(self.folder / "train")

    @cached_property
    def held_out(self) -> Part:
        """What trials are scored on: cut from the training documents, not what the corpus holds out."""
        return Part(self.folder / "validation")

    def order(self, epoch: int) -> Numbers:
        """The documents of one pass, by their place in `train`."""
        passed = places(np.load(self.folder / "documents.npy"), self.store.epoch(seed=self.seed, epoch=epoch))
        return passed[passed >= 0]

    @classmethod
    def open(cls, folder: Path, store: CorpusStore) -> Division:
        """What `divide` wrote.

        Raises:
            DataError: nothing of the kind lies there.
        """
        path = folder / "division.json"
        if not path.is_file():
            raise DataError(f"{folder} holds no division of a corpus", hint="remove the folder and run the same command again")
        about = files.read_json(path)
        return cls(folder, store, int(about["seed"]), files.digest_json(about))


def places(documents: Numbers, wanted: Numbers) -> Numbers:
    """Where each of `wanted` stands among ascending `documents`; -1 where it does not."""
    at = np.minimum(np.searchsorted(documents, wanted), max(0, len(documents) - 1))
    return np.where(documents[at] == wanted, at, -1) if len(documents) else np.full(len(wanted), -1)


def divide(store: CorpusStore, tokens: TokenSource, folder: Path, *, budget: int, seed: int, order_seed: int) -> Division:
    """Cut a validation part, and take as many other documents as `budget` tokens ask for, in the order of the first pass.

    Args:
        store: the corpus.
        tokens: its training documents as tokens, in the order of the corpus.
        folder: where the division goes; replaced if it exists.
        budget: tokens that one trial reads; of a smaller corpus all documents serve, in several passes.
        seed: of the choice of documents for validation.
        order_seed: of the order in which documents are read.

    Raises:
        DataError: too few documents to put some aside.
    """
    lengths = np.diff(tokens.bounds[: len(store.train) + 1])  # of this corpus's documents alone, whatever stands behind them
    apart = choose_validation(tokens, lengths, seed)
    validation, rest = np.flatnonzero(apart), np.flatnonzero(~apart & (lengths > 0))
    if min(len(validation), len(rest)) < _LEAST:
        raise DataError(
            f"{len(rest)} training documents and {len(validation)} for validation are too few to choose by: {_LEAST} of each are needed",
            hint="give more text; or, where one file is one long document, separate its parts by blank lines",
        )
    first = store.epoch(seed=order_seed, epoch=0)
    first = first[~apart[first] & (lengths[first] > 0)]
    enough = 1 + int(np.searchsorted(np.cumsum(lengths[first]), budget))
    chosen = rest if enough >= len(first) else np.unique(first[:enough])

    def fill(staging: Path) -> None:
        for name, documents in (("train", chosen), ("validation", validation)):
            _write(staging / name, tokens, documents)
        np.save(staging / "documents.npy", chosen)
        about = {"schema": SCHEMA, "corpus": store.digest, "seed": order_seed, "parts": files.digest_folder(staging)}
        files.write_json(staging / "division.json", about)

    files.replace_folder(folder, fill, sync=False)
    return Division.open(folder, store)


def choose_validation(tokens: TokenSource, lengths: Numbers, seed: int) -> NDArray[np.bool_]:
    """Which documents are put aside, `(documents,)`: by a seeded hash of their tokens, so that equal ones stay on one side."""
    key = seed.to_bytes(16, "big")
    hashes = np.array([_hash(tokens, number, key) for number in range(len(lengths))], np.uint64)
    order = np.argsort(hashes, kind="stable")
    wanted = min(SHARE * float(lengths.sum()), MOST)
    enough = 1 + int(np.searchsorted(np.cumsum(lengths[order]), wanted))
    enough = min(max(enough, _LEAST), len(order))
    limit = hashes[order[enough - 1]] if enough else np.uint64(0)
    found: NDArray[np.bool_] = (hashes <= limit) & (lengths > 0)
    return found


def _hash(tokens: TokenSource, number: int, key: bytes) -> int:
    ids = np.ascontiguousarray(tokens.ids[tokens.bounds[number] : tokens.bounds[number + 1]])
    return int.from_bytes(hashlib.blake2b(ids.tobytes(), digest_size=8, key=key).digest(), "big")


def _write(folder: Path, tokens: TokenSource, documents: Numbers) -> None:
    """Copy some documents, one after the other, without holding them all."""
    folder.mkdir()
    starts, stops = tokens.bounds[documents], tokens.bounds[documents + 1]
    bounds = np.concatenate([[0], np.cumsum(stops - starts)]).astype(np.int64)
    ids = np.lib.format.open_memmap(folder / "ids.npy", mode="w+", dtype=tokens.ids.dtype, shape=(int(bounds[-1]),))
    for place, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        ids[bounds[place] : bounds[place + 1]] = tokens.ids[start:stop]
    ids.flush()
    np.save(folder / "bounds.npy", bounds)
