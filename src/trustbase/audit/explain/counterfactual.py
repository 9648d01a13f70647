"""The smallest edit of an input that gives it another answer: other words or cells in few places.

Greedy, in the order in which units speak for the answer, then pruned: an edit that is not needed is taken back. So it is an edit that is
enough, and none of its parts can be left out; whether a smaller one exists elsewhere is not known.

Source: Wachter, Mittelstadt & Russell (2018), Harvard J. Law & Technology 31 (counterfactuals); Martens & Provost (2014), MIS Quarterly 38
(greedy search over the words of a text).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.explain.local import Game
from trustbase.audit.explain.units import Edits

Floats = NDArray[np.float64]
Flips = Callable[[Floats], bool]  # scores `(scores,)` → whether they are another answer

_FOR_PRUNING = 0.2  # of what may be asked


@dataclass(frozen=True)
class Search:
    """What was found, and how many inputs were asked.

    Attributes:
        edits: unit → what stands in its place, "" where it is left out; empty where no edit was found.
        asked: edited inputs.
    """

    edits: Edits
    asked: int

    @property
    def left_out(self) -> int:
        """Units that are left out, and not replaced."""
        return sum(not new for new in self.edits.values())


async def smallest_edit(game: Game, weights: Floats, target: int, *, flips: Flips, others: Sequence[Sequence[str]], queries: int) -> Search:
    """Look for the fewest units whose change turns the answer.

    Args:
        game: the input.
        weights: what each unit adds to the score of the answer; those that add most are changed first.
        target: whose score is to fall.
        flips: whether scores are another answer.
        others: what may stand in the place of each unit, `(units,)` of lists; each may be left out too.
        queries: most inputs that are asked.
    """
    order = np.argsort(-weights, kind="stable").tolist()
    most = round(queries * (1 - _FOR_PRUNING))
    single = _singles(order, others, most - min(len(order), most // 3))
    scores = await game.edited(single) if single else np.zeros((0, 1))
    hits = [place for place, row in enumerate(scores) if flips(row)]
    if hits:
        best = min(hits, key=lambda place: (not any(single[place].values()), scores[place, target]))
        return Search(single[best], len(single))
    growing = _growing(single, scores, target, order)[: max(0, most - len(single))]
    asked = len(single) + len(growing)
    found = await game.edited(growing) if growing else np.zeros((0, 1))
    turned = next((each for each, row in zip(growing, found, strict=True) if flips(row)), None)
    return Search({}, asked) if turned is None else await _pruned(game, turned, target, flips, asked, queries)


def _singles(order: Sequence[int], others: Sequence[Sequence[str]], most: int) -> list[Edits]:
    """Each unit replaced by each other and left out, those that add most first, as many as may be asked."""
    found: list[Edits] = []
    for unit in order:
        tried = [{unit: new} for new in (*others[unit], "")]
        if len(found) + len(tried) > most and found:
            break
        found += tried[: max(most, 1)]
    return found


def _growing(single: Sequence[Edits], scores: Floats, target: int, order: Sequence[int]) -> list[Edits]:
    """The best edit of two units, of three, …: those that were tried by what each alone takes, then the others, left out."""
    best: dict[int, tuple[float, str]] = {}
    for edits, row in zip(single, scores, strict=True):
        ((unit, new),) = edits.items()
        best[unit] = min(best.get(unit, (np.inf, new)), (float(row[target]), new))
    ranked = [(unit, best[unit][1]) for unit in sorted(best, key=lambda unit: best[unit][0])]
    ranked += [(unit, "") for unit in order if unit not in best]
    return [dict(ranked[:count]) for count in range(2, len(ranked) + 1)]


async def _pruned(game: Game, edits: Edits, target: int, flips: Flips, asked: int, queries: int) -> Search:
    """The same without any edit that is not needed, one taken back at a time."""
    while len(edits) > 1 and asked + len(edits) <= queries:
        fewer = [{unit: new for unit, new in edits.items() if unit != back} for back in edits]
        scores = await game.edited(fewer)
        asked += len(fewer)
        still = [place for place, row in enumerate(scores) if flips(row)]
        if not still:
            break
        edits = fewer[min(still, key=lambda place: float(scores[place, target]))]
    return Search(edits, asked)
