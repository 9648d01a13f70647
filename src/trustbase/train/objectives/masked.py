"""Masked language modelling: tokens or whole words are hidden anew each time a text is read, and found from both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustbase.train.batches import Batch
from trustbase.train.layout import Layout
from trustbase.train.objectives.base import Numbers, Outcome, TextObjective, Texts, classes, tensor
from trustbase.train.packing import Chosen
from trustbase.train.symbols import Symbols

RATE = 0.15  # Devlin et al. (2019), section 3.1
_MASKED, _RANDOM = 0.8, 0.1


class Masked(TextObjective):
    """15 % of a text's tokens, of which 80 % are masked, 10 % replaced by a random token and 10 % left as they are.

    Unknown tokens are never chosen: there is no telling what they were.

    Source: Devlin et al. (2019), BERT, section 3.1; anew each time: Liu et al. (2019), RoBERTa, section 4.1; whole words, in Chinese
    too: Cui et al. (2021), Pre-training with whole word masking for Chinese BERT, section 3.1.
    """

    name = "masked"
    main: str | None = "masked"

    def __init__(self, symbols: Symbols, context: int, *, rate: float = RATE) -> None:
        super().__init__(symbols, context)
        self.cls, self.sep, self.mask = symbols.need("cls", "sep", "mask", purpose=f"objective {self.name}")
        self.weights = {"masked": 1.0}
        self.rate = rate

    def room(self) -> int:
        return self.context - 2

    def sizes(self, lengths: Numbers) -> Numbers:
        return lengths + 2

    def collate(self, chosen: Chosen, texts: Texts, rng: np.random.Generator, device: str, number: int) -> Batch:
        pieces = chosen.pieces
        layout = Layout.of(self.sizes(pieces.lengths), chosen.rows)
        inside = (layout.within > 0) & (layout.within <= pieces.lengths[layout.piece])
        ids = np.where(layout.within == 0, self.cls, self.sep)
        places = texts.places(pieces)
        ids[inside] = texts.tokens.ids[places]
        picked = np.zeros(len(ids), bool)
        starts = None if texts.starts is None else texts.starts[places]
        picked[inside] = self.pick(ids[inside], layout.piece[inside], starts, rng)
        return self.batch(chosen, layout, ids, picked, rng, device, number)

    def pick(self, ids: Numbers, piece: Numbers, starts: NDArray[np.uint8] | None, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Which tokens are to be found, `(tokens,)`.

        Args:
            ids: plain tokens of pieces one after another.
            piece: the piece of each, ascending.
            starts: whether each starts a word; None where every token is a word.
            rng: source of the choice.
        """
        allowed = ~self.symbols.special[ids]
        word = word_numbers(piece, starts)[allowed]
        picked = np.zeros(len(ids), bool)
        picked[allowed] = choose(piece[allowed], word, self.rate, rng)
        return picked

    def batch(
        self,
        chosen: Chosen,
        layout: Layout,
        ids: Numbers,
        picked: NDArray[np.bool_],
        rng: np.random.Generator,
        device: str,
        number: int,
    ) -> Batch:
        """Hide what was picked, and put all into rows."""
        inputs = layout.inputs(hide(ids, picked, self.mask, self.symbols.words, rng), self.symbols.pad, device)
        targets = {"places": tensor(layout.places[picked], device), "words": tensor(ids[picked], device)}
        owners = {"masked": chosen.pieces.documents[layout.piece[picked]]}
        return Batch(chosen.numbers, inputs, torch.empty(0), chosen.tokens, number, owners, targets, self.name)

    def outcomes(self, reading: Any, batch: Batch) -> Mapping[str, Outcome]:
        scores, _ = reading.words(batch.inputs, batch.targets["places"])
        return {"masked": classes(scores, batch.targets["words"])}


def word_numbers(piece: Numbers, starts: NDArray[np.uint8] | None) -> Numbers:
    """Number of the word that each token belongs to, ascending, `(tokens,)`; a piece's first token starts one."""
    if starts is None:
        return np.arange(len(piece))
    begins = starts.astype(bool)
    begins[:1] = True
    begins[1:] |= piece[1:] != piece[:-1]
    return np.cumsum(begins) - 1


def choose(piece: Numbers, word: Numbers, rate: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw words until a share of each piece's tokens is reached: never more than that, but at least one word.

    Args:
        piece: the piece of each token, ascending, `(tokens,)`.
        word: the word of each token, ascending, `(tokens,)`; no word lies in two pieces.
        rate: share of the tokens.
        rng: source of the choice.

    Returns:
        Whether each token is chosen, `(tokens,)`.
    """
    if not len(piece):
        return np.zeros(0, bool)
    _, first, of_word, size = np.unique(word, return_index=True, return_inverse=True, return_counts=True)
    return _drawn(piece[first], of_word, size, rate, rng)


def _drawn(piece: Numbers, of_word: Numbers, size: Numbers, rate: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    order = np.lexsort((rng.random(len(size)), piece))
    sizes, pieces = size[order], piece[order]
    changes = np.diff(pieces, prepend=-1) != 0
    begins, number = np.flatnonzero(changes), np.cumsum(changes) - 1
    total = np.cumsum(sizes)
    drawn = total - (total[begins] - sizes[begins])[number]  # tokens drawn in this piece, this word included
    tokens = np.add.reduceat(sizes, begins)
    budget = np.floor(tokens * rate + rng.random(len(begins)))[number]  # rounded at random, so that short pieces keep the share
    first = np.zeros(len(order), bool)
    first[begins] = True
    chosen = np.zeros(len(size), bool)
    chosen[order] = (drawn <= budget) | first
    return chosen[of_word]


def hide(ids: Numbers, picked: NDArray[np.bool_], mask: int, words: Numbers, rng: np.random.Generator) -> Numbers:
    """What the model is shown: of the picked tokens 80 % masked, 10 % replaced at random, 10 % as they are."""
    shown = ids.copy()
    places = np.flatnonzero(picked)
    fate = rng.random(len(places))
    shown[places[fate < _MASKED]] = mask
    replaced = places[(fate >= _MASKED) & (fate < _MASKED + _RANDOM)]
    shown[replaced] = rng.choice(words, len(replaced))
    return shown
