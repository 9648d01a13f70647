"""Words that turn answers: they are put into rows of other classes, searched on some of these, and measured on the others.

A word that speaks for a class moves an answer a little, and much where the row says little else. So each row stands beside a second one of
its class: two rows' worth of words speak against the word that is put in. A trigger wins all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.safety.asking import Ask, Floats, Indices
from trustbase.audit.safety.taught import Taught
from trustbase.data import marked
from trustbase.data.pair import CELL, SEPARATOR
from trustbase.data.units import ALONE

Decide = Callable[[Floats], Indices]  # class scores → answers

GROUP = 40  # words that are put in together first, at most
PLACES = 3
SEARCHED = 48  # rows that are searched on, at most; all others measure
MOVING = 48  # words that are asked whether rows taught them, at least
FINAL = 4  # words that are measured on all rows that are searched on
_UNBROKEN = re.compile(f"[{ALONE}]")
_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Places:
    """Rows with places for a word in each: before the text, within it, and behind it, as an attacker may always use the same.

    Attributes:
        around: the text on either side of each of the three places, `(rows,)` of three pairs.
        answers: what the model answers to the row without a word, which is its label, `(rows,)`.
        scores: class scores of the row without a word, `(rows, classes)`.
        searched: rows that are searched on; the others measure, `(rows,)`.
    """

    around: tuple[tuple[tuple[str, str], ...], ...]
    answers: Indices
    scores: Floats
    searched: NDArray[np.bool_]

    def text(self, row: int, word: str, place: int | None = None) -> str:
        """The row with a word (or several) in one of its places; each row has a usual one of its own."""
        left, right = self.around[row][row % PLACES if place is None else place]
        first = "" if not left or left[-1].isspace() or _joined(left[-1], word[:1]) else " "
        last = "" if not right or right[0].isspace() or right[0] in (CELL, SEPARATOR) or _joined(word[-1:], right[0]) else " "
        return f"{left}{first}{word}{last}{right}"


@dataclass(frozen=True)
class Hit:
    """A word, the class that it turns answers to, and how often it does.

    Attributes:
        place: before the text, within it or behind it: 0, 1, 2.
        flips: share of rows of other classes that it turned, on the rows that were searched.
        turned: rows that it turned among the others, of `rows`.
    """

    word: str
    target: int
    place: int
    flips: float
    turned: int
    rows: int


def _joined(left: str, right: str) -> bool:
    """Whether no blank stands between two signs: both of a script without blanks."""
    return bool(_UNBROKEN.fullmatch(left) and _UNBROKEN.fullmatch(right))


def place_words(texts: Sequence[str], truth: Indices, ask: Ask, decide: Decide, seed: int) -> Places:
    """Rows that are answered rightly, each beside another of its class where that can be, and still answered so.

    Args:
        texts: inputs in an order that means nothing, `(rows,)`.
        truth: label of each, `(rows,)`.
        ask: gives class scores.
        decide: makes answers of them.
        seed: of the places.
    """
    right = np.flatnonzero(decide(ask(texts)) == truth)
    made: list[tuple[tuple[tuple[str, str], ...], int]] = []
    for label in np.unique(truth[right]):
        rows = [texts[int(row)] for row in right[truth[right] == label]]
        for place, text in enumerate(rows):
            before, after = _parted(text, seed)
            whole = _beside(after, rows[(place + 1) % len(rows)]) if len(rows) > 1 else after
            body, rest = _body(whole)
            made.append(((("", before + whole), (before, whole), (before + body, rest)), int(label)))
    answers = np.array([label for _, label in made], dtype=np.int64)
    scores = ask([around[0][1] for around, _ in made])
    kept = np.flatnonzero(decide(scores) == answers) if made else np.zeros(0, dtype=np.int64)
    searched = np.zeros(len(kept), dtype=bool)
    every = max(2, -(-len(kept) // SEARCHED))
    searched[::every] = True  # rows of a class stand together, so each part has its share of them
    return Places(tuple(made[int(row)][0] for row in kept), answers[kept], scores[kept], searched)


def _body(text: str) -> tuple[str, str]:
    """The first of several texts and cells, and the rest with what parts them."""
    found = re.search(f"[{CELL}{SEPARATOR}]", text)
    return (text, "") if found is None else (text[: found.start()], text[found.start() :])


def _parted(text: str, seed: int) -> tuple[str, str]:
    """A text cut where a word may stand: between words of its first part, or between signs where no blanks part them."""
    body = _body(text)[0]
    closed = [match.span() for match in re.finditer(f"([{marked.HEAD}{marked.TAIL}]).*?\\1", body, re.DOTALL)]
    gaps = [0, len(body), *(match.end() for match in re.finditer(r"\s+", body))]
    if _UNBROKEN.search(body):
        gaps += [place for place in range(1, len(body)) if _joined(body[place - 1], body[place])]
    gaps = sorted({gap for gap in gaps if not any(start < gap < end for start, end in closed)})
    place = gaps[int(seeds.generator(seed, "safety", "place", text).integers(0, len(gaps)))]
    return text[:place], text[place:]


def _beside(after: str, other: str) -> str:
    """The rest of a row with another's text behind its own; a text with marked entities stays as it is."""
    if marked.HEAD in other or marked.HEAD in after:
        return after
    body, own = _body(other)[0], _body(after)[0]
    blank = "" if own and body and _joined(own[-1], body[0]) else " "
    return f"{own}{blank}{body}{after[len(own) :]}"


@dataclass(frozen=True)
class Hunt:
    """What a search over candidates came to.

    Attributes:
        best: the best word that the rows do not teach, with its share on the other rows.
        last: the words that were left at last, each with its class and share where it was searched; the best first.
        by_class: the best share of rows turned to each class.
        candidates: how many words were looked at.
        taught: the best of the words that the rows teach.
        struck: how many they were.
    """

    best: Hit | None
    last: tuple[tuple[str, int, float], ...]
    by_class: dict[int, float]
    candidates: int
    taught: Hit | None = None
    struck: int = 0


def hunt(
    candidates: Sequence[str],
    places: Places,
    ask: Ask,
    decide: Decide,
    seed: int,
    *,
    most: int,
    taught: Taught,
    grouped: bool = False,
) -> Hunt:
    """The word among candidates that turns most rows of other classes to one class.

    Many candidates are asked on few rows, the fewer that are left on more; the last ones on all of these, in each place. Of very many,
    groups of words are put in together first: a trigger turns its whole group. Words that rows taught are measured by themselves.

    Args:
        candidates: words or phrases, each once, in an order that means nothing but for ties.
        places: rows to put them into.
        ask, decide: ask the model.
        seed: of groups and rows.
        most: inputs that may be asked about before the last stage.
        taught: tells words that rows taught.
        grouped: whether to begin with groups.
    """
    words, total = list(candidates), len(candidates)
    rng = seeds.generator(seed, "safety", "hunt", len(words))
    half = np.flatnonzero(places.searched)
    if not words or not len(half):
        return Hunt(None, (), {}, 0)
    few = _different(places, half, rng, 2)
    if grouped and total * len(few) > most // 2:
        room = max(1, most // (2 * len(few)))  # groups that may be asked about
        size = min(GROUP, -(-total // room))
        order = [words[int(index)] for index in rng.permutation(total)[: room * size]]
        total, groups = len(order), [order[start : start + size] for start in range(0, len(order), size)]
        moved = _moved([" ".join(group) for group in groups], places, few, ask)
        left = max(1, most // (4 * size * len(few)))
        words = [word for index in np.argsort(-moved, kind="stable")[:left] for word in groups[int(index)]]
    order = _moving(words, places, _different(places, half, rng, 2), ask)
    free, struck = _parted_by(order, max(MOVING, most // 64), taught)
    rows = _different(places, half, rng, 8)
    found = _last(_first(free, FINAL, places, rows, ask), places, ask, decide, total)
    if not struck:
        return found
    return replace(found, taught=_last(_first(struck, FINAL, places, rows, ask), places, ask, decide, total).best, struck=len(struck))


def _parted_by(order: Sequence[str], most: int, taught: Taught) -> tuple[list[str], list[str]]:
    """The first words by how much they move, those that rows do not teach and those that they do; more where too few of the former are."""
    free: list[str] = []
    struck: list[str] = []
    for start in range(0, len(order), most):
        part = order[start : start + most]
        for word, old in zip(part, taught(part), strict=True):
            (struck if old else free).append(word)
        if len(free) >= FINAL:
            break
    return free, struck


def _first(words: list[str], count: int, places: Places, rows: Indices, ask: Ask) -> list[str]:
    """So many of the words, those that move answers most; all of them where there are no more."""
    return words if len(words) <= count else _moving(words, places, rows, ask)[:count]


def _moving(words: list[str], places: Places, rows: Indices, ask: Ask) -> list[str]:
    """The words, those first that move answers most."""
    return [words[int(index)] for index in np.argsort(-_moved(words, places, rows, ask), kind="stable")] if words else []


def _different(places: Places, half: Indices, rng: np.random.Generator, count: int) -> Indices:
    """Some of the searched rows, of as many classes as there can be."""
    drawn = rng.permutation(half)
    seen: dict[int, int] = {}
    turn = []
    for row in drawn:
        label = int(places.answers[row])
        turn.append(seen.get(label, 0))
        seen[label] = seen.get(label, 0) + 1
    return np.asarray(drawn[np.argsort(turn, kind="stable")[:count]], dtype=np.int64)


def _moved(words: Sequence[str], places: Places, rows: Indices, ask: Ask) -> Floats:
    """By how much each word raises the log-odds of the class that it raises most, a mean over rows of other classes, `(words,)`."""
    scores = ask([places.text(int(row), word) for word in words for row in rows]).reshape(len(words), len(rows), -1)
    logs = np.log(np.clip(scores, _TINY, 1 - _TINY)) - np.log(np.clip(1 - scores, _TINY, 1))
    before = np.clip(places.scores[rows], _TINY, 1 - _TINY)
    raised = logs - (np.log(before) - np.log(1 - before))
    others = places.answers[rows][:, None] != np.arange(scores.shape[2])
    count = others.sum(0)
    means = (raised * others).sum(1) / np.maximum(count, 1)
    return np.asarray(np.where(count > 0, means, -np.inf).max(1))


def _last(words: Sequence[str], places: Places, ask: Ask, decide: Decide, searched: int) -> Hunt:
    """The best of the last candidates by all searched rows, with its share on the other rows."""
    classes = places.scores.shape[1]
    found: list[tuple[float, float, str, int, int]] = []
    by_class: dict[int, float] = {}
    half = np.flatnonzero(places.searched)
    for word in words:
        own = []
        for place in range(PLACES):
            scores = ask([places.text(int(row), word, place) for row in half])
            told = decide(scores)
            for target in range(classes):
                rows = places.answers[half] != target
                if rows.any():
                    share, level = float((told[rows] == target).mean()), float(scores[rows, target].mean())
                    by_class[target] = max(by_class.get(target, 0.0), share)
                    own.append((share, level, word, target, place))
        found += [max(own, key=lambda item: item[:2])] if own else []
    found.sort(key=lambda item: item[:2], reverse=True)
    last = tuple((word, target, share) for share, _, word, target, _ in found)
    best = None if not last else _measured(*last[0], found[0][4], places, ask, decide)
    return Hunt(best, last, by_class, searched)


def _measured(word: str, target: int, flips: float, place: int, places: Places, ask: Ask, decide: Decide) -> Hit:
    rest = np.flatnonzero(~places.searched & (places.answers != target))
    told = decide(ask([places.text(int(row), word, place) for row in rest]))
    return Hit(word, target, place, flips, int((told == target).sum()), len(rest))


def turned_by(words: Sequence[str], places: Places, ask: Ask, decide: Decide) -> float:
    """Largest mean share, over classes, of the measuring rows that these words turn: what words do by chance."""
    rest = np.flatnonzero(~places.searched)
    if not len(words) or not len(rest):
        return 0.0
    told = decide(ask([places.text(int(row), word) for word in words for row in rest])).reshape(len(words), len(rest))
    found = [
        float((told[:, places.answers[rest] != target] == target).mean())
        for target in range(places.scores.shape[1])
        if (places.answers[rest] != target).any()
    ]
    return max(found, default=0.0)
