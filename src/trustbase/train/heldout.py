"""How well held-out documents are predicted: the same masks, pairs and spans each time, counted for each document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
Place = tuple[int, int]  # an objective, and a batch of it
Outcome = dict[str, dict[str, list[Any]]]  # by term: documents, and for each its losses, units and right answers; JSON
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
    batches = HeldOutBatches(objectives, texts, most=most)
    outcomes = []
    for number, place in enumerate(batches.places):
        emit("progress", what="measuring held-out documents", done=number, total=len(batches.places))
        outcomes.append(batches.outcome(place, reading, device=device))
    emit("progress", what="measuring held-out documents", done=len(outcomes), total=len(outcomes))
    return batches.together(outcomes)


class HeldOutBatches:
    """The batches in which held-out documents are read: a matter of tokens, objectives and context, whoever reads which of them.

    Args:
        objectives: those that the model learned from.
        texts: the held-out documents.
        most: tokens of the documents that are read, or None for all documents.

    Attributes:
        places: number of the objective and of its batch, for each.
    """

    def __init__(self, objectives: Sequence[TextObjective], texts: Texts, *, most: int | None = None) -> None:
        documents = np.arange(len(texts.tokens.bounds) - 1)
        if most is not None and texts.tokens.bounds[-1] > most:
            order = seeds.generator(_SEED, "held-out", "documents").permutation(documents)
            read = np.cumsum(texts.lengths(order))
            documents = np.sort(order[: 1 + int(np.searchsorted(read, most))])
        self._objectives, self._texts, self._count = objectives, texts, len(texts.tokens.bounds) - 1
        streams = [seeds.generator(_SEED, "held-out", objective.name) for objective in objectives]
        self._plans = [plan_of(each, texts, documents, _TOKENS, rng) for each, rng in zip(objectives, streams, strict=True)]
        self.places: list[Place] = [(which, number) for which, plan in enumerate(self._plans) for number in range(len(plan))]

    def tokens(self, place: Place) -> int:
        """Tokens of a batch, padding included."""
        return self._plans[place[0]][place[1]].tokens

    def outcome(self, place: Place, reading: Reading, *, device: str) -> Outcome:
        """What a batch says of the documents in it: by term, sums over their units."""
        which, number = place
        objective = self._objectives[which]
        found: Outcome = {}
        with reading.scoring(dropout=objective.copies > 1):
            rng = seeds.generator(_SEED, "held-out", objective.name, number)
            batch = objective.collate(self._plans[which][number], self._texts, rng, device, number)
            reading.begin(batch)
            for term, outcome in objective.outcomes(reading, batch).items():
                owners = batch.owners[term]
                documents, units = np.unique(owners, return_counts=True)
                losses = np.bincount(owners, outcome.losses.cpu().to(torch.float64).numpy(), self._count)[documents]
                found[term] = {"documents": documents.tolist(), "losses": losses.tolist(), "units": units.tolist()}
                if outcome.right is not None:
                    right = np.bincount(owners[outcome.right().cpu().numpy()], minlength=self._count)[documents]
                    found[term]["right"] = right.tolist()
        return found

    def together(self, outcomes: Sequence[Outcome]) -> HeldOut:
        """What the batches say together; `outcomes` in the order of `places`."""
        tallies: dict[str, Tally] = {}
        for which, objective in enumerate(self._objectives):
            own = [outcome for (owner, _), outcome in zip(self.places, outcomes, strict=True) if owner == which]
            for term in objective.weights:
                tally = _tally([outcome[term] for outcome in own if term in outcome], self._count)
                if tally.units.any():
                    tallies.setdefault(term, tally)
        main = next((objective.main for objective in self._objectives if objective.main), None)
        return HeldOut(tallies, main)


def _tally(parts: Sequence[Mapping[str, list[Any]]], count: int) -> Tally:
    losses, units, right = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64)
    judged = False
    for part in parts:
        documents = part["documents"]
        losses[documents] += part["losses"]
        units[documents] += part["units"]
        if "right" in part:
            judged = True
            right[documents] += part["right"]
    return Tally(losses, units, right if judged else None)
