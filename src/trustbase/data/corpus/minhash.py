"""Near-duplicates by MinHash: a short signature of each document whose agreement estimates the Jaccard similarity of their shingles.

Sources: Broder 1997, "On the resemblance and containment of documents" (shingles, min-wise hashing); Li and König 2010, "b-bit minwise
hashing" (16 bits of each minimum are enough to compare); Leskovec, Rajaraman and Ullman 2020, "Mining of massive datasets", section 3.4
(bands).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.data.corpus import characters as chars
from trustbase.data.corpus.block import Block
from trustbase.data.corpus.options import NearOptions

_CHUNK = 1 << 15  # shingles at once, so that they stay in the processor's cache through all permutations
_MISSED_WEIGHS = 0.9  # what a missed pair costs beside a pair that is compared in vain, which costs only time
EMPTY = np.uint64(0)  # band of a document without shingles


@dataclass(frozen=True)
class Bands:
    """How a signature is cut: documents that agree in all rows of a band are compared."""

    count: int
    rows: int


@lru_cache(maxsize=8)
def choose_bands(similarity: float, permutations: int) -> Bands:
    """The cut that costs least: pairs below the similarity that meet by chance, and pairs above it that never meet.

    Source: Zhu, Nargesian, Pu and Miller 2016, "LSH Ensemble" (PVLDB 9:12), section 5.4, as in the library `datasketch`.
    """
    below, above = np.linspace(0, similarity, 101), np.linspace(similarity, 1, 101)
    best, chosen = np.inf, Bands(1, 1)
    for count in range(1, permutations + 1):
        for rows in range(1, permutations // count + 1):
            in_vain = np.trapezoid(1 - (1 - below**rows) ** count, below)
            missed = np.trapezoid((1 - above**rows) ** count, above)
            cost = (1 - _MISSED_WEIGHS) * in_vain + _MISSED_WEIGHS * missed
            if cost < best:
                best, chosen = float(cost), Bands(count, rows)
    return chosen


def signatures(block: Block, options: NearOptions) -> NDArray[np.uint32]:
    """The smallest hash value of each document's shingles under each permutation, `(documents, permutations)`.

    A document shorter than a shingle is one shingle; one without any unit has the largest values everywhere.
    """
    counts = block.units.counts
    shingles, document = block.units.ngrams(np.clip(counts, 1, options.shingle))
    values = (shingles >> np.uint64(32)).astype(np.uint32)
    many = np.bincount(document, minlength=len(block))
    full = np.flatnonzero(many)
    found = np.full((options.permutations, len(block)), np.uint32(0xFFFFFFFF))
    for part in _chunks(many[full]):
        rows = full[part]
        begin = int(many[: rows[0]].sum())
        own = values[begin : begin + int(many[rows].sum())]
        found[:, rows[0] : rows[-1] + 1][:, rows - rows[0]] = _minima(own, np.cumsum(many[rows]) - many[rows], options.permutations)
    return np.ascontiguousarray(found.T)


def _chunks(many: NDArray[np.int64]) -> list[slice]:
    """Documents in groups of about `_CHUNK` shingles."""
    if not len(many):
        return []
    group = np.cumsum(many) // _CHUNK
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(many)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _minima(values: NDArray[np.uint32], starts: NDArray[np.int64], permutations: int) -> NDArray[np.uint32]:
    """For each permutation the smallest value of each stretch, `(permutations, stretches)`."""
    shifts, factors = _permutations(permutations)
    found = np.empty((permutations, len(starts)), np.uint32)
    work = np.empty_like(values)
    for row in range(permutations):
        np.bitwise_xor(values, shifts[row], out=work)
        np.multiply(work, factors[row], out=work)  # odd factors permute the numbers modulo 2^32
        np.minimum.reduceat(work, starts, out=found[row])
    return found


@lru_cache(maxsize=4)
def _permutations(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Always the same ones: a signature does not depend on the run."""
    draws = seeds.generator(0, "corpus", "minhash").integers(0, 1 << 32, (2, 512), dtype=np.uint32)[:, :count]
    return draws[0], draws[1] | np.uint32(1)


def band_hashes(found: NDArray[np.uint32], bands: Bands) -> NDArray[np.uint64]:
    """One number for each band of each signature, `(documents, bands)`; `EMPTY` where there were no shingles."""
    rows = found[:, : bands.count * bands.rows].reshape(len(found), bands.count, bands.rows).astype(np.uint64)
    draws = seeds.generator(0, "corpus", "bands").integers(0, 1 << 63, bands.rows, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = chars.mix((chars.mix(rows) * draws).sum(2, dtype=np.uint64))
    hashes[hashes == EMPTY] = np.uint64(1)
    hashes[(found == 0xFFFFFFFF).all(1)] = EMPTY
    return hashes


def short(found: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """What is kept of signatures for comparing them: the low 16 bits, `(documents, permutations)`."""
    return (found & np.uint32(0xFFFF)).astype(np.uint16)


def similarity(one: NDArray[np.uint16], other: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Estimated Jaccard similarity of the documents of each pair of signatures, `(pairs,)`; chance agreement of 16 bits is taken off."""
    chance = 2.0**-16
    found: NDArray[np.float64] = np.clip(((one == other).mean(1) - chance) / (1 - chance), 0, 1)
    return found
