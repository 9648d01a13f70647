"""Explanations of one answer: what each unit of an input adds to a score. Coroutines that ask through the Predictor and nothing else.

Many of them run at once (`Predictor.gather`), so that their questions share batches, and equal inputs are answered once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.explain import lime, shapley
from trustbase.audit.explain.units import Edits, Masks, Units
from trustbase.model.questions import Question, values_of

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

Floats = NDArray[np.float64]
T = TypeVar("T")

FIRST = 5  # units that are looked at when it is asked whether enough was sampled
SETTLED = 0.9  # share of them that other masks would name too, from which no more are drawn
_AT_ONCE = 1000  # inputs that stand in memory at the same time
_ROUND = 100  # masks that are drawn before it is asked again


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each unit adds to the score that is explained.

    Attributes:
        method: "lime", "shapley", …
        weights: `(units,)`; positive ones speak for the answer.
        errors: standard errors over other samples, `(units,)`; None where none are known.
        asked: different inputs that this method wanted answers to.
        settled: share of the first units that other samples would name too; None where that is not known.
        together: what every two units add beyond what each adds, `(units, units)`; None where not all masks were asked.
        details: what else is told of white-box methods.
    """

    method: str
    weights: Floats
    errors: Floats | None = None
    asked: int = 0
    settled: float | None = None
    together: Floats | None = None
    details: Mapping[str, float | None] = field(default_factory=dict)


class Game:
    """One input, and its scores with some units left out.

    Args:
        predictor: is asked.
        units: of the input.
        question: kind whose values are the scores.
        factor: what every score is multiplied by; -1 asks what speaks against.
    """

    def __init__(self, predictor: Predictor, units: Units, *, question: str, factor: float = 1.0) -> None:
        self.units, self.factor = units, factor
        self._predictor, self._question = predictor, question

    def __len__(self) -> int:
        return len(self.units)

    async def scores(self, masks: Masks) -> Floats:
        """Scores of what these masks keep, `(masks, scores)`.

        Raises:
            PredictionError: some of them could not be answered.
        """
        values: list[Any] = []
        for start in range(0, len(masks), _AT_ONCE):  # texts of all of them could be more than memory holds
            values += await self._asked(self.units.texts(masks[start : start + _AT_ONCE]))
        return self._scores(values)

    async def edited(self, edits: Sequence[Edits]) -> Floats:
        """Scores of the input with others in the place of some units, `(edits, scores)`.

        Raises:
            PredictionError: some of them could not be answered.
        """
        return self._scores(await self._asked(self.units.edited(edits)))

    async def _asked(self, texts: Sequence[str]) -> list[Any]:
        return values_of(await self._predictor.ask_each([Question(self._question, text) for text in texts]))

    def _scores(self, values: Sequence[Any]) -> Floats:
        return self.factor * np.stack([np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in values])

    async def whole(self) -> Floats:
        """Scores of the input as it is, `(scores,)`."""
        scores: Floats = (await self.scores(np.ones((1, len(self)), dtype=bool)))[0]
        return scores


async def play(game: Game, method: Generator[Masks, Floats, T]) -> tuple[T, int]:
    """Ask what a method yields until it returns; what it returned, and how many different masks it asked."""
    asked: set[bytes] = set()
    try:
        masks = next(method)
        while True:
            asked.update(mask.tobytes() for mask in masks)
            masks = method.send(await game.scores(masks))
    except StopIteration as end:
        return end.value, len(asked)


async def by_lime(
    game: Game, target: int, *, samples: int, rng: np.random.Generator, adaptive: bool = True, sure: float = SETTLED
) -> Attribution:
    """Weights of a linear model around the input, drawn until the first units are settled, or `samples` are used.

    Args:
        target: which score.
        samples: most inputs, the whole one among them.
        adaptive: whether to stop before.
        sure: share of the first units that other masks would name too, from which it stops.
    """
    masks, scores = np.ones((1, len(game)), dtype=bool), (await game.whole())[None]
    while True:
        count = min(_ROUND, samples - len(masks)) if adaptive else samples - len(masks)
        if count > 0:
            drawn = lime.draw_masks(len(game), count, rng)
            masks, scores = np.concatenate([masks, drawn]), np.concatenate([scores, await game.scores(drawn)])
        fit = lime.fit_linear(masks, scores[:, target : target + 1])
        weights, covariance = fit.weights[:, 0], fit.covariance[0]
        share = lime.settled(weights, covariance, FIRST, rng)
        if len(masks) >= samples or (adaptive and share >= sure):
            errors = np.sqrt(np.maximum(np.diag(covariance), 0))
            return Attribution("lime", weights, errors, len(np.unique(masks, axis=0)), share)


async def by_shapley(game: Game, target: int, *, evaluations: int) -> Attribution:
    """Exact Shapley values of few units; of more, Owen values along sentences, clauses and words."""
    found, together, asked = await shapley_values(game, evaluations=evaluations)
    errors = None if found.errors is None else found.errors[:, target]
    return Attribution("shapley", found.values[:, target], errors, asked, together=None if together is None else together[:, :, target])


async def shapley_values(game: Game, *, evaluations: int) -> tuple[shapley.Values, Floats | None, int]:
    """What each unit adds to every score; what every two add together, of few units; and how many inputs were asked."""
    if len(game) <= shapley.MOST_EXACT and 2 ** len(game) <= max(evaluations, 4):
        (exact, together), asked = await play(game, shapley.exact_values(len(game)))
        return exact, together, asked
    values, asked = await play(game, shapley.owen_values(shapley.neighbours(game.units.breaks), len(game), evaluations))
    return values, None, asked


async def by_orders(game: Game, target: int, *, evaluations: int, rng: np.random.Generator) -> Attribution:
    """Shapley values as means over random orders, with errors."""
    values, asked = await play(game, shapley.values_over_orders(len(game), evaluations, rng))
    return Attribution("orders", values.values[:, target], None if values.errors is None else values.errors[:, target], asked)


async def by_occlusion(game: Game, target: int) -> Attribution:
    """What the score loses without each unit alone."""
    masks = np.concatenate([np.ones((1, len(game)), dtype=bool), ~np.eye(len(game), dtype=bool)])
    scores = (await game.scores(masks))[:, target]
    return Attribution("occlusion", scores[0] - scores[1:], np.zeros(len(game)), len(masks))
