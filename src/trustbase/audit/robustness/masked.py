"""What a word may be replaced by: what a masked language model puts in its place, with the rest of the text before its eyes.

A word of one piece is left where it is while the model is asked, so that what it names is like it and not only likely there; so are the
characters of a Chinese word, whose best combinations are taken, a few at a time. Another word of several pieces is hidden as one.

Source: Li et al. (2020), "BERT-ATTACK", sections 3.2 (candidates without masking) and 3.3 (words of several pieces, which it combines all).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.robustness.candidates import MOST, cased
from trustbase.audit.robustness.targets import Spans
from trustbase.data.pair import CELL
from trustbase.data.units import ALONE
from trustbase.errors import UsageError

_HAN = re.compile(f"[{ALONE}]")
_MOST_PIECES = 4  # of a Chinese word
_AT_ONCE = 16
_FIRST = 4 * MOST


@dataclass(frozen=True, eq=False)
class Masked:
    """A masked language model.

    Attributes:
        about: whose candidates these are, for people.
        words: piece → the word it is, in small letters; "" of pieces that are none, `(vocabulary,)`.
        signs: pieces that are one Chinese character.
    """

    model: Any
    tokenizer: Any
    length: int
    about: str
    words: list[str]
    signs: list[int]

    def options(self, text: str, spans: Spans, places: Sequence[int]) -> dict[int, list[str]]:
        """What may stand at each of these places, the likeliest first."""
        body = text.split(CELL, 1)[0]
        whole = self.tokenizer.backend_tokenizer.encode(body, add_special_tokens=True)
        ids = whole.ids[: self.length]
        tokens = {place: _inside(whole.offsets[: len(ids)], spans[place], body) for place in places}
        likely = self._scores([ids])[0]
        found: dict[int, list[str]] = {}
        hidden: list[tuple[int, list[int], int]] = []
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
                hidden.append((place, [*ids[: at[0]], self.tokenizer.mask_token_id, *ids[at[-1] + 1 :]], at[0]))
        for (place, _, at_token), scores in zip(hidden, self._scores([each for _, each, _ in hidden]), strict=True):
            found[place] = self._single(body[slice(*spans[place])], scores[at_token])
        return {place: words for place, words in found.items() if words}

    def _single(self, word: str, scores: NDArray[np.float32]) -> list[str]:
        first = np.argsort(-scores, kind="stable")[:_FIRST].tolist()
        names = [self.words[number] for number in first]
        kept = [name for name in names if len(name) > 1 and not _HAN.search(name) and name != word.casefold()]
        return [cased(name, word) for name in kept if name.isascii() == word.isascii()][:MOST]

    def _combined(self, word: str, scores: NDArray[np.float32]) -> list[str]:
        """The likeliest words of as many characters; no more than a few beginnings are kept at a time."""
        kept: list[tuple[float, str]] = [(0.0, "")]
        for row in scores:
            first = sorted(self.signs, key=lambda number: -row[number])[:_FIRST]
            signs = [(float(row[number]), self.words[number]) for number in first]
            kept = sorted(((so_far + more, begun + sign) for so_far, begun in kept for more, sign in signs), reverse=True)[: MOST + 1]
        return [name for _, name in kept if name != word and len(name) == len(word)][:MOST]

    def _scores(self, rows: Sequence[list[int]]) -> list[NDArray[np.float32]]:
        """Scores of all words at each token, `(tokens, vocabulary)` for each row."""
        import torch

        found: list[NDArray[np.float32]] = []
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            longest = max(map(len, part))
            pad = int(self.tokenizer.pad_token_id or 0)
            ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in part])
            mask = torch.tensor([[*[1] * len(row), *[0] * (longest - len(row))] for row in part])
            with torch.inference_mode():
                result = self.model(input_ids=ids, attention_mask=mask)
            scores = getattr(result, "prediction_logits", None)  # of a model that also judges pairs of sentences
            table = torch.log_softmax((result.logits if scores is None else scores).float(), dim=-1).numpy()
            found += [table[place, : len(row)] for place, row in enumerate(part)]
        return found


def open_masked(reference: str) -> Masked:
    """A masked language model by its reference.

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
            f"robustness.candidates: '{reference}' predicts no hidden words",
            hint="name a model with a head for masked words, such as a BertForMaskedLM, or embedding",
        )
    vocabulary = tokenizer.get_vocab()
    marked = any(piece.startswith(("▁", "Ġ")) for piece in vocabulary)
    words = [""] * max(len(tokenizer), 1 + max(vocabulary.values()))
    for piece, number in vocabulary.items():
        word = piece.lstrip("▁Ġ") if piece.startswith(("▁", "Ġ")) or not marked or _HAN.match(piece) else ""
        words[number] = word.casefold() if word.isalpha() else ""
    length = model_max_length(model.config, tokenizer)
    signs = [number for number, word in enumerate(words) if _HAN.fullmatch(word)]
    return Masked(model, tokenizer, length, f"likely to the masked language model {portable_reference(reference)}", words, signs)


def _inside(offsets: Sequence[tuple[int, int]], span: tuple[int, int], text: str) -> list[int]:
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
