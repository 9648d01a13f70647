"""Each unit of a text as what stands around it: words two before to two after, neighbours in pairs, endings and shapes; as a matrix."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data.units import unit_texts, units

Codes = NDArray[np.int64]

_REACH = 2
_NOTHING = "\x00"  # stands before the first and after the last unit
_KINDS: tuple[Callable[[str], str], ...] = (
    lambda word: word[-2:].lower(),
    lambda word: word[-3:].lower(),
    lambda word: word[:2].lower(),
    lambda word: shape(word),
)


def shape(word: str) -> str:
    """The form of a word: capitals, small letters, digits and others, runs of one kind told once (`McDonald` is `AaAa`)."""
    kinds = "".join("A" if char.isupper() else "a" if char.islower() else "0" if char.isdigit() else "x" for char in word)
    return re.sub(r"(.)\1+", r"\1", kinds)


class Windows:
    """Features as training texts have them; what they do not have is nothing in other texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        codes, vocabulary = _coded(texts)
        self._words = vocabulary
        self._kinds = [sorted({kind(word) for word in vocabulary}) for kind in _KINDS]
        self._pairs = [np.unique(self._pair(codes, offset)) for offset in (-1, 0)]
        self._sizes = [
            *[len(vocabulary)] * (2 * _REACH + 1),
            *map(len, self._pairs),
            *(len(each) for each in self._kinds for _ in range(3)),
        ]

    def of(self, texts: Sequence[str]) -> Any:
        """The features of every unit of every text, scipy CSR `(units, features)`."""
        from scipy import sparse

        codes = _coded(texts, self._words)[0]
        real = np.flatnonzero(codes != _index(self._words, [_NOTHING])[0])
        channels = [codes[real + offset] for offset in range(-_REACH, _REACH + 1)]
        for offset, known in zip((-1, 0), self._pairs, strict=True):
            pairs = self._pair(codes, offset)[real]
            place = np.searchsorted(known, pairs)
            channels.append(np.where(known[np.minimum(place, len(known) - 1)] == pairs, place, -1))
        spelt = _spelling(texts)
        for kind, known_kinds in zip(_KINDS, self._kinds, strict=True):
            coded = _index(known_kinds, [kind(word) for word in spelt])
            channels += [coded[real + offset] for offset in (-1, 0, 1)]
        starts = np.concatenate([[0], np.cumsum(self._sizes)])
        columns = np.stack([np.where(channel >= 0, channel + start, -1) for channel, start in zip(channels, starts, strict=False)], axis=1)
        rows = np.repeat(np.arange(len(real)), columns.shape[1])[columns.ravel() >= 0]
        kept = columns.ravel()[columns.ravel() >= 0]
        return sparse.csr_matrix((np.ones(len(kept), np.float32), (rows, kept)), shape=(len(real), int(starts[-1])))

    def _pair(self, codes: Codes, offset: int) -> Codes:
        """Each unit and the one beside it as one number; -1 where either is unknown."""
        first = np.roll(codes, -offset)
        second = np.roll(codes, -offset - 1)
        return np.where((first >= 0) & (second >= 0), first * len(self._words) + second, -1)


def _spelling(texts: Sequence[str]) -> list[str]:
    """All units in order, with nothing between texts."""
    gap = [_NOTHING] * _REACH
    return [word for text in texts for word in (*gap, *unit_texts(text, units(text)), *gap)]


def _coded(texts: Sequence[str], vocabulary: list[str] | None = None) -> tuple[Codes, list[str]]:
    """The place of each unit in the vocabulary, -1 where it is none of it; and the vocabulary."""
    words = _spelling(texts)
    known = sorted({*words, _NOTHING}) if vocabulary is None else vocabulary
    return _index(known, words), known


def _index(known: Sequence[str], words: Sequence[str]) -> Codes:
    places = {word: place for place, word in enumerate(known)}
    return np.fromiter((places.get(word, -1) for word in words), np.int64, count=len(words))
