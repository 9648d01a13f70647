"""Test texts that stand in the corpus: found by the n-grams that a document and a test text share.

Source: Brown et al. 2020, "Language models are few-shot learners" (arXiv 2005.14165), appendix C: a shared 13-gram is an overlap. A unit is
a word, or one character of Chinese. A test text shorter than the gram overlaps where a document, or a line of one, is that text and
nothing else: as a part of longer text a few characters in a row are ordinary language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trustbase import files
from trustbase.data.corpus.block import Block, Numbers

_SEEN_BITS = np.uint64(40)  # of a gram's hash that tells at once that most grams are in no test set
_FEWEST = 2  # units of a test text that can be looked for at all


@dataclass(frozen=True, eq=False)
class TestGrams:
    """What is looked for.

    Attributes:
        names: of the test sets.
        sizes: texts in each set.
        hashes: of all grams and short texts, sorted, `(grams,)`.
        starts: where each one's test texts begin in `texts`, `(grams + 1,)`.
        texts: numbers of the test texts that hold the gram, `(pairs,)`; texts of all sets are numbered through.
        ngram: units of a gram.
    """

    __test__ = False  # the name is no test's

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    hashes: NDArray[np.uint64]
    starts: Numbers
    texts: NDArray[np.int32]
    ngram: int

    def save(self, folder: Path) -> None:
        """Write everything into a folder, whole or not at all."""

        def fill(staging: Path) -> None:
            np.save(staging / "hashes.npy", self.hashes)
            np.save(staging / "starts.npy", self.starts)
            np.save(staging / "texts.npy", self.texts)
            files.write_json(staging / "sets.json", {"names": self.names, "sizes": self.sizes, "ngram": self.ngram})

        files.replace_folder(folder, fill)

    @classmethod
    def open(cls, folder: Path) -> TestGrams:
        sets = files.read_json(folder / "sets.json")
        hashes, starts, texts = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("hashes", "starts", "texts"))
        return cls(tuple(sets["names"]), tuple(sets["sizes"]), hashes, starts, texts, sets["ngram"])

    @cached_property
    def _seen(self) -> NDArray[np.bool_]:
        """Which first bits of a hash occur at all, `(2^24,)`."""
        table = np.zeros(1 << 24, bool)
        table[np.asarray(self.hashes) >> _SEEN_BITS] = True
        return table

    def find(self, block: Block) -> tuple[Numbers, Numbers]:
        """Grams of the test sets in the documents.

        Returns:
            The document of each, and which gram it is, `(found,)` each.
        """
        hashes, documents = probes(block, self.ngram)
        maybe = np.flatnonzero(self._seen[hashes >> _SEEN_BITS])
        place = np.searchsorted(self.hashes, hashes[maybe])
        right = self.hashes[np.minimum(place, len(self.hashes) - 1)] == hashes[maybe] if len(self.hashes) else np.zeros(0, bool)
        return documents[maybe[right]], place[right]

    def texts_of(self, grams: Numbers) -> NDArray[np.int32]:
        """The test texts that hold any of these grams, each once."""
        parts = [self.texts[self.starts[gram] : self.starts[gram + 1]] for gram in np.unique(grams).tolist()]
        return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int32)

    def set_of(self, texts: NDArray[np.int32]) -> Numbers:
        """Which set each test text is of."""
        return np.searchsorted(np.cumsum(self.sizes), texts, side="right")


def make_grams(sets: Sequence[tuple[str, Block]], ngram: int) -> TestGrams:
    """Everything to look for in these test sets.

    Args:
        sets: name and texts of each, prepared as the documents of the corpus are.
        ngram: units of a gram.
    """
    hashes, texts, offset = [], [], 0
    for _, block in sets:
        grams, document = block.units.ngrams(ngram)
        short = np.flatnonzero((block.units.counts < ngram) & (block.units.counts >= _FEWEST))
        whole = block.units.spans(block.units.first[short], block.units.first[short + 1])
        hashes += [grams, _whole(whole)]
        texts += [document + offset, short + offset]
        offset += len(block)
    keys, numbers = np.concatenate(hashes), np.concatenate(texts)
    order = np.lexsort((numbers, keys))
    keys, numbers = keys[order], numbers[order]
    fresh = np.ones(len(keys), bool)
    fresh[1:] = (keys[1:] != keys[:-1]) | (numbers[1:] != numbers[:-1])
    keys, numbers = keys[fresh], numbers[fresh]
    distinct, starts = np.unique(keys, return_index=True)
    bounds = np.concatenate([starts, [len(keys)]]).astype(np.int64)
    sizes = tuple(len(block) for _, block in sets)
    return TestGrams(tuple(name for name, _ in sets), sizes, distinct, bounds, numbers.astype(np.int32), ngram)


def probes(block: Block, ngram: int) -> tuple[NDArray[np.uint64], Numbers]:
    """What of each document is compared: its grams, and its short lines and itself, where short, as a whole."""
    units = block.units
    grams, document = units.ngrams(ngram)
    edges = np.flatnonzero((block.points == 0x0A) | (block.points == 0))
    first = np.searchsorted(units.starts, np.concatenate([[0], edges + 1]))
    count = np.diff(first)
    lines = np.flatnonzero((count < ngram) & (count >= _FEWEST))
    whole = np.flatnonzero((units.counts < ngram) & (units.counts >= _FEWEST))
    hashes = [grams, _whole(units.spans(first[lines], first[lines + 1])), _whole(units.spans(units.first[whole], units.first[whole + 1]))]
    return np.concatenate(hashes), np.concatenate([document, np.searchsorted(block.ends, edges[lines]), whole])


def _whole(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Another number for a text as a whole than for the same units as a gram."""
    return ~hashes
