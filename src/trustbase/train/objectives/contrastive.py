"""Contrastive pretraining of sentences: the same sentence under two dropout masks is alike, two sentences are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from trustbase.train.batches import Batch
from trustbase.train.layout import Layout
from trustbase.train.objectives.base import Numbers, Outcome, TextObjective, Texts, classes, tensor
from trustbase.train.packing import Chosen, Pieces
from trustbase.train.symbols import Symbols

_TEMPERATURE = 0.05
_LEAST = 8  # tokens; a shorter sentence is read with the next


class Contrastive(TextObjective):
    """Each sentence is read twice in a batch; the others of the batch are what it must be told from.

    The first token's output stands for the sentence, through the pooler where the model has one.

    Source: Gao et al. (2021), SimCSE, section 3 (unsupervised; equation 4).
    """

    name = "contrastive"
    copies = 2

    def __init__(self, symbols: Symbols, context: int, *, temperature: float = _TEMPERATURE) -> None:
        super().__init__(symbols, context)
        self.cls, self.sep = symbols.need("cls", "sep", purpose="objective contrastive")
        self.weights = {"contrastive": 1.0}
        self.temperature = temperature
        self._sentences: list[tuple[Texts, Pieces, Numbers]] = []

    def room(self) -> int:
        return self.context - 2

    def sizes(self, lengths: Numbers) -> Numbers:
        return lengths + 2

    def cut(self, texts: Texts, documents: Numbers) -> Pieces:
        known = next((entry for entry in self._sentences if entry[0] is texts), None)
        if known is None:
            pieces = sentences(texts.tokens.ids, texts.tokens.bounds, self.symbols.ends, self.room())
            known = texts, pieces, np.searchsorted(pieces.documents, np.arange(len(texts.tokens.bounds)))
            self._sentences.append(known)
        _, pieces, firsts = known
        counts = firsts[documents + 1] - firsts[documents]
        begins = np.cumsum(counts) - counts
        return pieces.take(np.repeat(firsts[documents] - begins, counts) + np.arange(counts.sum()))

    def collate(self, chosen: Chosen, texts: Texts, rng: np.random.Generator, device: str, number: int) -> Batch:
        pieces, rows = chosen.pieces, len(chosen.numbers)
        once = Layout.of(self.sizes(pieces.lengths), chosen.rows)
        inside = (once.within > 0) & (once.within <= pieces.lengths[once.piece])
        ids = np.where(once.within == 0, self.cls, self.sep)
        ids[inside] = texts.tokens.ids[texts.places(pieces)]
        twice = Layout.of(np.tile(once.sizes, 2), np.concatenate([chosen.rows, chosen.rows + rows]))
        inputs = twice.inputs(np.tile(ids, 2), self.symbols.pad, device)
        targets = {"firsts": tensor(twice.firsts, device)}
        return Batch(chosen.numbers, inputs, torch.empty(0), 2 * chosen.tokens, number, {self.name: pieces.documents}, targets, self.name)

    def outcomes(self, reading: Any, batch: Batch) -> Mapping[str, Outcome]:
        pooled = reading.pooled(reading.states(batch.inputs, batch.targets["firsts"]))
        first, second = functional.normalize(pooled.to(torch.float32), dim=-1).chunk(2)
        alike = first @ second.T / self.temperature
        return {self.name: classes(alike, torch.arange(len(alike), device=alike.device))}


def sentences(ids: NDArray[np.integer], bounds: Numbers, ends: NDArray[np.bool_], room: int) -> Pieces:
    """Cut all documents at the ends of sentences, or at `room` tokens where that comes first.

    Args:
        ids: all tokens, `(tokens,)`.
        bounds: where each document begins, and the end, `(documents + 1,)`.
        ends: which tokens of the vocabulary end a sentence.
        room: most tokens of a piece.
    """
    step = 1 << 22
    edges = np.concatenate([np.flatnonzero(ends[ids[i : i + step]]) + i + 1 for i in range(0, len(ids), step)] or [np.zeros(0, np.int64)])
    documents, offsets, lengths = [], [], []
    for document, (begin, last) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        own = edges[np.searchsorted(edges, begin, side="right") : np.searchsorted(edges, last, side="right")].tolist()
        start = begin
        for edge in [*own, last]:
            while edge - start >= _LEAST or (edge == last and edge > start):
                length = min(edge - start, room)
                documents.append(document)
                offsets.append(start - begin)
                lengths.append(length)
                start += length
    return Pieces(np.array(documents, np.int64), np.array(offsets, np.int64), np.array(lengths, np.int64))
