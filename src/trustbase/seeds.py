"""Named random streams: every use of randomness has a name, so adding one never shifts another."""

from __future__ import annotations

import hashlib

import numpy as np


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream `names` of the run seed `seed`.

    The seed depends on the names alone (SHA-256), not on the order in which streams are opened.
    """
    text = "\x1f".join([str(seed), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the named stream."""
    return np.random.default_rng(stream_seed(seed, *names))
