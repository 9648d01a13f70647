"""Many documents as one array of code points: everything that is asked of each character is asked of all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from trustbase.data.corpus import characters as chars

Points = NDArray[np.uint32]
Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_BASE = np.uint64(0x9E3779B97F4A7C55)  # odd, so that it has an inverse modulo 2^64
_INVERSE = np.uint64(pow(int(_BASE), -1, 2**64))


@dataclass(frozen=True, eq=False)
class Block:
    """Documents end to end, each followed by a separator (code point 0).

    Attributes:
        points: code points, uint32 `(characters + documents,)`.
    """

    points: Points

    @classmethod
    def of(cls, texts: Sequence[str]) -> Block:
        """A block of these documents, none of which holds a NUL."""
        joined = "\0".join(texts) + "\0" if texts else ""
        return cls(np.frombuffer(joined.encode("utf-32-le"), np.uint32))

    def __len__(self) -> int:
        return len(self.ends)

    @cached_property
    def ends(self) -> Numbers:
        """Where each document ends (its separator stands there), `(documents,)`."""
        return np.flatnonzero(self.points == 0)

    @cached_property
    def starts(self) -> Numbers:
        """Where each document begins, `(documents,)`."""
        return np.concatenate([[0], self.ends[:-1] + 1]).astype(np.int64)[: len(self.ends)]

    @cached_property
    def kinds(self) -> NDArray[np.uint8]:
        """The class of each character, `(points,)`."""
        return chars.classes().take(self.points)

    def counts(self, mask: Mask) -> Numbers:
        """How many characters of each document the mask marks, `(documents,)`."""
        return between(mask, self.starts, self.ends)

    @cached_property
    def kind_counts(self) -> Numbers:
        """Characters of each class in each document, `(documents, classes)`."""
        document = np.repeat(np.arange(len(self)), self.ends - self.starts + 1)
        flat = np.bincount(document * chars.CLASSES + self.kinds, minlength=len(self) * chars.CLASSES)
        return flat.reshape(len(self), chars.CLASSES).astype(np.int64)

    def keep(self, mask: Mask) -> Block:
        """The documents that the mask marks, `(documents,)`."""
        if mask.all():
            return self
        return Block(self.points[np.repeat(mask, self.ends - self.starts + 1)])

    def encoded(self) -> list[bytes]:
        """Each document as UTF-8."""
        return self.points.tobytes().decode("utf-32-le").encode("utf-8").split(b"\0")[:-1] if len(self) else []

    def texts(self) -> list[str]:
        """Each document as a string."""
        return self.points.tobytes().decode("utf-32-le").split("\0")[:-1] if len(self) else []

    @cached_property
    def units(self) -> Units:
        """Words of letters and digits, and characters of Chinese and Japanese."""
        return Units.of(self)

    @cached_property
    def hashes(self) -> Spans:
        """Hash values of any stretch of characters; capitals count as small letters."""
        return Spans(chars.codes().take(self.points))


class Spans:
    """Hash values of stretches of a sequence, each in constant time, from prefix sums of a polynomial modulo 2^64.

    Source: Karp and Rabin 1987, "Efficient randomized pattern-matching algorithms", section 3. The symbols are scrambled first. Long
    stretches can be made to collide on purpose (Thue and Morse's sequence does, for any base modulo a power of two), so hashes of this
    kind find repetitions and shingles; which documents are equal is decided by a cryptographic one.
    """

    def __init__(self, codes: NDArray[np.uint64]) -> None:
        self._sums = np.zeros(len(codes) + 1, np.uint64)
        np.cumsum(codes * _powers(len(codes))[0], out=self._sums[1:])

    def __call__(self, starts: Numbers, ends: Numbers) -> NDArray[np.uint64]:
        """The hash of each stretch `[start, end)`, `(stretches,)`."""
        found = self._sums[ends] - self._sums[starts]
        found *= _powers(len(self._sums))[1][starts]
        return chars.mix(found)


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a block, in order.

    Attributes:
        starts, ends: where each begins and ends among the code points, `(units,)`.
        words: whether it is a word of letters; the others are single characters, `(units,)`.
        first: index of each document's first unit, and of the end, `(documents + 1,)`.
        hashes: 64 bits that follow from the unit alone, `(units,)`.
    """

    starts: Numbers
    ends: Numbers
    words: Mask
    first: Numbers
    hashes: NDArray[np.uint64]

    @classmethod
    def of(cls, block: Block) -> Units:
        """Find the units: runs of letters, digits and their marks; each Han or Kana character alone."""
        kinds = block.kinds
        single = (kinds == chars.HAN) | (kinds == chars.KANA)
        inside = (kinds <= chars.DIGIT) | (kinds == chars.HANGUL) | (kinds == chars.MARK)
        starts_mask, ends_mask = inside.copy(), inside.copy()
        starts_mask[1:] &= ~inside[:-1]
        ends_mask[:-1] &= ~inside[1:]
        starts, ends = np.flatnonzero(starts_mask | single), np.flatnonzero(ends_mask | single) + 1
        first = np.searchsorted(starts, np.concatenate([block.starts, [len(kinds)]]))
        return cls(starts, ends, ~single[starts], first, block.hashes(starts, ends))

    @cached_property
    def counts(self) -> Numbers:
        """Units of each document, `(documents,)`."""
        return np.diff(self.first)

    @cached_property
    def spans(self) -> Spans:
        """Hash values of any stretch of units."""
        return Spans(self.hashes)

    def tally(self, mask: Mask) -> Numbers:
        """How many units of each document the mask marks, `(documents,)`."""
        return between(mask, self.first[:-1], self.first[1:])

    def ngrams(self, size: int | Numbers) -> tuple[NDArray[np.uint64], Numbers]:
        """The n-grams that lie within one document.

        Args:
            size: units in a gram; one for all documents, or one for each, `(documents,)`.

        Returns:
            Hash of each gram, and the document it lies in, `(grams,)` each.
        """
        sizes = np.broadcast_to(np.asarray(size, np.int64), self.counts.shape)
        many = np.maximum(self.counts - sizes + 1, 0)
        documents = np.repeat(np.arange(len(many)), many)
        before = np.cumsum(many) - many
        starts = np.arange(len(documents)) + np.repeat(self.first[:-1] - before, many)
        return self.spans(starts, starts + np.repeat(sizes, many)), documents


class Lookup:
    """Where hash values stand in a list of known ones: one look into a table for each, since most are not there."""

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._keys = np.concatenate([keys, [np.uint64(0)]])  # the last stands for "none"
        for bits in range(12, 25):
            self._shift = np.uint64(64 - bits)
            places = (keys >> self._shift).astype(np.int64)
            if len(np.unique(places)) == len(keys):
                break
        else:
            raise AssertionError("two known hash values begin with the same 24 bits")
        self._table = np.full(1 << bits, len(keys), np.int32)
        self._table[places] = np.arange(len(keys))

    def __call__(self, hashes: NDArray[np.uint64]) -> tuple[Numbers, Numbers]:
        """Places of the hashes that are known, and which of the known ones each is, `(found,)` each."""
        place = self._table.take((hashes >> self._shift).astype(np.int64))
        maybe = np.flatnonzero(place < len(self._keys) - 1)
        right = self._keys[place[maybe]] == hashes[maybe]
        return maybe[right], place[maybe[right]].astype(np.int64)


def between(mask: Mask, starts: Numbers, ends: Numbers) -> Numbers:
    """How many places within each stretch `[start, end)` the mask marks, `(stretches,)`."""
    marked = np.flatnonzero(mask)
    return np.searchsorted(marked, ends) - np.searchsorted(marked, starts)


def _powers(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The first `count` powers of the base and of its inverse."""
    powers, inverses = _power_table(1 << max(20, (count - 1).bit_length()))
    return powers[:count], inverses[:count]


@lru_cache(maxsize=1)
def _power_table(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    steps = np.full((2, size), 1, np.uint64)
    steps[0, 1:], steps[1, 1:] = _BASE, _INVERSE
    powers, inverses = np.multiply.accumulate(steps, axis=1)
    return powers, inverses
