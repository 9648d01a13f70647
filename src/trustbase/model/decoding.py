"""From the probabilities of tags to the likeliest tags that fit together: no `I-X` after `O` or after another type.

Where the likeliest tag of each unit happens to fit, that is the answer; else Viterbi's path, which weighs no transition but forbids some.

Source: Viterbi (1967), IEEE Trans. Inf. Theory 13; the rules are those of `data.tags`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data.tags import OUTSIDE, Entity, entities_of, split_tag

_LEAST = 1e-12  # a probability of 0 forbids nothing: only the rules do


@dataclass(frozen=True, eq=False)
class Rules:
    """Which tags may stand where, by their place among the names.

    Attributes:
        first: at the beginning, bool `(tags,)`.
        last: at the end, bool `(tags,)`.
        follows: `[a, b]`: b after a, bool `(tags, tags)`.
    """

    first: NDArray[np.bool_]
    last: NDArray[np.bool_]
    follows: NDArray[np.bool_]


@lru_cache(maxsize=16)
def rules_of(names: tuple[str, ...]) -> Rules:
    """The rules of a set of tags, in BIO, BIOES, BILOU or BMES; a type without a tag for its beginning (IO) may begin with `I-`."""
    tags = [split_tag(name) for name in names]
    begun = {name for prefix, name in tags if prefix in "BSU"}
    closed = {name for prefix, name in tags if prefix in "EL"}  # types whose end is marked, so that none may be left open

    def fits(before: tuple[str, str], after: tuple[str, str]) -> bool:
        is_open = before[1] != "" and before[0] in "BIM"
        if after[0] in "IMEL" and after[1] in begun:
            return is_open and before[1] == after[1]
        return not (is_open and before[1] in closed)

    outside = (OUTSIDE, "")
    return Rules(
        np.array([fits(outside, tag) for tag in tags]),
        np.array([fits(tag, outside) for tag in tags]),
        np.array([[fits(one, other) for other in tags] for one in tags]),
    )


def best_tags(chances: NDArray[np.floating], names: Sequence[str]) -> NDArray[np.int64]:
    """The likeliest tags of one row that fit together, from probabilities `(units, tags)`, `(units,)`."""
    if not len(chances):
        return np.zeros(0, np.int64)
    rules, best = rules_of(tuple(names)), chances.argmax(axis=1)
    if rules.first[best[0]] and rules.last[best[-1]] and rules.follows[best[:-1], best[1:]].all():
        return np.asarray(best, dtype=np.int64)
    logs = np.log(np.maximum(chances, _LEAST))
    barred = np.where(rules.follows, 0.0, -np.inf)
    total = logs[0] + np.where(rules.first, 0.0, -np.inf)
    back = np.zeros(logs.shape, dtype=np.int64)
    for unit in range(1, len(logs)):
        paths = total[:, None] + barred
        back[unit] = paths.argmax(axis=0)
        total = paths[back[unit], np.arange(len(total))] + logs[unit]
    found = np.zeros(len(logs), dtype=np.int64)
    found[-1] = (total + np.where(rules.last, 0.0, -np.inf)).argmax()
    for unit in range(len(logs) - 1, 0, -1):
        found[unit - 1] = back[unit, found[unit]]
    return found


def entities_in(tags: NDArray[np.integer], names: Sequence[str]) -> tuple[Entity, ...]:
    """The entities of one row, in units, from the places of its tags among the names, `(units,)`."""
    named: list[Any] = [names[tag] for tag in tags.tolist()]
    return entities_of(named).entities if any(name != OUTSIDE for name in named) else ()
