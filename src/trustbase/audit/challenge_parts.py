"""A champion and a challenger that find parts of a text, entities or answers: what each reaches, and how far apart they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trustbase.audit import paired
from trustbase.audit.challenge import Contrast, Contrasting, Pair, Right, contrast
from trustbase.audit.challenge_answers import few, of_drawn_rows
from trustbase.audit.context import Answers
from trustbase.audit.entities import STATISTICS, Statistic, sums_of
from trustbase.audit.spans import fits, has_answer
from trustbase.audit.stats import Floats, paired_difference

Inside = NDArray[np.bool_]


def token_contrasts(pair: Pair) -> list[Contrast]:
    """F1, precision and recall of whole entities, and the share of texts whose entities are all found with none too many."""
    every = np.ones(len(pair.context.test), bool)
    return [*(_of_entities(pair, every, name) for name in STATISTICS), _exact(pair, every, "exact_match", _whole)]


def _entity_f1(pair: Pair, inside: Inside) -> Contrast:
    return _of_entities(pair, inside, "f1")


def _of_entities(pair: Pair, inside: Inside, name: str) -> Contrast:
    """The difference of a statistic of entities, each text drawn with both models' answers."""
    both = [sums_of(answers.predicted[inside], pair.context.test.labels[inside]) for answers in (pair.champion, pair.challenger)]
    turned = int((both[0] != both[1]).any(axis=1).sum())

    def statistic(sums: Floats, side: int) -> Floats:
        of: Statistic = STATISTICS[name]
        return of(sums[..., 3 * side : 3 * side + 3])

    return of_drawn_rows(pair, f"entity_{name}", np.concatenate(both, axis=1), statistic, "higher", "share", turned=turned)


def _whole(answers: Answers, pair: Pair) -> Inside:
    """Which texts have exactly the true entities; an order of answers is none of truth."""
    return np.array([set(told) == set(true) for told, true in zip(answers.predicted, pair.context.test.labels, strict=True)], dtype=bool)


def span_contrasts(pair: Pair) -> list[Contrast]:
    """F1 over words and exact match of all rows; where only some have an answer, also of those that do, and of those that do not."""
    every, answerable = np.ones(len(pair.context.test), bool), has_answer(pair.context.test)
    made = [_token_f1(pair, every), _exact(pair, every, "exact_match", _exactly)]
    if answerable.all() or not answerable.any():
        return made
    made += [_overlap(pair, answerable, "has_answer_token_f1"), _exact(pair, answerable, "has_answer_exact_match", _exactly)]
    return [*made, _exact(pair, ~answerable, "no_answer_accuracy", _exactly)]


def _exactly(answers: Answers, pair: Pair) -> Inside:
    return np.asarray(fits(answers.predicted, pair.context.test)[:, 0] == 1)


def _token_f1(pair: Pair, inside: Inside) -> Contrast:
    return _overlap(pair, inside, "token_f1")


def _overlap(pair: Pair, inside: Inside, metric: str) -> Contrast:
    """Mean F1 over words and its paired difference, in some of the rows."""
    n, least = int(inside.sum()), pair.context.minimum_cell
    if n < least:
        return few(metric, n, least, "higher", "share")
    champion, challenger = (fits(answers.predicted, pair.context.test)[inside, 1] for answers in (pair.champion, pair.challenger))
    made = paired.mean_gap(challenger - champion, -1.0, 1.0, confidence=pair.context.confidence)
    return contrast(pair, metric, (float(champion.mean()), float(challenger.mean())), made, "higher", "share")


def _exact(pair: Pair, inside: Inside, metric: str, right: Right) -> Contrast:
    """Shares of rows that are wholly right and their paired difference, in some of the rows."""
    n, least = int(inside.sum()), pair.context.minimum_cell
    if n < least:
        return few(metric, n, least, "higher", "share")
    champion, challenger = right(pair.champion, pair)[inside], right(pair.challenger, pair)[inside]
    made = paired_difference(challenger, champion, confidence=pair.context.confidence)
    return contrast(pair, metric, (float(champion.mean()), float(challenger.mean())), made, "higher", "share")


TOKENS = Contrasting("entity_f1", token_contrasts, _entity_f1, _whole)
SPAN = Contrasting("token_f1", span_contrasts, _token_f1, _exactly)
