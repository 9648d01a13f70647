"""Two segments of text and a question about them: does the second follow the first, or in which order do they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.errors import UsageError
from trustbase.train.batches import Batch
from trustbase.train.layout import Layout
from trustbase.train.objectives.base import Numbers, Outcome, Texts, classes, tensor
from trustbase.train.objectives.masked import RATE, Masked
from trustbase.train.packing import Chosen
from trustbase.train.symbols import Symbols

_LEAST = 8  # tokens of a piece that is worth two segments; shorter ones are read alone
_FOREIGN = 0.5  # share of pairs that are turned round or get another second half
_CLS, _SEP = -1, -2  # in place of a place among the tokens


class Pairs(Masked):
    """A piece is cut in two at the end of a sentence (anywhere where there is none), and half of the pairs are made wrong.

    Labels are transformers': 0 where the text is as it was written, 1 where it is not.
    """

    question: str

    def __init__(self, symbols: Symbols, context: int, *, rate: float = RATE) -> None:
        super().__init__(symbols, context, rate=rate)
        self.weights = {**({"masked": 1.0} if rate else {}), self.question: 1.0}
        self.main = "masked" if rate else None

    def room(self) -> int:
        return self.context - 3

    def sizes(self, lengths: Numbers) -> Numbers:
        return lengths + np.where(lengths < _LEAST, 2, 3)

    def collate(self, chosen: Chosen, texts: Texts, rng: np.random.Generator, device: str, number: int) -> Batch:
        pieces = chosen.pieces
        begins = texts.tokens.bounds[pieces.documents] + pieces.offsets
        pair = pieces.lengths >= _LEAST
        halves = [self._halves(texts, int(a), int(n), rng) for a, n in zip(begins[pair], pieces.lengths[pair], strict=True)]
        wrong = rng.random(len(halves)) < _FOREIGN
        documents = pieces.documents[pair]
        asked = self.spoil(halves, wrong, documents, texts, rng)
        made = iter(halves)
        parts = [next(made) if two else (np.arange(a, a + n), None) for a, n, two in zip(begins, pieces.lengths, pair, strict=True)]
        places, kinds = zip(*(_joined(*part) for part in parts), strict=True)
        sizes = np.array([len(some) for some in places])
        layout = Layout.of(sizes, chosen.rows)
        where, kind = np.concatenate(places), np.concatenate(kinds)
        text = where >= 0
        ids = np.where(where == _CLS, self.cls, self.sep)
        ids[text] = texts.tokens.ids[where[text]]
        picked = np.zeros(len(ids), bool)
        if self.rate:
            starts = None if texts.starts is None else texts.starts[where[text]]
            picked[text] = self.pick(ids[text], layout.piece[text], starts, rng)
        batch = self.batch(chosen, layout, ids, picked, rng, device, number)
        return self._with_question(batch, layout, kind, np.flatnonzero(pair)[asked], wrong[asked], documents[asked], device)

    def spoil(
        self, halves: list[tuple[Numbers, Numbers]], wrong: NDArray[np.bool_], documents: Numbers, texts: Texts, rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        """Make the pairs wrong that are to be, in `halves` itself; returns which pairs are asked about."""
        raise NotImplementedError

    def outcomes(self, reading: Any, batch: Batch) -> Mapping[str, Outcome]:
        scores, firsts = reading.words(batch.inputs, batch.targets["places"], firsts=batch.targets["firsts"])
        found = {"masked": classes(scores, batch.targets["words"])} if self.rate else {}
        found[self.question] = classes(reading.pairs(firsts), batch.targets["pairs"])
        return found

    def _halves(self, texts: Texts, begin: int, length: int, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
        """Places of the two segments of a piece."""
        ids = texts.tokens.ids[begin + 1 : begin + length - 2]
        ends = np.flatnonzero(self.symbols.ends[ids]) + 2
        edge = int(rng.choice(ends)) if len(ends) else int(rng.integers(length // 4, length - length // 4)) or 1
        return np.arange(begin, begin + edge), np.arange(begin + edge, begin + length)

    def _with_question(
        self, batch: Batch, layout: Layout, kind: Numbers, asked: Numbers, wrong: NDArray[np.bool_], documents: Numbers, device: str
    ) -> Batch:
        inputs = {**batch.inputs, "token_type_ids": tensor(layout.fill(kind, 0), device)}
        targets = {**batch.targets, "firsts": tensor(layout.firsts[asked], device), "pairs": tensor(wrong, device)}
        owners = {**(batch.owners if self.rate else {}), self.question: documents}
        return replace(batch, inputs=inputs, targets=targets, owners=owners)


class NextSentence(Pairs):
    """Half of the second segments are another document's, where possible one of the same batch, so that all text is read.

    Source: Devlin et al. (2019), BERT, section 3.1.
    """

    name = question = "next_sentence"

    def check(self, texts: Texts) -> None:
        super().check(texts)
        if np.count_nonzero(np.diff(texts.tokens.bounds)) < 2:
            raise UsageError(
                "next_sentence takes half of its second segments from another document, and there is only one",
                hint="separate documents with blank lines, or write sentence_order, which needs none",
            )

    def spoil(
        self, halves: list[tuple[Numbers, Numbers]], wrong: NDArray[np.bool_], documents: Numbers, texts: Texts, rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        seconds = [second for _, second in halves]
        chosen = np.flatnonzero(wrong)
        asked = np.ones(len(halves), bool)
        for turn, i in enumerate(chosen):
            others = np.roll(chosen, -turn - 1)
            donor = next((seconds[j] for j in others if documents[j] != documents[i]), None)
            donor = _elsewhere(texts, int(documents[i]), len(seconds[i]), rng) if donor is None else donor
            if donor is None:
                asked[i] = False
            else:
                halves[i] = halves[i][0], donor[: len(seconds[i])]
        return asked


class SentenceOrder(Pairs):
    """Half of the pairs stand the wrong way round.

    Source: Lan et al. (2020), ALBERT, section 3.1.
    """

    name = question = "sentence_order"

    def spoil(
        self, halves: list[tuple[Numbers, Numbers]], wrong: NDArray[np.bool_], documents: Numbers, texts: Texts, rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        for i in np.flatnonzero(wrong):
            halves[i] = halves[i][::-1]
        return np.ones(len(halves), bool)


def _joined(first: Numbers, second: Numbers | None) -> tuple[Numbers, Numbers]:
    """`[CLS] first [SEP] second [SEP]` as places, and the kind of each token."""
    head = np.concatenate([[_CLS], first, [_SEP]])
    if second is None:
        return head, np.zeros(len(head), np.int64)
    whole = np.concatenate([head, second, [_SEP]])
    return whole, (np.arange(len(whole)) >= len(head)).astype(np.int64)


def _elsewhere(texts: Texts, document: int, length: int, rng: np.random.Generator) -> Numbers | None:
    """A stretch of another document, or None where no other has text."""
    bounds = texts.tokens.bounds
    count = len(bounds) - 1
    for _ in range(100 if count > 1 else 0):
        other = int(rng.integers(count - 1))
        other += other >= document
        size = int(bounds[other + 1] - bounds[other])
        if size:
            begin = int(bounds[other]) + int(rng.integers(max(1, size - length + 1)))
            return np.arange(begin, min(begin + length, int(bounds[other + 1])))
    return None
