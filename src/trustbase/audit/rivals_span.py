"""Rivals of models that answer questions from a text: what shares most words with the question, and never an answer. Neither learns."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from trustbase.audit.context import Answers
from trustbase.audit.rival_inputs import Rival
from trustbase.data.answers import Span
from trustbase.data.pair import sides
from trustbase.data.units import unit_texts, units
from trustbase.records import LabelSchema, Split

_SENTENCE = re.compile(r"[^.!?。！？；\n]+(?:[.!?](?=\S)[^.!?。！？；\n]+)*")


def no_answer(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Never an answer: right where there is none."""
    return lambda split: _answers(() for _ in split.texts)


def shared_words(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """In the sentence that holds most words of the question, the longest run of words that are not in it; of equals the first."""
    return lambda split: _answers(_found(*sides(text)) for text in split.texts)


def _answers(spans: Iterable[tuple[Span, ...]]) -> Answers:
    found = list(spans)
    predicted = np.empty(len(found), dtype=object)
    for row, answer in enumerate(found):
        predicted[row] = answer
    return Answers(None, predicted)


def _found(question: str, context: str) -> tuple[Span, ...]:
    asked = set(unit_texts(question.lower(), units(question.lower())))
    best: tuple[int, int, tuple[Span, ...]] = (0, 0, ())
    for sentence in _SENTENCE.finditer(context):
        bounds = units(sentence.group()) + sentence.start()
        words = [context[start:end].lower() for start, end in bounds.tolist()]
        run, shared = _longest([word not in asked and word.isalnum() for word in words]), len(asked & set(words))
        if run and (shared, len(run)) > best[:2]:
            best = shared, len(run), ((int(bounds[run[0], 0]), int(bounds[run[-1], 1])),)
    return best[2]


def _longest(wanted: list[bool]) -> range:
    """The longest run of places that are wanted."""
    best, start = range(0), 0
    for place, want in enumerate([*wanted, False]):
        if not want:
            if place - start > len(best):
                best = range(start, place)
            start = place + 1
    return best
