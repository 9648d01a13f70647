"""The Predictor's memory: answers kept by everything that could change them, the least recently used forgotten first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from trustbase.files import canonical_json


class AnswerCache:
    """Rows that the runtime computed, by key; at most `capacity` bytes of numbers (0 keeps none). Used by one thread."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rows: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
        return row

    def put(self, key: bytes, row: NDArray[np.float32]) -> None:
        if row.nbytes > self._capacity:
            return
        previous = self._rows.pop(key, None)
        self._bytes += row.nbytes - (previous.nbytes if previous is not None else 0)
        self._rows[key] = row
        while self._bytes > self._capacity:
            _, forgotten = self._rows.popitem(last=False)
            self._bytes -= forgotten.nbytes

    def clear(self) -> None:
        self._rows.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._rows)


def scope_of(**facts: str | int | float | None) -> bytes:
    """The part of every key that belongs to the model: weights digest, tokenizer, runtime, precision, truncation, adapter …"""
    return hashlib.sha256(canonical_json(facts)).digest()


def answer_key(scope: bytes, output: str, parameters: bytes, canonical: bytes) -> bytes:
    """Key of one runtime row; lengths stand before the parts, so that no two different questions spell the same bytes."""
    head = f"{output}\x00{len(parameters)}\x00".encode()
    return hashlib.blake2b(scope + head + parameters + canonical, digest_size=20).digest()
