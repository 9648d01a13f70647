"""The tokens of a corpus: ids end to end in one file, where each document begins in another, mapped into memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files
from trustbase.data.corpus.store import PARTS, CorpusStore, Documents
from trustbase.errors import DataError
from trustbase.events import Emit, ignore

SCHEMA = "trustbase/tokens/1"
_BATCH = 1 << 20  # characters encoded at once
_SAVE = 64 << 20  # bytes of text between two records of how far it has come


@dataclass(frozen=True)
class Tokens:
    """The tokens of one part, mapped into memory.

    Attributes:
        folder: where its files are.
        count: documents.
        kind: numpy's name of the ids' type, uint16 or uint32.
    """

    folder: Path
    count: int
    kind: str

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> NDArray[Any]:
        """The ids of a document, without special tokens."""
        if not -self.count <= index < self.count:
            raise IndexError(f"document {index} of {self.count:,}")
        index %= self.count
        return self.ids[self.bounds[index] : self.bounds[index + 1]]

    @cached_property
    def ids(self) -> NDArray[Any]:
        """All ids, `(tokens,)`."""
        path = self.folder / "tokens.bin"
        return np.memmap(path, self.kind, mode="r") if path.stat().st_size else np.zeros(0, self.kind)

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        """Where each document begins among the ids, and the end, `(documents + 1,)`."""
        found: NDArray[np.int64] = np.load(self.folder / "bounds.npy", mmap_mode="r")
        return found


@dataclass(frozen=True)
class TokenStore:
    """A packed corpus; documents stand in the order of the corpus."""

    folder: Path
    train: Tokens
    held_out: Tokens
    digest: str

    @classmethod
    def open(cls, folder: Path) -> TokenStore:
        """Open what `pack_tokens` wrote.

        Raises:
            DataError: the folder holds no tokens, or some that were altered.
        """
        path = folder / "tokens.json"
        if not path.is_file():
            raise DataError(f"{folder} holds no packed corpus", hint="pack it first")
        about = files.read_json(path)
        for name, (size, _) in about["files"].items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != size:
                raise DataError(f"{folder / name} was altered or is not there", hint="remove the folder and pack the corpus again")
        train, held = (Tokens(folder / name, about["documents"][name], about["kind"]) for name in PARTS)
        return cls(folder, train, held, files.digest_json(about))


def pack_tokens(store: CorpusStore, tokenizer: Any, folder: Path, *, emit: Emit = ignore) -> TokenStore:
    """Encode every document, without special tokens, truncation or padding; the same call goes on where a killed one stopped.

    Args:
        store: the corpus.
        tokenizer: of `tokenizers`, or a fast one of `transformers`.
        folder: where the tokens go; it holds nothing else.
        emit: told the progress.

    Raises:
        DataError: the tokenizer has no fast form.
    """
    fast = plain_tokenizer(tokenizer)
    size = fast.get_vocab_size(with_added_tokens=True)
    kind = "uint16" if size <= 1 << 16 else "uint32"
    key = {"schema": SCHEMA, "corpus": store.digest, "tokenizer": "sha256:" + files.sha256_bytes(fast.to_str().encode()), "kind": kind}
    about = folder / "tokens.json"
    if about.is_file() and {name: files.read_json(about).get(name) for name in key} == key:
        return TokenStore.open(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, list[Any]] = {}
    for name in PARTS:
        part: Documents = getattr(store, name)
        total = len(store.train) + len(store.held_out)
        before = 0 if name == PARTS[0] else len(store.train)

        def told(done: int, before: int = before, total: int = total) -> None:
            emit("progress", what="packing tokens", done=before + done, total=total)

        _pack_part(part, fast, folder / name, kind, key, told)
        written |= {f"{name}/{file}": _known(folder / name / file) for file in ("tokens.bin", "bounds.npy")}
    documents = {name: len(getattr(store, name)) for name in PARTS}
    files.write_json(about, {**key, "vocabulary": size, "documents": documents, "files": written})
    for name in PARTS:
        (folder / name / "progress.json").unlink(missing_ok=True)
    return TokenStore.open(folder)


def plain_tokenizer(tokenizer: Any) -> Any:
    """A `tokenizers.Tokenizer` of its own that neither cuts nor pads.

    Raises:
        DataError: there is none behind this tokenizer.
    """
    inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(inner, "encode_batch_fast"):
        raise DataError(
            f"{type(tokenizer).__name__} has no fast form, and a corpus is too large for a slow one", hint="take a fast tokenizer"
        )
    copy = type(inner).from_str(inner.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _pack_part(part: Documents, tokenizer: Any, folder: Path, kind: str, key: dict[str, Any], told: Callable[[int], None]) -> None:
    """Append ids and lengths, and record after every stretch how much of both is whole."""
    folder.mkdir(exist_ok=True)
    record, ids, lengths = folder / "progress.json", folder / "tokens.bin", folder / "lengths.bin"
    state = files.read_json(record) if record.is_file() else {}
    if state.get("key") != key:
        state = {"key": key, "documents": 0, "tokens": 0}
    width = np.dtype(kind).itemsize
    with ids.open("ab") as first, lengths.open("ab") as second:
        first.truncate(state["tokens"] * width)
        second.truncate(state["documents"] * 8)
        done, pending = state["documents"], 0
        for start, stop, size in _batches(part, done):
            found = [item.ids for item in tokenizer.encode_batch_fast(part.texts(start, stop), add_special_tokens=False)]
            first.write(np.concatenate([np.zeros(0, kind), *(np.array(item, kind) for item in found)]).astype(kind).tobytes())
            second.write(np.array([len(item) for item in found], "<i8").tobytes())
            state["tokens"] += sum(map(len, found))
            state["documents"], pending = stop, pending + size
            if pending >= _SAVE or stop == len(part):
                for stream in (first, second):
                    stream.flush()
                    os.fsync(stream.fileno())
                files.write_json(record, state)
                pending = 0
            told(stop)
    counts = np.fromfile(lengths, "<i8")
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype("<i8")
    with (folder / "bounds.npy").open("wb") as stream:
        np.save(stream, bounds)


def _batches(part: Documents, start: int) -> Sequence[tuple[int, int, int]]:
    """Stretches of documents of about `_BATCH` bytes: first, last, size."""
    offsets, found = part.offsets, []
    while start < len(part):
        stop = int(np.searchsorted(offsets, offsets[start] + _BATCH, side="right")) - 1
        stop = min(max(stop, start + 1), len(part))
        found.append((start, stop, int(offsets[stop] - offsets[start])))
        start = stop
    return found


def _known(path: Path) -> list[Any]:
    return [path.stat().st_size, files.sha256_file(path)]
