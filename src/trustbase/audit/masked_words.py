"""A masked language model: which words it puts in the place of others, with the rest of the text before its eyes.

Two ways to ask. `options` leaves a word of one piece where it is, so that what the model names is like it and not only likely there: what
an attack that must keep the meaning wants. So it leaves the characters of a Chinese word, whose best combinations are taken, a few at a
time; another word of several pieces is hidden as one. `proposals` hides the word, so that only the rest of the text speaks: what an edit
that shall turn the answer wants.

Source: Li et al. (2020), "BERT-ATTACK", sections 3.2 (candidates without masking) and 3.3 (words of several pieces, which it combines all).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.chinese_words import dictionary
from trustbase.audit.pieces import word_pieces
from trustbase.data import marked
from trustbase.data.pair import CELL, SEPARATOR
from trustbase.data.units import ALONE
from trustbase.errors import UsageError

MOST = 10  # candidates of a word
_HAN = re.compile(f"[{ALONE}]")
_MOST_PIECES = 4  # of a Chinese word
_AT_ONCE = 16
_FIRST = 4 * MOST
_READ = 128  # tokens, of a long text, among which a hidden one is sought: those around it
_BLANKS = str.maketrans(dict.fromkeys((SEPARATOR, marked.HEAD, marked.TAIL, marked.TYPED), " "))

Row = tuple[tuple[int, ...], int]  # the tokens that the model reads, special ones among them, and the one whose place is asked about
Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Read:
    """A text as tokens of a masked language model.

    Attributes:
        text: what was read: without the cells that are asked beside it, and without marks of ours.
        ids: of its pieces, special ones left out.
        offsets: where each stands in the text.
        words: number of the word that each is a piece of; None where there is none.
        before, behind: the special pieces around a text.
    """

    text: str
    ids: list[int]
    offsets: list[tuple[int, int]]
    words: list[int | None]
    before: list[int]
    behind: list[int]


@dataclass(frozen=True, eq=False)
class Masked:
    """A masked language model.

    Attributes:
        folder: that it was opened from.
        name: its reference, without a trace of where it stood.
        words: piece → the word it is, in small letters; "" of pieces that are none, `(vocabulary,)`.
        signs: pieces that are one Chinese character.
    """

    folder: Path
    model: Any
    tokenizer: Any
    length: int
    name: str
    words: list[str]
    signs: list[int]

    @property
    def about(self) -> str:
        """Whose candidates these are, for people."""
        return f"likely to the masked language model {self.name}"

    def options(self, text: str, spans: Spans, places: Sequence[int]) -> dict[int, list[str]]:
        """What may stand at each of these places and is like what stands there, the likeliest first."""
        body = text.split(CELL, 1)[0]
        whole = self.tokenizer.backend_tokenizer.encode(body, add_special_tokens=True)
        ids = whole.ids[: self.length]
        tokens = {place: inside(whole.offsets[: len(ids)], spans[place], body) for place in places}
        likely = self._logits([ids])[0].log_softmax(dim=-1).numpy()
        found: dict[int, list[str]] = {}
        hidden: list[tuple[int, Row]] = []
        for place, at in tokens.items():
            word = body[slice(*spans[place])]
            if not at or not word.isalpha():
                continue
            if _HAN.search(word):
                if len(at) == len(word) <= _MOST_PIECES:
                    found[place] = self._combined(word, likely[at])
            elif len(at) == 1:
                found[place] = self._single(word, likely[at[0]])
            else:
                hidden.append((place, ((*ids[: at[0]], self.tokenizer.mask_token_id, *ids[at[-1] + 1 :]), at[0])))
        for (place, _), scores in zip(hidden, self.likely([row for _, row in hidden]), strict=True):
            found[place] = self._single(body[slice(*spans[place])], scores)
        return {place: words for place, words in found.items() if words}

    def proposals(self, text: str, spans: Spans, places: Sequence[int], most: int = MOST) -> dict[int, list[str]]:
        """What may stand at each of these places where what stands there is hidden, the likeliest first; Chinese words of equal length."""
        read = self.read(text)
        found: dict[int, list[str]] = {}
        single: list[tuple[int, Row]] = []
        for place in places:
            word, at = read.text[slice(*spans[place])], inside(read.offsets, spans[place], read.text)
            if not at or not word.isalpha():
                continue
            if not _HAN.search(word):
                ids = [*read.ids[: at[0]], self.tokenizer.mask_token_id, *read.ids[at[-1] + 1 :]]
                single.append((place, self.row(read, ids, at[0])))
            elif len(at) == len(word) <= _MOST_PIECES:
                found[place] = self._grown(read, at, word)[:most]
        for (place, _), scores in zip(single, self.likely([row for _, row in single]), strict=True):
            found[place] = self._single(read.text[slice(*spans[place])], scores)[:most]
        return {place: words for place, words in found.items() if words}

    def read(self, text: str) -> Read:
        """A text as tokens."""
        body = text.split(CELL, 1)[0].translate(_BLANKS)
        own = self.tokenizer.backend_tokenizer.encode(body, add_special_tokens=False)
        whole = self.tokenizer.backend_tokenizer.encode(body, add_special_tokens=True).ids
        start = next((start for start in range(len(whole) - len(own.ids) + 1) if whole[start : start + len(own.ids)] == own.ids), 0)
        return Read(body, own.ids, own.offsets, own.word_ids, whole[:start], whole[start + len(own.ids) :])

    def row(self, read: Read, ids: Sequence[int], at: int) -> Row:
        """What the model reads where a place of these tokens is asked about: all, or those around it of a long text."""
        room = min(self.length, _READ) - len(read.before) - len(read.behind)
        start = max(0, min(at - room // 2, len(ids) - room))
        return (*read.before, *ids[start : start + room], *read.behind), len(read.before) + at - start

    def likely(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Log-likelihood, in nats, of each piece at the place that is asked about, `(rows, vocabulary)`."""
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            logits = self._logits([ids for ids, _ in part])
            found.append(logits[range(len(part)), [at for _, at in part]].log_softmax(dim=-1).numpy())
        return np.concatenate(found) if found else np.zeros((0, len(self.words)), np.float32)

    def _single(self, word: str, scores: NDArray[np.float32]) -> list[str]:
        first = np.argsort(-scores, kind="stable")[:_FIRST].tolist()
        names = [self.words[number] for number in first]
        kept = [name for name in names if len(name) > 1 and not _HAN.search(name) and name != word.casefold()]
        return list(dict.fromkeys(cased(name, word) for name in kept if name.isascii() == word.isascii()))[:MOST]

    def _combined(self, word: str, scores: NDArray[np.float32]) -> list[str]:
        """The likeliest words of as many characters; no more than a few beginnings are kept at a time."""
        kept: list[tuple[float, str]] = [(0.0, "")]
        for row in scores:
            kept = sorted(((so_far + more, begun + sign) for so_far, begun in kept for more, sign in self._signs(row)), reverse=True)
            kept = kept[: MOST + 1]
        return [name for _, name in kept if name != word and len(name) == len(word)][:MOST]

    def _grown(self, read: Read, at: Sequence[int], word: str) -> list[str]:
        """The likeliest words of as many characters in a hidden one's place: each is asked for with those before it in place."""
        vocabulary, mask = self.tokenizer.get_vocab(), self.tokenizer.mask_token_id
        kept: list[tuple[float, str]] = [(0.0, "")]
        for step, token in enumerate(at):
            rows = []
            for _, begun in kept:
                new = [*(vocabulary[sign] for sign in begun), *[mask] * (len(at) - step)]
                rows.append(self.row(read, [*read.ids[: at[0]], *new, *read.ids[at[-1] + 1 :]], token))
            scores = self.likely(rows)
            longer = [(far + more, begun + sign) for (far, begun), row in zip(kept, scores, strict=True) for more, sign in self._signs(row)]
            last = step + 1 == len(at)
            kept = [each for each in sorted(longer, reverse=True) if not last or _is_word(each[1])][: MOST + 1]
        return [name for _, name in kept if name != word and len(name) == len(word)][:MOST]

    def _signs(self, scores: NDArray[np.float32]) -> list[tuple[float, str]]:
        """The likeliest Chinese characters of one place."""
        first = sorted(self.signs, key=lambda number: -scores[number])[:_FIRST]
        return [(float(scores[number]), self.words[number]) for number in first]

    def _logits(self, rows: Sequence[Sequence[int]]) -> Any:
        """What the model says of each piece at each token, `(rows, tokens, vocabulary)`."""
        import torch

        longest = max(map(len, rows))
        pad = int(self.tokenizer.pad_token_id or 0)
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[*[1] * len(row), *[0] * (longest - len(row))] for row in rows])
        with torch.inference_mode():
            result = self.model(input_ids=ids, attention_mask=mask)
        scores = getattr(result, "prediction_logits", None)  # of a model that also judges pairs of sentences
        return (result.logits if scores is None else scores).float()


def open_masked(reference: str, *, option: str) -> Masked:
    """A masked language model by its reference.

    Args:
        reference: hub id, path, package:NAME, an earlier run.
        option: that names it, of what is said where it is none.

    Raises:
        UsageError: there is none, or it predicts no hidden words.
        ModelError: it cannot be read.
    """
    from trustbase.model.load import resolve_base
    from trustbase.model.options import portable_reference
    from trustbase.model.runtime_language import load_base, way_of
    from trustbase.model.tokenizer import load_tokenizer, model_max_length

    base = resolve_base(reference)
    model, tokenizer = load_base(base.folder).eval(), load_tokenizer(base.folder)
    if way_of(model, tokenizer, None) != "masked":
        raise UsageError(
            f"{option}: '{reference}' predicts no hidden words",
            hint="name a model with a head for masked words, such as a BertForMaskedLM, or leave this option out",
        )
    vocabulary = tokenizer.get_vocab()
    words = [""] * max(len(tokenizer), 1 + max(vocabulary.values()))
    for word, number in word_pieces(tokenizer):
        words[number] = word.casefold() if word.isalpha() else ""
    length = model_max_length(model.config, tokenizer)
    signs = [number for number, word in enumerate(words) if _HAN.fullmatch(word)]
    return Masked(base.folder, model, tokenizer, length, portable_reference(reference), words, signs)


def _is_word(name: str) -> bool:
    """Whether characters are a Chinese word, where a dictionary is there to say so."""
    return len(name) == 1 or not dictionary() or name in dictionary()


def cased(word: str, like: str) -> str:
    """A word in small letters in the case of another: Title, UPPER, or as it is."""
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


def inside(offsets: Sequence[tuple[int, int]], span: tuple[int, int], text: str) -> list[int]:
    """Tokens that make up a span of characters exactly; none where one reaches beyond it."""
    found = []
    for token, (start, end) in enumerate(offsets):
        while start < end and text[start] == " ":  # some tokenizers count the blank before a word to it
            start += 1
        if start < end and start < span[1] and end > span[0]:
            if start < span[0] or end > span[1]:
                return []
            found.append(token)
    return found
