"""How well held-out documents are predicted: the same masks, pairs and spans each time, counted for each document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.events import Emit, ignore
from trustbase.train.objectives.base import TextObjective, Texts
from trustbase.train.reading import Reading
from trustbase.train.rows import plan_of

_TOKENS = 8192  # of a batch; fixed, since the choices of an objective are drawn for each batch
_SEED = 0
_ACCURACIES = {"generator": "masked", "causal": "token"}  # how the accuracy of a term is called where it is not by its own name


def accuracy_name(term: str) -> str:
    """How the accuracy of a term is called in findings."""
    return f"{_ACCURACIES.get(term, term)}_accuracy"


@dataclass(frozen=True, eq=False)
class Tally:
    """One term over held-out documents, `(documents,)` each: values of single documents are what an interval resamples.

    Attributes:
        losses: sum of the unit losses.
        units: how many there are.
        right: how many were answered rightly, or None where that means nothing.
    """

    losses: NDArray[np.float64]
    units: NDArray[np.int64]
    right: NDArray[np.int64] | None

    @property
    def loss(self) -> float:
        """Mean over all units."""
        return float(self.losses.sum() / self.units.sum())

    @property
    def accuracy(self) -> float | None:
        """Share of all units that was answered rightly."""
        return None if self.right is None else float(self.right.sum() / self.units.sum())


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What held-out documents say of a model.

    Attributes:
        tallies: by term; only terms of which there are units.
        main: the term whose mean loss is the logarithm of the perplexity, or None.
    """

    tallies: Mapping[str, Tally]
    main: str | None

    @property
    def perplexity(self) -> float | None:
        """Exponential of the mean cross-entropy of the tokens that were to be found."""
        tally = None if self.main is None else self.tallies.get(self.main)
        return None if tally is None else math.exp(min(700.0, tally.loss))

    def findings(self) -> dict[str, float]:
        """Point values by finding id, as far as they can be measured."""
        found = {} if self.perplexity is None else {"quality.perplexity": self.perplexity}
        for term, tally in self.tallies.items():
            if tally.accuracy is not None:
                found[f"quality.{accuracy_name(term)}"] = tally.accuracy
        return found


def measure_held_out(
    reading: Reading,
    objectives: Sequence[TextObjective],
    texts: Texts,
    *,
    device: str,
    most: int | None = None,
    emit: Emit = ignore,
) -> HeldOut:
    """Ask for what the objectives hide in held-out documents.

    Masks, pairs and spans follow from the tokens, the context and the objective, so that two models of the same tokenizer are asked
    the same. Contrastive sentences are read under fixed dropout, without which they would be asked nothing.

    Args:
        reading: the model.
        objectives: those it learned from; with a term in two of them the first counts.
        texts: the held-out documents.
        device: where the model is.
        most: tokens of the documents that are read, or None for all documents; which ones does not change.
        emit: is told the progress.
    """
    documents = np.arange(len(texts.tokens.bounds) - 1)
    if most is not None and texts.tokens.bounds[-1] > most:
        order = seeds.generator(_SEED, "held-out", "documents").permutation(documents)
        read = np.cumsum(texts.lengths(order))
        documents = np.sort(order[: 1 + int(np.searchsorted(read, most))])
    tallies: dict[str, Tally] = {}
    for objective in objectives:
        for term, tally in _tally(reading, objective, texts, documents, device, emit).items():
            tallies.setdefault(term, tally)
    main = next((objective.main for objective in objectives if objective.main), None)
    return HeldOut(tallies, main)


def _tally(
    reading: Reading, objective: TextObjective, texts: Texts, documents: NDArray[np.int64], device: str, emit: Emit
) -> dict[str, Tally]:
    count = len(texts.tokens.bounds) - 1
    plan = plan_of(objective, texts, documents, _TOKENS, seeds.generator(_SEED, "held-out", objective.name))
    losses = {term: np.zeros(count) for term in objective.weights}
    units, right = ({term: np.zeros(count, np.int64) for term in losses} for _ in range(2))
    judged: set[str] = set()
    with reading.scoring(dropout=objective.copies > 1):
        for number, chosen in enumerate(plan):
            emit("progress", what="measuring held-out documents", done=number, total=len(plan))
            batch = objective.collate(chosen, texts, seeds.generator(_SEED, "held-out", objective.name, number), device, number)
            reading.begin(batch)
            for term, outcome in objective.outcomes(reading, batch).items():
                owners = batch.owners[term]
                losses[term] += np.bincount(owners, outcome.losses.cpu().to(torch.float64).numpy(), count)
                units[term] += np.bincount(owners, minlength=count)
                if outcome.right is not None:
                    judged.add(term)
                    right[term] += np.bincount(owners[outcome.right().cpu().numpy()], minlength=count)
    emit("progress", what="measuring held-out documents", done=len(plan), total=len(plan))
    return {term: Tally(losses[term], units[term], right[term] if term in judged else None) for term in losses if units[term].any()}
