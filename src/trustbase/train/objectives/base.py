"""What every objective of pretraining says: how documents become rows, what is to be found in them, and what is lost where it is not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trustbase.errors import UsageError
from trustbase.train.batches import Batch
from trustbase.train.packing import Chosen, Pieces, TokenSource, cut
from trustbase.train.symbols import Symbols

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Texts:
    """The documents that an objective reads.

    Attributes:
        tokens: their ids and bounds.
        starts: whether a token starts a word, `(tokens,)`, where words are masked whole.
    """

    tokens: TokenSource
    starts: NDArray[np.uint8] | None = None

    def lengths(self, documents: Numbers) -> Numbers:
        """Tokens of each document, `(documents,)`."""
        bounds = self.tokens.bounds
        found: Numbers = bounds[documents + 1] - bounds[documents]
        return found

    def places(self, pieces: Pieces) -> Numbers:
        """Where the tokens of pieces stand among all, `(tokens,)`; offsets count plain tokens here."""
        begins = np.cumsum(pieces.lengths) - pieces.lengths
        first = self.tokens.bounds[pieces.documents] + pieces.offsets
        found: Numbers = np.repeat(first - begins, pieces.lengths) + np.arange(pieces.lengths.sum())
        return found


@dataclass(frozen=True, eq=False)
class Outcome:
    """One term of a batch.

    Attributes:
        losses: of each unit, fp32 `(units,)`.
        right: tells which units were answered rightly, bool `(units,)`, where that means anything; asked for only when it is counted.
    """

    losses: Tensor
    right: Callable[[], Tensor] | None = None


class TextObjective(ABC):
    """One way of learning from raw text.

    Attributes:
        name: as in a recipe.
        weights: its terms, and what each weighs beside the others.
        context: most tokens of a row.
        packs: whether a row may hold several pieces; a model that cannot keep them apart turns it off.
        copies: how often a batch holds each row.
        main: the term whose mean is the logarithm of the perplexity, if any is.
    """

    name: str
    weights: Mapping[str, float]
    main: str | None = None
    copies = 1

    def __init__(self, symbols: Symbols, context: int) -> None:
        self.symbols, self.context = symbols, context
        self.packs = True

    @abstractmethod
    def room(self) -> int:
        """Most tokens of a document in one piece."""

    @abstractmethod
    def sizes(self, lengths: Numbers) -> Numbers:
        """Tokens of a row that pieces of these lengths take, `(pieces,)`."""

    @abstractmethod
    def collate(self, chosen: Chosen, texts: Texts, rng: np.random.Generator, device: str, number: int) -> Batch:
        """Make a batch of pieces; every choice in it comes from `rng`."""

    @abstractmethod
    def outcomes(self, reading: Any, batch: Batch) -> Mapping[str, Outcome]:
        """Ask the model, by a `reading.Reading`."""

    def cut(self, texts: Texts, documents: Numbers) -> Pieces:
        """The pieces of these documents."""
        return cut(texts.lengths(documents), documents, self.room())

    def check(self, texts: Texts) -> None:
        """Refuse material that this objective cannot learn from.

        Raises:
            UsageError: there is nothing in it that could be learned.
        """
        if not texts.tokens.bounds[-1]:
            raise UsageError("there is no text to learn from", hint="check the corpus: its card says what became of each document")

    def __call__(self, reading: Any, batch: Batch) -> dict[str, Tensor]:
        reading.begin(batch)
        return {term: outcome.losses for term, outcome in self.outcomes(reading, batch).items()}


def classes(scores: Tensor, truth: Tensor) -> Outcome:
    """Cross-entropy of each unit, from scores `(units, classes)` and the right classes `(units,)`."""
    scores = scores.to(torch.float32)
    return Outcome(functional.cross_entropy(scores, truth, reduction="none"), lambda: scores.detach().argmax(dim=-1) == truth)


def tensor(values: NDArray[Any], device: str) -> Tensor:
    """Integers on a device."""
    return torch.from_numpy(np.ascontiguousarray(values, np.int64)).to(device)
