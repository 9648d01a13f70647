"""The filter of meaning: an encoder that was not trained with the model says how near a changed text lies to what it was.

A success passes where every changed word keeps the rules of `meaning.py` and lies near to the old one among the judge's input embeddings,
no more than a fifth of the words (one at least) are changed, and the judge finds the whole text, and the words around each change, near
enough to what stood there before. Of a word alone the input embedding tells more than the encoder does: it parted synonyms (0.5 and more)
from related words (under 0.5), where cosines of encoded words overlapped.

Source: Jin et al. (2020), "Is BERT Really Robust?", section 3 (similarity of sentences, of words, part of speech); Morris et al. (2020),
"Reevaluating Adversarial Examples in Natural Language", section 5 (thresholds of such filters are far too low).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.encoder import as_encoder
from trustbase.audit.robustness.attack import Changes, Target
from trustbase.audit.robustness.candidates import Space
from trustbase.audit.unknown_tokens import WARN_ABOVE
from trustbase.errors import TrustbaseError
from trustbase.model.options import DEFAULT_BASE

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

Floats = NDArray[np.float64]

WHOLE, WINDOW, WORD = 0.9, 0.8, 0.5  # least cosines; chosen on other rows than those whose successes were read
AROUND = 5  # words on either side of a change that its window holds
MOST_CHANGED = 0.2  # of the words of a text


@dataclass(frozen=True, eq=False)
class Judge:
    """An encoder, asked how near two texts are."""

    predictor: Predictor
    name: str

    def unreadable(self, texts: Sequence[str]) -> str:
        """Why it cannot judge these texts; "" where it can."""
        tokenizer = self.predictor.tokenizer
        if tokenizer.unk_token_id is None:
            return ""
        ids = [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        unknown, tokens = sum(row.count(tokenizer.unk_token_id) for row in ids), sum(map(len, ids))
        if unknown <= WARN_ABOVE * tokens:
            return ""
        return f"the judge {self.name} cannot read {unknown / tokens:.0%} of the tokens of these texts: name another (robustness.judge)"

    def nearness(self, pairs: Sequence[tuple[str, str]]) -> Floats:
        """Cosine of the embeddings of two texts, `(pairs,)`."""
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        if not texts:
            return np.zeros(0)
        rows = self.predictor.embeddings(texts)
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        place = {text: number for number, text in enumerate(texts)}
        first, second = (rows[[place[pair[side]] for pair in pairs]] for side in (0, 1))
        return np.asarray((first * second).sum(axis=1), dtype=np.float64)

    @cached_property
    def space(self) -> Space:
        """Its input embeddings."""
        return Space.of(self.predictor, self.name)

    def measured(self, changed: Sequence[tuple[Target, Changes]]) -> Floats:
        """How near each changed text is to what it was: as a whole, around its farthest change, and its farthest word, `(texts, 3)`."""
        found = np.ones((len(changed), 3))
        texts = self.nearness([(target.text, target.changed(changes)) for target, changes in changed])
        owner = [(number, target, place, word) for number, (target, changes) in enumerate(changed) for place, word in changes.items()]
        windows = self.nearness([_window(target, changed[number][1], place) for number, target, place, _ in owner])
        words = self.space.nearness([(target.text[slice(*target.words[place])], word) for _, target, place, word in owner])
        found[:, 0] = texts
        rows = np.array([number for number, *_ in owner], dtype=np.int64)
        np.minimum.at(found[:, 1], rows, windows)
        np.minimum.at(found[:, 2], rows, words)
        return found

    def keeps(self, changed: Sequence[tuple[Target, Changes]]) -> list[bool]:
        """Whether each of these changes leaves the meaning, as far as the judge can tell."""
        return [whole >= WHOLE and window >= WINDOW and word >= WORD for whole, window, word in self.measured(changed).tolist()]


def _window(target: Target, changes: Changes, place: int) -> tuple[str, str]:
    """The words around a change, before and after it."""
    first, last = max(0, place - AROUND), min(len(target.words) - 1, place + AROUND)
    return target.changed({}, first=first, last=last), target.changed(changes, first=first, last=last)


def most_changed(words: int) -> int:
    """Words of a text that a success within the rules may change."""
    return max(1, int(MOST_CHANGED * words))


@contextmanager
def open_judge(reference: str | None) -> Iterator[Judge | str]:
    """The judge that is named, or the packaged encoder; why there is none, in words."""
    from trustbase.model.predict import Predictor

    try:
        info = as_encoder(reference or DEFAULT_BASE)
        predictor = Predictor.open(info)
    except TrustbaseError as error:
        yield f"there is no judge of meaning: {error}"
        return
    with predictor:
        yield Judge(predictor, info.base)
