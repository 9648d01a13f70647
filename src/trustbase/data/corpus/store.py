"""A corpus on disk: the documents end to end in one file, where each begins in another, mapped into memory and never read whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files, seeds
from trustbase.data.corpus.duplicates import KEPT, Numbers, Shards
from trustbase.errors import DataError

SCHEMA = "trustbase/corpus/1"
PARTS = ("train", "held_out")


@dataclass(frozen=True)
class Documents:
    """One part of a corpus, mapped into memory.

    Attributes:
        folder: where its files are.
        count: documents.
    """

    folder: Path
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> str:
        if not -self.count <= index < self.count:
            raise IndexError(f"document {index} of {self.count:,}")
        index %= self.count
        return self._bytes[self.offsets[index] : self.offsets[index + 1]].tobytes().decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, self.count, 1024):
            yield from self.texts(start, start + 1024)

    def texts(self, start: int, stop: int) -> list[str]:
        """The documents from `start` to before `stop`."""
        offsets = self.offsets[start : min(stop, self.count) + 1]
        if len(offsets) < 2:
            return []
        data = self._bytes[offsets[0] : offsets[-1]].tobytes()
        bounds = (offsets - offsets[0]).tolist()
        return [data[a:b].decode("utf-8") for a, b in pairwise(bounds)]

    @cached_property
    def offsets(self) -> Numbers:
        """Where each document begins among the bytes, and the end, int64 `(documents + 1,)`."""
        found: Numbers = np.load(self.folder / "offsets.npy", mmap_mode="r")
        return found

    @cached_property
    def sources(self) -> NDArray[np.uint16]:
        """Which source each document is from, by its place in the recipe, `(documents,)`."""
        found: NDArray[np.uint16] = np.load(self.folder / "sources.npy", mmap_mode="r")
        return found

    @cached_property
    def _bytes(self) -> NDArray[np.uint8]:
        return np.memmap(self.folder / "documents.bin", np.uint8, mode="r")


def read_about(path: Path) -> dict[str, Any]:
    """What a corpus says of itself.

    Raises:
        DataError: the file is damaged.
    """
    try:
        about = files.read_json(path)
    except ValueError as error:
        raise DataError(f"{path} cannot be read: {error}", hint="remove that file: the corpus is then prepared again") from error
    if not isinstance(about, dict):
        raise DataError(f"{path} is of another kind than a corpus leaves", hint="remove that file: the corpus is then prepared again")
    return about


@dataclass(frozen=True)
class CorpusStore:
    """A finished corpus.

    Attributes:
        folder: where it is.
        train, held_out: its documents.
        sources: name of each source.
        weights: how often each document of a source is seen in one pass.
        digest: `sha256:…` of all of it.
    """

    folder: Path
    train: Documents
    held_out: Documents
    sources: tuple[str, ...]
    weights: tuple[float, ...]
    digest: str

    @classmethod
    def open(cls, folder: Path, *, check: bool = False) -> CorpusStore:
        """Open what `write_store` wrote.

        Args:
            folder: where it is.
            check: whether every byte is compared with its digest, rather than sizes alone.

        Raises:
            DataError: the folder holds no corpus, or one that was altered.
        """
        path = folder / "store.json"
        if not path.is_file():
            raise DataError(f"{folder} holds no corpus", hint="prepare it first")
        about = read_about(path)
        if about.get("schema") != SCHEMA:
            raise DataError(f"{path} is of the form '{about.get('schema')}', not '{SCHEMA}'", hint="prepare the corpus again")
        for name, (size, digest) in about["files"].items():
            file = folder / name
            found = file.stat().st_size if file.is_file() else -1
            if found != size or (check and files.sha256_file(file) != digest):
                raise DataError(f"{file} was altered or is not there", hint="remove the folder and prepare the corpus again")
        train, held = (Documents(folder / name, about["documents"][name]) for name in PARTS)
        return cls(folder, train, held, tuple(about["sources"]), tuple(about["weights"]), files.digest_json(about))

    def epoch(self, *, seed: int, epoch: int = 0) -> Numbers:
        """The training documents of one pass in a seeded order, int64: each as often as its source's weight says.

        The fraction of a weight is a seeded choice of documents, anew for each pass.
        """
        rng = seeds.generator(seed, "corpus", "epoch", epoch)
        weights = np.array(self.weights)[self.train.sources]
        times = np.floor(weights).astype(np.int64)
        fraction = weights - times
        times += rng.random(len(weights)) < fraction if fraction.any() else 0
        order = np.repeat(np.arange(len(weights)), times)
        rng.shuffle(order)
        return order


def held_out(shards: Shards, state: NDArray[np.uint8], share: float) -> NDArray[np.bool_]:
    """Which documents are held out, `(documents,)`: by the hash of their content, so that equal ones stay together; at least one.

    Raises:
        DataError: fewer than two different documents are left.
    """
    chosen = np.zeros(len(state), bool)
    least, most = (np.inf, -1), (-np.inf, -1)
    for start, hashes in shards.parts("hashes"):
        kept = np.flatnonzero(state[start : start + len(hashes)] == KEPT)
        place = (hashes[kept, 1] >> np.uint64(11)) / 2.0**53
        chosen[kept + start] = place < share
        if len(kept):
            least = min(least, (float(place.min()), int(kept[place.argmin()]) + start))
            most = max(most, (float(place.max()), int(kept[place.argmax()]) + start))
    if least[0] == most[0] or not np.isfinite(least[0]):
        raise DataError(
            "fewer than two different documents are left: one is needed for training and one to be held out",
            hint="give more text, or milder limits; the counts of each step are in the log above",
        )
    if least[0] >= share or most[0] < share:  # a small corpus: the one nearest to the limit changes sides, with its equals
        nearest = least[0] if least[0] >= share else most[0]
        for start, hashes in shards.parts("hashes"):
            own = ((hashes[:, 1] >> np.uint64(11)) / 2.0**53 == nearest) & (state[start : start + len(hashes)] == KEPT)
            chosen[np.flatnonzero(own) + start] = least[0] >= share
    return chosen


def write_store(
    folder: Path,
    shards: Shards,
    state: NDArray[np.uint8],
    out: NDArray[np.bool_],
    owner: Sequence[int],
    names: Sequence[str],
    weights: Sequence[float],
) -> CorpusStore:
    """Write the documents that stay into `folder`, whole or not at all.

    Args:
        folder: where the corpus goes.
        shards: the clean documents.
        state: what becomes of each, `(documents,)`.
        out: which are held out, `(documents,)`.
        owner: source of each file.
        names: of the sources.
        weights: of the sources.
    """

    def fill(staging: Path) -> None:
        written, counts = {}, {}
        for part, chosen in zip(PARTS, (~out, out), strict=True):
            wanted = (state == KEPT) & chosen
            counts[part] = int(wanted.sum())
            for name, entry in _write_part(staging / part, shards, wanted, np.array(owner, np.uint16)).items():
                written[f"{part}/{name}"] = entry
        about = {"schema": SCHEMA, "documents": counts, "files": written, "sources": list(names), "weights": list(weights)}
        files.write_json(staging / "store.json", about)

    files.replace_folder(folder, fill)
    return CorpusStore.open(folder)


def _write_part(folder: Path, shards: Shards, wanted: NDArray[np.bool_], owner: NDArray[np.uint16]) -> dict[str, list[Any]]:
    """Documents, offsets and sources of one part; size and digest of each file."""
    folder.mkdir()
    count, end = int(wanted.sum()), 0
    texts = _Digesting(folder / "documents.bin")
    offsets, sources = _Digesting(folder / "offsets.npy"), _Digesting(folder / "sources.npy")
    offsets.header("<i8", count + 1)
    sources.header("<u2", count)
    offsets.write(np.zeros(1, "<i8").tobytes())
    tables = zip(shards.parts("lengths"), shards.parts("files"), _filled(shards), strict=True)
    for (start, lengths), (_, owners), shard in tables:
        own = wanted[start : start + len(lengths)]
        _copy(shard / "documents.bin", lengths, own, texts)
        ends = end + np.cumsum(lengths[own])
        offsets.write(ends.astype("<i8").tobytes())
        sources.write(owner[owners[own]].astype("<u2").tobytes())
        end = int(ends[-1]) if len(ends) else end
    return {stream.path.name: stream.close() for stream in (texts, offsets, sources)}


def _filled(shards: Shards) -> Iterator[Path]:
    return (folder for folder, count in zip(shards.folders, shards.counts, strict=True) if count)


def _copy(path: Path, lengths: Numbers, wanted: NDArray[np.bool_], target: _Digesting) -> None:
    """The wanted documents of a shard, in stretches of neighbours."""
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    with path.open("rb") as stream:
        for first, last in edges.reshape(-1, 2).tolist():
            stream.seek(int(bounds[first]))
            left = int(bounds[last] - bounds[first])
            while left:
                data = stream.read(min(left, 1 << 22))
                target.write(data)
                left -= len(data)


class _Digesting:
    """A file that is digested while it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: IO[bytes] = path.open("wb")
        self._total = hashlib.sha256()
        self._size = 0

    def header(self, kind: str, count: int) -> None:
        """The head of an `.npy` file of `count` numbers."""
        from io import BytesIO

        head = BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": kind, "fortran_order": False, "shape": (count,)})
        self.write(head.getvalue())

    def write(self, data: bytes) -> None:
        self._stream.write(data)
        self._total.update(data)
        self._size += len(data)

    def close(self) -> list[Any]:
        """Size and digest."""
        self._stream.close()
        return [self._size, self._total.hexdigest()]
