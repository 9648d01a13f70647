"""The principal reasons of one answer: the few units that speak most for it, each with what its removal really does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustbase.audit.explain.local import Attribution, Game

REASONS = 4  # of an answer, at most
LEAST_REASON = 0.05  # of the largest weight, under which a unit is no reason


@dataclass(frozen=True)
class Reason:
    """A unit that speaks for the answer, and by how much the score falls without it alone (`moved`)."""

    unit: str
    weight: float
    moved: float


async def reasons_of(game: Game, found: Attribution, score: float, target: int) -> tuple[Reason, ...]:
    """The units that speak most for the label, beyond two errors, each with what its removal does."""
    weights = found.weights
    least = np.maximum(LEAST_REASON * np.abs(weights).max(), np.zeros(len(weights)) if found.errors is None else 2 * found.errors)
    first = [place for place in np.argsort(-weights, kind="stable")[:REASONS].tolist() if weights[place] > least[place]]
    if not first:
        return ()
    left = (await game.scores(~np.eye(len(game), dtype=bool)[first]))[:, target]
    return tuple(
        Reason(game.units.names[place], float(weights[place]), score - float(now)) for place, now in zip(first, left.tolist(), strict=True)
    )
