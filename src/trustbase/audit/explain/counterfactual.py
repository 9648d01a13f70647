"""The smallest edit of an input that gives it another answer: other words or cells in few places.

Greedy, in the order in which units speak for the answer, then pruned: an edit that is not needed is taken back. So it is an edit that is
enough, and none of its parts can be left out; whether a smaller one exists elsewhere is not known.

Where somebody judges how edits read, those that read badly count as none, and of edits of one size the one that reads best is taken.

Source: Wachter, Mittelstadt & Russell (2018), Harvard J. Law & Technology 31 (counterfactuals); Martens & Provost (2014), MIS Quarterly 38
(greedy search over the words of a text).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.explain.local import Game
from trustbase.audit.explain.units import Edits

Floats = NDArray[np.float64]
Flips = Callable[[Floats], bool]  # scores `(scores,)` → whether they are another answer

_FOR_PRUNING = 0.2  # of what may be asked
_JUDGED = 2  # edits of each unit, of those that take most, of which the first that reads well may grow


@dataclass(frozen=True)
class Judge:
    """Who says how edits read.

    Attributes:
        differences: edits → by how much each reads better than the input.
        least: one that is less does not count.
    """

    differences: Callable[[Sequence[Edits]], Sequence[float]]
    least: float


@dataclass(frozen=True)
class Search:
    """What was found, and how many inputs were asked.

    Attributes:
        edits: unit → what stands in its place, "" where it is left out; empty where no edit was found.
        asked: edited inputs.
        reads: by how much the edit reads better than the input; None where nobody judged, or nothing was found.
        refused: edits that gave another answer and read too badly.
    """

    edits: Edits
    asked: int
    reads: float | None = None
    refused: int = 0

    @property
    def left_out(self) -> int:
        """Units that are left out, and not replaced."""
        return sum(not new for new in self.edits.values())


@dataclass(frozen=True, eq=False)
class _Tried:
    """Edits and their scores."""

    edits: Sequence[Edits]
    scores: Floats
    target: int

    def turning(self, flips: Flips) -> list[int]:
        """Places of those that give another answer."""
        return [place for place, row in enumerate(self.scores) if flips(row)]

    def best(self, places: Sequence[int], judge: Judge | None) -> tuple[int | None, float | None]:
        """Of edits of one size the one that reads best, and how; where nobody judges, one that replaces, and takes most."""
        if judge is None:
            return min(places, key=lambda place: (not any(self.edits[place].values()), self.scores[place, self.target]), default=None), None
        reads = dict(zip(places, judge.differences([self.edits[place] for place in places]), strict=True))
        well = [place for place in places if reads[place] >= judge.least]
        best = min(well, key=lambda place: (-reads[place], self.scores[place, self.target]), default=None)
        return best, None if best is None else reads[best]


async def smallest_edit(
    game: Game,
    weights: Floats,
    target: int,
    *,
    flips: Flips,
    others: Sequence[Sequence[str]],
    queries: int,
    judge: Judge | None = None,
) -> Search:
    """Look for the fewest units whose change turns the answer.

    Args:
        game: the input.
        weights: what each unit adds to the score of the answer; those that add most are changed first.
        target: whose score is to fall.
        flips: whether scores are another answer.
        others: what may stand in the place of each unit, `(units,)` of lists; each may be left out too.
        queries: most inputs that are asked.
        judge: says which edits read well; all count where nobody does.
    """
    order = np.argsort(-weights, kind="stable").tolist()
    most = round(queries * (1 - _FOR_PRUNING))
    edits = _singles(order, others, most - min(len(order), most // 3))
    single = _Tried(edits, await game.edited(edits) if edits else np.zeros((0, 1)), target)
    hits = single.turning(flips)
    best, reads = single.best(hits, judge)
    if best is not None:
        return Search(edits[best], len(edits), reads, 0)
    growing = _growing(single, order, judge)[: max(0, most - len(edits))]
    asked, refused = len(edits) + len(growing), len(hits)
    grown = _Tried(growing, await game.edited(growing) if growing else np.zeros((0, 1)), target)
    for place in grown.turning(flips):  # the smallest first
        best, reads = grown.best([place], judge)
        if best is not None:
            return await _pruned(game, Search(growing[best], asked, reads, refused), target, flips, queries, judge)
        refused += 1
    return Search({}, asked, refused=refused)


def _singles(order: Sequence[int], others: Sequence[Sequence[str]], most: int) -> list[Edits]:
    """Each unit replaced by each other and left out, those that add most first, as many as may be asked."""
    found: list[Edits] = []
    for unit in order:
        tried = [{unit: new} for new in (*others[unit], "")]
        if len(found) + len(tried) > most and found:
            break
        found += tried[: max(most, 1)]
    return found


def _growing(single: _Tried, order: Sequence[int], judge: Judge | None) -> list[Edits]:
    """The best edit of two units, of three, …: those that were tried by what each alone takes, then the others, left out.

    Where somebody judges, the best of a unit is the best of those that read well, and units that were not tried stay.
    """
    best: dict[int, tuple[float, str]] = {}
    for place in _readable(single, judge):
        ((unit, new),) = single.edits[place].items()
        best[unit] = min(best.get(unit, (np.inf, new)), (float(single.scores[place, single.target]), new))
    ranked = [(unit, best[unit][1]) for unit in sorted(best, key=lambda unit: best[unit][0])]
    if judge is None:
        ranked += [(unit, "") for unit in order if unit not in best]
    return [dict(ranked[:count]) for count in range(2, len(ranked) + 1)]


def _readable(single: _Tried, judge: Judge | None) -> list[int]:
    """Places of the edits of one unit that may grow: all, or of those that take most of each unit the ones that read well."""
    if judge is None:
        return list(range(len(single.edits)))
    of: dict[int, list[int]] = {}
    for place in sorted(range(len(single.edits)), key=lambda place: float(single.scores[place, single.target])):
        of.setdefault(next(iter(single.edits[place])), []).append(place)
    places = [place for own in of.values() for place in own[:_JUDGED]]
    reads = judge.differences([single.edits[place] for place in places])
    return [place for place, value in zip(places, reads, strict=True) if value >= judge.least]


async def _pruned(game: Game, found: Search, target: int, flips: Flips, queries: int, judge: Judge | None) -> Search:
    """The same without any edit that is not needed, one taken back at a time."""
    while len(found.edits) > 1 and found.asked + len(found.edits) <= queries:
        fewer = [{unit: new for unit, new in found.edits.items() if unit != back} for back in found.edits]
        tried = _Tried(fewer, await game.edited(fewer), target)
        still = tried.turning(flips)
        asked = found.asked + len(fewer)
        if judge is None:
            best, reads = min(still, key=lambda place: float(tried.scores[place, target]), default=None), None
        else:
            best, reads = tried.best(still, judge)
        if best is None:
            return replace(found, asked=asked)
        found = replace(found, edits=fewer[best], asked=asked, reads=reads)
    return found
