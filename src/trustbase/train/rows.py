"""Documents as material of the loop: planned anew each epoch, and one part of a batch for each objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.train.batches import Batch
from trustbase.train.objectives.base import Numbers, TextObjective, Texts
from trustbase.train.packing import Chosen, Plan, one_a_row, pack

Joint = tuple[Chosen, ...]  # a batch of each objective
Order = Callable[[int], Numbers]  # epoch → the documents that it reads


class JointPlan(Sequence[Joint]):
    """The plans of several objectives side by side; the first decides how long an epoch is, and shorter ones begin again."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.plans = plans

    def __len__(self) -> int:
        return len(self.plans[0])

    @overload
    def __getitem__(self, index: int) -> Joint: ...
    @overload
    def __getitem__(self, index: slice) -> list[Joint]: ...
    def __getitem__(self, index: int | slice) -> Joint | list[Joint]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        return tuple(plan[index % len(self) % len(plan)] for plan in self.plans)


class DocumentRows:
    """Raw text for one objective or several; every choice is a stream of seed, objective and epoch or batch."""

    def __init__(self, texts: Texts, objectives: Sequence[TextObjective], *, seed: int, order: Order | None = None) -> None:
        """Args:
        texts: the documents.
        objectives: what is learned from them; the first decides how long an epoch is.
        seed: of all streams.
        order: documents of an epoch, in any order; by default each once.
        """
        self.texts, self.objectives = texts, objectives
        self._seed, self._order = seed, order
        self._planned: tuple[tuple[int, int, int], JointPlan] | None = None

    def __len__(self) -> int:
        """Rows of an epoch, about: what packing makes of them differs a little."""
        tokens = int(self.texts.tokens.bounds[-1])
        return -(-tokens // self.objectives[0].context) * len(self.objectives)

    @property
    def tokens(self) -> NDArray[np.int64] | None:
        return None  # random tokens may be any

    def plan(self, *, batch_tokens: int, seed: int, epoch: int) -> JointPlan:
        key = (batch_tokens, seed, epoch)
        if self._planned is None or self._planned[0] != key:
            documents = np.arange(len(self.texts.tokens.bounds) - 1) if self._order is None else self._order(epoch)
            plans = [self._plan(objective, documents, batch_tokens, seed, epoch) for objective in self.objectives]
            self._planned = key, JointPlan(plans)
        return self._planned[1]

    def size(self, chosen: Joint) -> int:
        sizes = zip(self.objectives, chosen, strict=True)
        return sum(part.tokens * objective.copies for objective, part in sizes)

    def parts(self, chosen: Joint, device: str, number: int) -> list[Batch]:
        found = []
        for objective, part in zip(self.objectives, chosen, strict=True):
            rng = seeds.generator(self._seed, "objective", objective.name, number)
            found.append(objective.collate(part, self.texts, rng, device, number))
        return found

    def _plan(self, objective: TextObjective, documents: Numbers, batch_tokens: int, seed: int, epoch: int) -> Plan:
        return plan_of(objective, self.texts, documents, batch_tokens, seeds.generator(seed, "rows", objective.name, epoch))


def plan_of(objective: TextObjective, texts: Texts, documents: Numbers, batch_tokens: int, rng: np.random.Generator) -> Plan:
    """The batches of some documents for one objective."""
    pieces = objective.cut(texts, documents)
    sizes = objective.sizes(pieces.lengths)
    budget = max(1, batch_tokens // objective.copies)
    if objective.packs:
        return pack(pieces, sizes, capacity=objective.context, batch_tokens=budget, rng=rng)
    return one_a_row(pieces, sizes, batch_tokens=budget, rng=rng)
