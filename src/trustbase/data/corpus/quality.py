"""Heuristics for text that is no prose: lists, tables, menus, repetitions. Each rule has a name, so that the card can say what fell to it.

Sources: "Gopher" is Rae et al. 2021, "Scaling language models" (arXiv 2112.11446), appendix A1.1; "C4" is Raffel et al. 2020,
"Exploring the limits of transfer learning" (JMLR 21:140), section 2.2. Where they count words, a unit is counted here: a word of letters,
or one character of Chinese; limits that Chinese needs otherwise (grams of 10 characters for 5 words, final signs, function words) are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data.corpus import characters as chars
from trustbase.data.corpus.block import Block, Lookup, Mask, Numbers
from trustbase.data.corpus.language import WORDS
from trustbase.data.corpus.options import QualityOptions

RULES = (
    *("too_short", "too_long", "short_words", "long_words", "symbols", "few_letters", "bullets", "ellipses"),
    *("open_lines", "repeated_lines", "repeated_ngrams", "function_words", "placeholder"),
)
_ELLIPSES, _HASH = "…⋯", "#"
_BULLETS = "•‣⁃◦▪●○■□◆◇★☆※·*-–—－+>►▶"
_FINAL = ".!?。！？…；;:：\"'”’」』）)】》"
_FUNCTION_ZH = "的了是在不和有我这们就人也都与为而之到说要于"  # the most frequent of modern Chinese, less those of content
_LONG_ENOUGH = 50  # words from which a text without function words is no prose
_LONG_ENOUGH_ZH = 200  # characters; short news in Chinese does with hardly any


def judge(block: Block, options: QualityOptions) -> NDArray[np.int8]:
    """The first rule that each document breaks, as an index into `RULES`; -1 where it keeps all, `(documents,)`."""
    measures = Measures(block)
    found = np.full(len(block), -1, np.int8)
    for index, name in enumerate(RULES):
        limit = getattr(options, name)
        if limit is None or limit is False:
            continue
        broken = _BROKEN[name](measures, limit)
        found[broken & (found < 0)] = index
    return found


@dataclass(frozen=True, eq=False)
class Measures:
    """What the rules look at, each computed once and for all documents, `(documents,)` each."""

    block: Block

    @cached_property
    def units(self) -> Numbers:
        return self.block.units.counts

    @cached_property
    def words(self) -> Numbers:
        """Units that are words of letters."""
        return self.block.units.tally(self.block.units.words)

    @cached_property
    def wordy(self) -> Mask:
        """Whether most units are words rather than characters of Chinese."""
        return self.words * 2 > self.units

    @cached_property
    def word_length(self) -> NDArray[np.float64]:
        """Mean characters of a word."""
        units = self.block.units
        lengths = np.where(units.words, units.ends - units.starts, 0)
        sums = np.concatenate([[0], np.cumsum(lengths)])
        found: NDArray[np.float64] = (sums[units.first[1:]] - sums[units.first[:-1]]) / np.maximum(self.words, 1)
        return found

    @cached_property
    def kinds(self) -> Numbers:
        return self.block.kind_counts

    @cached_property
    def lettered(self) -> NDArray[np.float64]:
        """Share of letters, digits and their marks among the characters that are no blanks and no Chinese or other punctuation."""
        letters = self.kinds[:, : chars.MARK + 1].sum(1)
        shown = letters + self.kinds[:, chars.SYMBOL] + self.kinds[:, chars.PUNCTUATION]
        share: NDArray[np.float64] = letters / np.maximum(shown, 1)
        return share

    @cached_property
    def symbols(self) -> NDArray[np.float64]:
        """Hashes and ellipses for each unit."""
        points = self.block.points
        marks = _is(points, _ELLIPSES)
        marks[1:] &= ~_is(points[:-1], _ELLIPSES)  # …… is one
        marks |= points == ord(_HASH)
        dots = points == ord(".")
        marks[2:] |= dots[2:] & dots[1:-1] & dots[:-2] & ~np.concatenate([[False], dots[:-3]])  # the third of a run
        return self.block.counts(marks) / np.maximum(self.units, 1)

    @cached_property
    def lines(self) -> Lines:
        return Lines.of(self.block)

    @cached_property
    def repeated_ngrams(self) -> NDArray[np.float64]:
        """Share of the n-grams that stood before in the document."""
        grams, document = self.block.units.ngrams(np.where(self.wordy, 5, 10))
        return _repeated(grams, document, None, len(self.block))

    @cached_property
    def function_words(self) -> Numbers:
        """Occurrences of the function words of English and Chinese."""
        hits, _ = _function_words()(self.block.units.hashes)
        first = self.block.units.first
        return np.diff(np.searchsorted(hits, first))


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of all documents that are not empty.

    Attributes:
        starts, ends: where each begins and ends, `(lines,)`.
        document: where it stands, `(lines,)`.
        counts: lines of each document, `(documents,)`.
    """

    block: Block
    starts: Numbers
    ends: Numbers
    document: Numbers
    counts: Numbers

    @classmethod
    def of(cls, block: Block) -> Lines:
        edges = np.flatnonzero((block.points == 0x0A) | (block.points == 0))
        starts = np.concatenate([[0], edges[:-1] + 1]).astype(np.int64)[: len(edges)]
        full = edges > starts
        starts, ends = starts[full], edges[full]
        document = np.searchsorted(block.ends, starts)
        return cls(block, starts, ends, document, np.bincount(document, minlength=len(block)))

    def share(self, mask: Mask) -> NDArray[np.float64]:
        """Share of the lines of each document that the mask marks."""
        return np.bincount(self.document, weights=mask, minlength=len(self.block)) / np.maximum(self.counts, 1)

    def share_of_characters(self, mask: Mask) -> NDArray[np.float64]:
        lengths = (self.ends - self.starts).astype(float)
        marked = np.bincount(self.document, weights=lengths * mask, minlength=len(self.block))
        return marked / np.maximum(np.bincount(self.document, weights=lengths, minlength=len(self.block)), 1)

    def bullets(self) -> NDArray[np.float64]:
        return np.where(self.counts >= 3, self.share(_is(self.block.points[self.starts], _BULLETS)), 0.0)

    def ellipses(self) -> NDArray[np.float64]:
        points, last = self.block.points, self.ends - 1
        dots = points == ord(".")
        three = (last - 2 >= self.starts) & dots[last] & dots[np.maximum(last - 1, 0)] & dots[np.maximum(last - 2, 0)]
        share = self.share(_is(points[last], _ELLIPSES) | three)
        return np.where(self.counts >= 3, share, 0.0)

    def open(self) -> NDArray[np.float64]:
        return self.share_of_characters(~_is(self.block.points[self.ends - 1], _FINAL))

    def repeated(self) -> NDArray[np.float64]:
        lengths = (self.ends - self.starts).astype(float)
        return _repeated(self.block.hashes(self.starts, self.ends), self.document, lengths, len(self.block))


def _repeated(hashes: NDArray[np.uint64], document: Numbers, weights: NDArray[np.float64] | None, documents: int) -> NDArray[np.float64]:
    """Share of the things in each document that equal an earlier one there, by number or by weight, `(documents,)`.

    Hashes are cut to 40 bits beside the document's number: two different things of one document are taken for equal once in 10^12 pairs.
    """
    if not len(hashes):
        return np.zeros(documents)
    keys = (document.astype(np.uint64) << np.uint64(40)) | (hashes >> np.uint64(24))
    if weights is None:
        keys.sort()
        again = np.flatnonzero(keys[1:] == keys[:-1])
        repeated = np.bincount((keys[again] >> np.uint64(40)).astype(np.int64), minlength=documents)
        return repeated / np.maximum(np.bincount(document, minlength=documents), 1)
    order = np.argsort(keys, kind="stable")
    again = order[1:][keys[order[1:]] == keys[order[:-1]]]
    repeated = np.bincount(document[again], weights=weights[again], minlength=documents)
    return repeated / np.maximum(np.bincount(document, weights=weights, minlength=documents), 1)


def _is(points: NDArray[np.uint32], signs: str) -> Mask:
    return _members(signs).take(points)


@lru_cache(maxsize=8)
def _members(signs: str) -> Mask:
    table = np.zeros(chars.SIZE, bool)
    table[[ord(sign) for sign in signs]] = True
    return table


@lru_cache(maxsize=1)
def _function_words() -> Lookup:
    block = Block.of(sorted({*WORDS["en"].split(), *_FUNCTION_ZH}))
    return Lookup(block.hashes(block.starts, block.ends))


def _holds_placeholder(measures: Measures) -> Mask:
    """Documents with 'lorem ipsum'."""
    hashes = measures.block.units.hashes
    block = Block.of(["lorem", "ipsum"])
    lorem, ipsum = block.hashes(block.starts, block.ends)
    pair = np.zeros(len(hashes), bool)
    pair[:-1] = (hashes[:-1] == lorem) & (hashes[1:] == ipsum)
    return measures.block.units.tally(pair) > 0


_BROKEN: dict[str, Callable[[Measures, Any], Mask]] = {
    "too_short": lambda m, limit: m.units < limit,
    "too_long": lambda m, limit: m.units > limit,
    "short_words": lambda m, limit: m.wordy & (m.word_length < limit),
    "long_words": lambda m, limit: m.wordy & (m.word_length > limit),
    "symbols": lambda m, limit: m.symbols > limit,
    "few_letters": lambda m, limit: m.lettered < limit,
    "bullets": lambda m, limit: m.lines.bullets() > limit,
    "ellipses": lambda m, limit: m.lines.ellipses() > limit,
    "open_lines": lambda m, limit: m.lines.open() > limit,
    "repeated_lines": lambda m, limit: m.lines.repeated() > limit,
    "repeated_ngrams": lambda m, limit: m.repeated_ngrams > limit,
    "function_words": lambda m, limit: (m.units >= np.where(m.wordy, _LONG_ENOUGH, _LONG_ENOUGH_ZH)) & (m.function_words < limit),
    "placeholder": lambda m, limit: _holds_placeholder(m),
}
