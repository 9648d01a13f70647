"""A greedy search for changes of words that turn an answer, as a coroutine: it asks through the Predictor, as hundreds of others do.

Words are tried in the order of what the answer loses without them; at each word all candidates are asked at once, and the one that costs
the answer most is kept. The first changed text that is answered otherwise is a success. The filter may refuse it: so the search then goes
on among changes that the rules of meaning allow (`meaning.py`), with a budget of its own, as large as the first.

Source: Jin et al. (2020), "Is BERT Really Robust?" (TextFooler), algorithm 1; Gao et al. (2018), "DeepWordBug", section 4 (importance).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase.model.questions import Question, values_of
from trustbase.outputs.answers.base import decided
from trustbase.records import Decision, LabelSchema

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

Margins = NDArray[np.float64]
Broken = NDArray[np.bool_]
Judge = Callable[[Sequence[str]], Awaitable[tuple[Margins, Broken]]]  # texts → how firmly the truth is answered, and whether it is not
Changes = Mapping[int, str]  # place of a word → what stands there

ENOUGH = 10  # successes within the rules, after which no further ones are looked for
_SHARE_OF_ORDER = 2  # at most one in so many inputs is spent on finding out which words matter


@dataclass(frozen=True)
class Target:
    """A row that is attacked.

    Attributes:
        text: as the model is asked.
        words: first character of each of its words, and the one after its last.
        options: place of a word → what may be put there, the likeliest first.
        allowed: the same of those that the rules of meaning allow.
        most: words that may be changed within the rules.
        order: places in the order in which they are tried; None where that is to be asked.
    """

    text: str
    words: Sequence[tuple[int, int]]
    options: Mapping[int, Sequence[str]]
    allowed: Mapping[int, Sequence[str]]
    most: int
    order: Sequence[int] | None = None

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Target:
        """From the JSON that an asker is given (`to_json`)."""
        places = {name: {int(place): found for place, found in item[name].items()} for name in ("options", "allowed")}
        return cls(item["text"], [tuple(span) for span in item["words"]], places["options"], places["allowed"], item["most"], item["order"])

    def to_json(self) -> dict[str, Any]:
        """As JSON, which has no numbers for keys."""
        places = {name: {str(place): list(found) for place, found in getattr(self, name).items()} for name in ("options", "allowed")}
        order = None if self.order is None else list(self.order)
        return {"text": self.text, "words": [list(span) for span in self.words], "most": self.most, "order": order, **places}

    def changed(self, changes: Changes, *, first: int = 0, last: int | None = None) -> str:
        """The text with some words changed, or the part of it from one word to another."""
        spans = self.words[first : None if last is None else last + 1]
        place = 0 if first == 0 else spans[0][0]
        end = len(self.text) if last is None or last == len(self.words) - 1 else spans[-1][1]
        pieces = []
        for number, (start, stop) in enumerate(spans, first):
            if number in changes:
                pieces += [self.text[place:start], changes[number]]
                place = stop
        return "".join([*pieces, self.text[place:end]])


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        changes: of the first success; None where there was none.
        queries: different inputs that were asked up to it, or in all where there was none; the row itself is not counted.
        asked: different inputs in all: up to the first success, and then as many again at most that looked for successes within the rules.
        within: changes of successes within the rules, those of fewest changes first.
    """

    changes: dict[int, str] | None
    queries: int
    asked: int
    within: list[dict[int, str]]

    def to_json(self) -> dict[str, Any]:
        def pairs(changes: Changes) -> list[list[Any]]:
            return [[place, word] for place, word in sorted(changes.items())]

        first = None if self.changes is None else pairs(self.changes)
        return {"changes": first, "queries": self.queries, "asked": self.asked, "within": [pairs(changes) for changes in self.within]}

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Outcome:
        """Inverse of `to_json`."""
        first = None if found["changes"] is None else dict(found["changes"])
        return cls(first, found["queries"], found["asked"], [dict(changes) for changes in found["within"]])


class Asked:
    """What one search has asked: every input once, and no more than its budgets allow."""

    def __init__(self, judge: Judge, budget: int) -> None:
        self._judge, self._budget = judge, budget
        self._known: dict[str, tuple[float, bool]] = {}

    @property
    def count(self) -> int:
        """Different inputs so far."""
        return len(self._known)

    @property
    def left(self) -> int:
        return self._budget - len(self._known)

    def more(self, budget: int) -> None:
        """From now on so many further inputs may be asked; what is known already costs nothing."""
        self._budget = len(self._known) + budget

    async def __call__(self, texts: Sequence[str]) -> list[tuple[float, bool] | None]:
        """How firmly the truth is answered to each text, and whether it is not; None where the budget was used up."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))[: self.left]
        if new:
            margins, broken = await self._judge(new)
            self._known.update(zip(new, zip(margins.tolist(), broken.tolist(), strict=True), strict=True))
        return [self._known.get(text) for text in texts]


async def search(judge: Judge, target: Target, margin: float, budget: int) -> Outcome:
    """Look for a success, then, where there is one, for some within the rules.

    Args:
        judge: asks the model.
        target: the row, which is answered rightly.
        margin: how firmly the truth is answered to the row itself.
        budget: most different inputs that are asked up to the first success, and again after it.
    """
    asked = Asked(judge, budget)
    order = await _order(asked, target, margin) if target.order is None else list(target.order)
    flips = await _walk(asked, target, target.options, order, margin)
    queries = asked.count
    within = [changes for changes in flips if _within(target, changes)]
    if flips and len(within) < ENOUGH and target.allowed:
        asked.more(budget)
        within += await _walk(asked, target, target.allowed, order, margin, most=target.most, wanted=ENOUGH - len(within))
    unique = {target.changed(changes): changes for changes in within}
    return Outcome(flips[0] if flips else None, queries, asked.count, sorted(unique.values(), key=len))


def _within(target: Target, changes: Changes) -> bool:
    return len(changes) <= target.most and all(word in target.allowed.get(place, ()) for place, word in changes.items())


async def _order(asked: Asked, target: Target, margin: float) -> list[int]:
    """Places by what the answer loses without their words; of long texts several neighbouring words are left out together."""
    chunks = left_out(target, asked.left)
    told = await asked([without(target, chunk) for chunk in chunks])
    loss = {place: margin - answer[0] for chunk, answer in zip(chunks, told, strict=True) if answer is not None for place in chunk}
    return sorted(target.options, key=lambda place: (-loss.get(place, -np.inf), place))


def left_out(target: Target, budget: int) -> list[list[int]]:
    """Places whose words are left out together, so that finding out which matter takes half of the budget at most."""
    places = sorted(target.options)
    together = ceil(len(places) / max(1, budget // _SHARE_OF_ORDER))
    return [places[start : start + together] for start in range(0, len(places), together)]


def without(target: Target, places: Sequence[int]) -> str:
    """The text without some words, and without the blank that each leaves behind it."""
    pieces, last = [], 0
    for place in places:
        start, stop = target.words[place]
        pieces.append(target.text[last:start])
        last = stop + 1 if target.text[stop : stop + 1] == " " else stop
    return "".join([*pieces, target.text[last:]])


async def _walk(
    asked: Asked,
    target: Target,
    options: Mapping[int, Sequence[str]],
    order: Sequence[int],
    margin: float,
    *,
    most: int | None = None,
    wanted: int | None = None,
) -> list[dict[int, str]]:
    """Successes of a greedy walk over the words.

    Args:
        options: what may stand at each place.
        order: of the places.
        margin: how firmly the row itself is answered.
        most: words that may be changed; any number where not given.
        wanted: successes; where not given, all of the first word that gives any, those that the rules allow first, and then the surest.
    """
    kept: dict[int, str] = {}
    found: list[tuple[bool, float, dict[int, str]]] = []
    for place in order:
        if not options.get(place) or (most is not None and len(kept) >= most) or not asked.left:
            continue
        tried = [{**kept, place: word} for word in options[place]]
        answers = await asked([target.changed(changes) for changes in tried])
        seen = [(changes, *answer) for changes, answer in zip(tried, answers, strict=True) if answer is not None]
        found += [(not _within(target, changes), value, changes) for changes, value, broken in seen if broken]
        if len(found) >= (wanted or 1):
            break
        whole = [(value, number) for number, (_, value, broken) in enumerate(seen) if not broken]
        if whole and min(whole)[0] < margin:
            margin, number = min(whole)
            kept = seen[number][0]
    return [changes for *_, changes in sorted(found, key=lambda item: item[:2])]


def attack(predictor: Predictor, *, budget: int, labels: Mapping[str, Any], decision: Mapping[str, Any]) -> Callable[..., Any]:
    """The asker of one search: items are `{"target", "truth", "margin"}`, results those of `Outcome.to_json`.

    Args:
        predictor: of the model.
        budget: most different inputs that are asked about one row, up to its first success and again after it.
        labels, decision: how scores become an answer, as JSON.
    """
    schema, rule = LabelSchema.from_json(labels), Decision.from_json(decision)

    async def one(item: Mapping[str, Any]) -> dict[str, Any]:
        truth = int(item["truth"])

        async def judge(texts: Sequence[str]) -> tuple[Margins, Broken]:
            scores = np.stack(values_of(await predictor.ask_each([Question("class_scores", text) for text in texts])))
            return margins(scores, truth), decided(scores, schema, rule, "classes") != truth

        return (await search(judge, Target.of(item["target"]), float(item["margin"]), budget)).to_json()

    return one


def margins(scores: NDArray[np.float64], truth: int) -> Margins:
    """Probability of the true label less that of the next one, `(rows,)`."""
    others = np.delete(scores, truth, axis=1)
    return np.asarray(scores[:, truth] - others.max(axis=1), dtype=np.float64)
