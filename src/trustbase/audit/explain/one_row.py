"""Everything that is asked to explain one row of an audit, and to see whether the explanations are true. Askers, and what they find."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files, seeds
from trustbase.audit.explain.counterfactual import Flips, Judge, Search, smallest_edit
from trustbase.audit.explain.faithful import faithfulness
from trustbase.audit.explain.fluent import PROPOSED, Reader
from trustbase.audit.explain.local import Attribution, Game, by_lime, shapley_values
from trustbase.audit.explain.methods import refusal
from trustbase.audit.explain.others import Others
from trustbase.audit.explain.reasons import reasons_of
from trustbase.audit.explain.subject import Item, target_of, units_of
from trustbase.audit.explain.units import Units
from trustbase.data.cells import Reading
from trustbase.outputs.answers.base import answering, decided
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import ArtifactInfo

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

Floats = NDArray[np.float64]

RANDOM_ORDERS = 4  # of the units of a row, two and their reverses: what explanations that know nothing reach


@dataclass(frozen=True, eq=False)
class Explained:
    """One input ready to be explained.

    Attributes:
        game: its scores; of a number in standard deviations of the training rows, in the direction in which the input moves it.
        units: of the input.
        target: whose score is explained.
        whole: scores of the input as it is, `(scores,)`.
        flips: whether scores are another answer.
    """

    game: Game
    units: Units
    target: int
    whole: Floats
    flips: Flips


async def ready(predictor: Predictor, item: Item) -> Explained | None:
    """An item as what can be explained; None where it has no units, or more than can be explained."""
    info = predictor.info
    units = units_of(Reading.of(info), item["text"], item["row"])
    if not len(units) or refusal("lime", len(units), 0):
        return None
    game = Game(predictor, units, question=ANSWER_KINDS[info.answer_kind].question)
    ends = await game.scores(np.stack([np.zeros(len(units), dtype=bool), np.ones(len(units), dtype=bool)]))
    flips = _flips(ends[1], info)
    if info.answer_kind == "number":  # what an input does to a number may be to lower it
        away = 1.0 if ends[1, 0] >= ends[0, 0] else -1.0
        game = Game(predictor, units, question="number", factor=away / info.labels.scale)
        return Explained(game, units, 0, game.factor * ends[1], lambda scores: flips(scores / game.factor))
    return Explained(game, units, target_of(ends[1], info), ends[1], flips)


def _flips(whole: Floats, info: ArtifactInfo) -> Flips:
    """What another answer is: another label, other labels, or a number outside of the interval that was told with the first one."""
    if info.answer_kind == "number":
        reach = info.decision.interval.get("half_width", info.labels.scale)
        return lambda scores: bool(abs(scores[0] - whole[0]) > reach)

    def answer(scores: Floats) -> NDArray[Any]:
        return decided(scores[None], info.labels, info.decision, info.answer_kind)

    own, told = answer(whole), answering(info.answer_kind)
    return lambda scores: bool(np.any(told.flips(answer(scores), own)))


def explain_row(
    predictor: Predictor,
    *,
    samples: int,
    evaluations: int,
    queries: int,
    seed: int,
    cells: Mapping[str, Sequence[str]],
    words: Mapping[str, Sequence[str]],
    fluent: Mapping[str, Any] | None = None,
) -> Callable[[Item], Awaitable[dict[str, Any] | None]]:
    """The asker of all that is measured of one row at once; None of a row that cannot be explained.

    Args:
        predictor: is asked.
        samples: most inputs of LIME.
        evaluations: most inputs of Shapley values.
        queries: most inputs of the search for the smallest edit.
        seed: of what is drawn.
        cells: by column, cells that may stand in the place of another.
        words: by word, others that may stand in its place.
        fluent: `model` and `least` of the one who proposes words, and says how edits read; nobody does where not given.
    """
    others, reader = Others(cells, words), None if fluent is None else Reader.open(**fluent)

    async def explain(item: Item) -> dict[str, Any] | None:
        row = await ready(predictor, item)
        if row is None:
            return None
        game, target, digest = row.game, row.target, files.digest_json(item)
        linear, (values, _, asked) = await asyncio.gather(
            by_lime(game, target, samples=samples, rng=seeds.generator(seed, "explanation", "lime", digest)),
            shapley_values(game, evaluations=evaluations),
        )
        found = Attribution("shapley", values.values[:, target], None if values.errors is None else values.errors[:, target], asked)
        orders = random_orders(len(game), seeds.generator(seed, "explanation", "orders", digest))
        weights = {"shapley": found.weights, "lime": linear.weights}
        faithful, reasons, edit = await asyncio.gather(
            asyncio.gather(*(faithfulness(game, each, target) for each in (*weights.values(), *orders))),
            reasons_of(game, found, float(row.whole[target]), target),
            turned(row, item, found.weights, others, reader, queries),
        )
        return {
            "units": list(row.units.names),
            "kind": row.units.kind,
            "target": target,
            **{name: each.tolist() for name, each in weights.items()},
            "values": (values.values / game.factor).tolist(),
            "faithful": {name: dict(each) for name, each in zip(weights, faithful, strict=False)},
            "random": [dict(each) for each in faithful[len(weights) :]],
            "moved": [reason.moved for reason in reasons],
            "edit": {"changed": len(edit.edits), "left_out": edit.left_out, "asked": edit.asked, "refused": edit.refused},
            "reads": edit.reads if any(row.units.spans[unit] is not None for unit in edit.edits) else None,  # cells are not read
            "asked": {"lime": linear.asked, "shapley": asked},
            "settled": linear.settled,
        }

    return explain


async def turned(row: Explained, item: Item, weights: Floats, others: Others, reader: Reader | None, queries: int) -> Search:
    """The smallest edit that turns the answer; of those that read well, where somebody reads them."""
    if reader is None:
        of, judge = others.of(row.units, item), None
    else:
        first = np.argsort(-weights, kind="stable")[: 1 + queries // PROPOSED].tolist()  # more are never tried
        of = reader.others(row.units, item, first, others)
        judge = Judge(lambda edits: reader.differences(row.units, item, edits), reader.least)
    return await smallest_edit(row.game, weights, row.target, flips=row.flips, others=of, queries=queries, judge=judge)


def random_orders(units: int, rng: np.random.Generator) -> list[Floats]:
    """Weights that put the units in a random order, each followed by the reverse order."""
    drawn = [rng.permutation(units).astype(np.float64) for _ in range(RANDOM_ORDERS // 2)]
    return [each for order in drawn for each in (order, -order)]
