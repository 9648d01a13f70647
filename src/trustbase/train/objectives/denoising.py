"""Denoising autoencoders for encoder-decoders: stretches of text are hidden, and written again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from trustbase.errors import UsageError
from trustbase.train.batches import Batch
from trustbase.train.layout import Layout
from trustbase.train.objectives.base import Numbers, Outcome, TextObjective, Texts, classes, tensor
from trustbase.train.packing import Chosen
from trustbase.train.symbols import Symbols

_NOISE, _SPAN = 0.15, 3.0  # Raffel et al. (2020), section 3.3.4
_HIDDEN, _POISSON = 0.3, 3.0  # Lewis et al. (2020), sections 2.2 and 4


class Denoising(TextObjective):
    """What both share: rows of hidden text for the encoder, rows of what is to be written for the decoder."""

    def __init__(self, symbols: Symbols, context: int, *, decoder_start: int) -> None:
        super().__init__(symbols, context)
        (self.eos,) = symbols.need("eos", purpose=f"objective {self.name}")
        self.start = decoder_start
        self.weights, self.main = {self.name: 1.0}, self.name

    @abstractmethod
    def spoil(self, ids: Numbers, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
        """What the encoder reads and what the decoder writes, of one piece; both with their special tokens."""

    def collate(self, chosen: Chosen, texts: Texts, rng: np.random.Generator, device: str, number: int) -> Batch:
        pieces = chosen.pieces
        begins = texts.tokens.bounds[pieces.documents] + pieces.offsets
        made = [self.spoil(texts.tokens.ids[a : a + n].astype(np.int64), rng) for a, n in zip(begins, pieces.lengths, strict=True)]
        read, written = ([pair[side] for pair in made] for side in (0, 1))
        source = Layout.of(np.array([len(ids) for ids in read]), chosen.rows)
        target = Layout.of(np.array([len(ids) for ids in written]), chosen.rows)
        words = np.concatenate(written)
        shifted = np.concatenate([[self.start], words[:-1]])
        shifted[target.begins] = self.start
        inputs = source.inputs(np.concatenate(read), self.symbols.pad, device)
        asked = target.inputs(shifted, self.symbols.pad, device)
        asked.pop("attention_mask", None)  # padding stands behind
        inputs |= {f"decoder_{name}": value for name, value in asked.items()}
        targets = {"places": tensor(target.places, device), "words": tensor(words, device)}
        owners = {self.name: pieces.documents[target.piece]}
        return Batch(chosen.numbers, inputs, torch.empty(0), chosen.tokens, number, owners, targets, self.name)

    def outcomes(self, reading: Any, batch: Batch) -> Mapping[str, Outcome]:
        return {self.name: classes(reading.writes(batch.inputs, batch.targets["places"]), batch.targets["words"])}


class SpanCorruption(Denoising):
    """15 % of the tokens in spans of 3 on average; a sentinel stands for each, and the decoder writes sentinels and spans.

    Source: Raffel et al. (2020), Exploring the limits of transfer learning with a unified text-to-text transformer, section 3.1.4;
    lengths as in its published code (`random_spans_noise_mask`).
    """

    name = "span_corruption"

    def __init__(self, symbols: Symbols, context: int, *, decoder_start: int) -> None:
        super().__init__(symbols, context, decoder_start=decoder_start)
        spans = int(_spans(np.array([self.room()]))[1][0])
        if spans > len(symbols.sentinels):
            raise UsageError(
                f"span_corruption hides {spans} spans of {self.room()} tokens, and the tokenizer has {len(symbols.sentinels)} sentinels",
                hint="take a tokenizer with <extra_id_0>, <extra_id_1> …, or a shorter context",
            )

    def room(self) -> int:
        lengths = np.arange(1, 2 * self.context)
        return int(lengths[self.sizes(lengths) <= self.context].max())

    def sizes(self, lengths: Numbers) -> Numbers:
        noise, spans = _spans(lengths)
        return lengths - noise + spans + 1

    def spoil(self, ids: Numbers, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
        noise, spans = (int(number[0]) for number in _spans(np.array([len(ids)])))
        kept = _partition(len(ids) - noise, spans, rng)
        hidden = _partition(noise, spans, rng)
        read: list[Numbers] = []
        written: list[Numbers] = []
        begin = 0
        for sentinel, before, length in zip(self.symbols.sentinels, kept, hidden, strict=False):
            read += [ids[begin : begin + before], np.array([sentinel])]
            written += [np.array([sentinel]), ids[begin + before : begin + before + length]]
            begin += before + length
        end = np.array([self.eos])
        return np.concatenate([*read, end]), np.concatenate([*written, end])


class Infilling(Denoising):
    """30 % of the tokens in spans of Poisson(3) length, each of them (the empty too) one mask; the decoder writes the whole text.

    Source: Lewis et al. (2020), BART, section 2.2, text infilling. Sentences are not permuted.
    """

    name = "infilling"

    def __init__(self, symbols: Symbols, context: int, *, decoder_start: int) -> None:
        super().__init__(symbols, context, decoder_start=decoder_start)
        (self.mask,) = symbols.need("mask", purpose="objective infilling")
        self.head = np.array([] if symbols.bos is None else [symbols.bos], np.int64)

    def room(self) -> int:
        return self.context - 1 - len(self.head)

    def sizes(self, lengths: Numbers) -> Numbers:
        return lengths + 1 + len(self.head)  # at most: what is hidden takes fewer

    def spoil(self, ids: Numbers, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
        spans = _poisson_spans(len(ids), rng)
        gaps = np.sort(rng.choice(len(ids) - sum(spans) + 1, len(spans), replace=False))
        read: list[Numbers] = [self.head]
        begin = kept = 0
        for gap, length in zip(gaps.tolist(), spans, strict=True):
            read += [ids[begin : begin + gap - kept], np.array([self.mask])]
            begin, kept = begin + gap - kept + length, gap
        end = np.array([self.eos])
        return np.concatenate([*read, ids[begin:], end]), np.concatenate([self.head, ids, end])


def _spans(lengths: Numbers) -> tuple[Numbers, Numbers]:
    """Hidden tokens and spans of texts of these lengths; a text of one token is hidden whole."""
    noise = np.clip(np.rint(lengths * _NOISE), 1, np.maximum(1, lengths - 1)).astype(np.int64)
    return noise, np.maximum(1, np.rint(noise / _SPAN)).astype(np.int64)


def _partition(total: int, parts: int, rng: np.random.Generator) -> list[int]:
    """A random division into parts of at least one each; of nothing, nothing."""
    if total < parts:
        return [total, *[0] * (parts - 1)]
    edges = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    found: list[int] = np.diff([0, *edges, total]).tolist()
    return found


def _poisson_spans(length: int, rng: np.random.Generator) -> list[int]:
    """Lengths of spans that hide a share of a text; so few that hiding never makes it longer, and none touches another."""
    budget = int(length * _HIDDEN + rng.random())
    spans: list[int] = []
    left = budget
    while left > 0 and len(spans) < budget:
        span = min(int(rng.poisson(_POISSON)), left)
        spans.append(span)
        left -= span
    if left > 0:  # as many spans as there may be, and some were empty
        spans[-1] += left
    return spans[: length - budget + 1] if budget else []
