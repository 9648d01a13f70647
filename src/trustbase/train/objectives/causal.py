"""Causal language modelling: the next token, from all before it in the same document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from trustbase.train.batches import Batch
from trustbase.train.layout import Layout
from trustbase.train.objectives.base import Numbers, Outcome, TextObjective, Texts, classes, tensor
from trustbase.train.packing import Chosen, Pieces, cut
from trustbase.train.symbols import Symbols


class Causal(TextObjective):
    """Every token of a document is predicted once an epoch, its end too where the vocabulary has a token for that.

    A piece that is not a document's first begins with the last token of the piece before, so that nothing is left unpredicted.

    Source: Radford et al. (2019), Language models are unsupervised multitask learners; z-loss: Chowdhery et al. (2022), PaLM, section 5.
    """

    name = "causal"
    main = "causal"

    def __init__(self, symbols: Symbols, context: int, *, z_loss: float = 0.0) -> None:
        super().__init__(symbols, context)
        self.weights = {"causal": 1.0, **({"z": z_loss} if z_loss else {})}

    def room(self) -> int:
        return self.context

    def sizes(self, lengths: Numbers) -> Numbers:
        return lengths

    def cut(self, texts: Texts, documents: Numbers) -> Pieces:
        around = sum(number is not None for number in (self.symbols.bos, self.symbols.eos))
        lengths = texts.lengths(documents)
        return cut(np.where(lengths > 0, np.maximum(0, lengths + around - 1), 0), documents, self.room())

    def collate(self, chosen: Chosen, texts: Texts, rng: np.random.Generator, device: str, number: int) -> Batch:
        pieces = chosen.pieces
        layout = Layout.of(pieces.lengths, chosen.rows)
        documents = pieces.documents[layout.piece]
        stands = pieces.offsets[layout.piece] + layout.within
        words = self._stream(texts, documents, stands + 1)
        inputs = layout.inputs(self._stream(texts, documents, stands), self.symbols.pad, device)
        inputs.pop("attention_mask", None)  # padding stands behind, where no token before it can see it
        targets = {"places": tensor(layout.places, device), "words": tensor(words, device)}
        owners = dict.fromkeys(self.weights, documents)
        return Batch(chosen.numbers, inputs, torch.empty(0), chosen.tokens, number, owners, targets, self.name)

    def outcomes(self, reading: Any, batch: Batch) -> Mapping[str, Outcome]:
        scores, _ = reading.words(batch.inputs, batch.targets["places"], causal=True)
        found = {"causal": classes(scores, batch.targets["words"])}
        if "z" in self.weights:
            chosen = scores.gather(-1, batch.targets["words"][:, None])[:, 0].to(torch.float32)
            found["z"] = Outcome((chosen + found["causal"].losses) ** 2)  # the loss is log of the sum - chosen: no second pass over words
        return found

    def _stream(self, texts: Texts, documents: Numbers, stands: Numbers) -> Numbers:
        """What stands at places of documents that are counted with their beginning and end tokens."""
        bounds, ids = texts.tokens.bounds, texts.tokens.ids
        inner = stands - (self.symbols.bos is not None)
        lengths = bounds[documents + 1] - bounds[documents]
        found = ids[bounds[documents] + np.clip(inner, 0, lengths - 1)].astype(np.int64)
        if self.symbols.bos is not None:
            found[inner < 0] = self.symbols.bos
        if self.symbols.eos is not None:
            found[inner >= lengths] = self.symbols.eos
        return found
