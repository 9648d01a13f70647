"""What a word may be replaced by: the words that lie nearest to it among an encoder's input embeddings.

The words of English and of other scripts with blanks are those that the encoder's vocabulary holds whole; of Chinese, whose vocabularies
hold single characters, the words of the rows themselves. A word of several pieces is the mean of their embeddings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.masked_words import MOST, cased
from trustbase.audit.pieces import word_pieces
from trustbase.data.units import ALONE

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

Vectors = NDArray[np.float32]

_HAN = re.compile(f"[{ALONE}]")
_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Space:
    """An encoder's input embeddings, and its words.

    Attributes:
        tokenizer: of the encoder.
        matrix: of its pieces, `(vocabulary, width)`.
        name: whose they are, for people.
    """

    tokenizer: Any
    matrix: Vectors
    name: str

    @classmethod
    def of(cls, predictor: Predictor, name: str) -> Space:
        """Those of the torch weights of an artefact.

        Raises:
            ModelError: it has none.
        """
        with predictor.white_box() as box:
            table = box.model.get_input_embeddings().weight.detach().float().cpu().numpy().copy()
            return cls(box.tokenizer, table, name)

    def vectors(self, words: Sequence[str]) -> Vectors:
        """Mean embedding of each word's pieces, of length 1, or 0 where the encoder does not know it, `(words, width)`."""
        ids = [encoding.ids for encoding in self.tokenizer.backend_tokenizer.encode_batch(list(words), add_special_tokens=False)]
        unknown = self.tokenizer.unk_token_id
        known = [[number for number in row if number != unknown and number < len(self.matrix)] for row in ids]
        found = np.zeros((len(words), self.matrix.shape[1]), np.float32)
        for place, (row, whole) in enumerate(zip(known, ids, strict=True)):
            if row and len(row) == len(whole):
                found[place] = self.matrix[row].mean(axis=0)
        return unit_length(found)

    def nearness(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """Cosine of two words; 0 where the encoder does not know one of them, `(pairs,)`."""
        words = list(dict.fromkeys(word for pair in pairs for word in pair))
        if not words:
            return np.zeros(0)
        table, place = self.vectors(words), {word: number for number, word in enumerate(words)}
        first, second = (table[[place[pair[side]] for pair in pairs]] for side in (0, 1))
        return np.asarray((first * second).sum(axis=1), dtype=np.float64)

    def whole_words(self) -> dict[str, int]:
        """Words in small letters that are one piece of the vocabulary → its number; letters alone, two of them at least."""
        found: dict[str, int] = {}
        for word, number in word_pieces(self.tokenizer):
            if number < len(self.matrix) and len(word) > 1 and word.isalpha() and not _HAN.search(word):
                found.setdefault(word.casefold(), number)
        return found


def neighbours(space: Space, words: Iterable[str], *, lexicon: Iterable[str], most: int = MOST) -> dict[str, list[str]]:
    """Replacements of each word, the nearest first, in its own case; a word without any is left out.

    Args:
        space: where nearness is measured.
        words: as they stand in texts.
        lexicon: Chinese words that may replace others, mostly those of the rows.
        most: of each.
    """
    wanted = list(dict.fromkeys(words))
    chinese = [word for word in wanted if _HAN.search(word)]
    others = [word for word in wanted if word.isalpha() and not _HAN.search(word)]
    whole = space.whole_words()
    table = space.matrix[list(whole.values())] if whole else np.zeros((0, space.matrix.shape[1]), np.float32)
    found = _nearest(space, others, list(whole), unit_length(table), most, _same_script)
    own = [word for word in dict.fromkeys(lexicon) if all(map(_HAN.match, word))]
    return found | _nearest(space, chinese, own, space.vectors(own), most, _same_length)


def _same_script(word: str, other: str) -> bool:
    return word.isascii() == other.isascii()


def _same_length(word: str, other: str) -> bool:
    return len(word) == len(other)


def _nearest(space: Space, words: Sequence[str], names: Sequence[str], table: Vectors, most: int, fits: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if not words or not names:
        return found
    for start in range(0, len(words), _AT_ONCE):
        chunk = words[start : start + _AT_ONCE]
        vectors = space.vectors(chunk)
        nearness = np.where(table.any(axis=1) & vectors.any(axis=1, keepdims=True), vectors @ table.T, -np.inf)
        first = np.argsort(-nearness, axis=1, kind="stable")[:, : 6 * most]
        for word, order, row in zip(chunk, first.tolist(), nearness, strict=True):
            near = [names[place] for place in order if np.isfinite(row[place])]
            fitting = [cased(other, word) for other in near if other != word.casefold() and fits(word, other)]
            if fitting:
                found[word] = fitting[:most]
    return found


def unit_length(rows: Vectors) -> Vectors:
    """Rows of length 1; those of length 0 stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)
