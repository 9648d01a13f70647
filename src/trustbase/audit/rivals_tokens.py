"""Rivals of models that find entities: a dictionary of the training rows' entities, and a linear model of each unit's neighbours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.context import Answers
from trustbase.audit.rival_inputs import Rival, rival_state
from trustbase.audit.window import Windows
from trustbase.data.tags import Entity
from trustbase.data.units import unit_texts, units
from trustbase.errors import DataError
from trustbase.model.decoding import best_tags, entities_in
from trustbase.model.tagging import unit_tags
from trustbase.records import LabelSchema, Split

_LONGEST = 20  # units of an entity that the dictionary holds
_MOST_UNITS = 300_000  # that the linear model learns from
_UPDATES = 1_000_000  # of the linear model, at least, as far as 50 passes reach
_HALF = 0.5

Words = tuple[str, ...]


def dictionary(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """What was an entity in most of its occurrences in the training rows is one again, of its most frequent type; the longest first."""
    kinds: dict[Words, Counter[str]] = {}
    rows = [(unit_texts(text, bounds), bounds) for text in train.texts for bounds in [units(text)]]
    for (words, bounds), entities in zip(rows, train.labels, strict=True):
        for start, end, name in entities:
            first, last = np.searchsorted(bounds[:, 0], [start, end]).tolist()
            if 0 < last - first <= _LONGEST:
                kinds.setdefault(tuple(words[first:last]), Counter())[name] += 1
    longest = max(map(len, kinds), default=0)
    seen = Counter(found for words, _ in rows for _, found in _runs(words, longest) if found in kinds)
    known = {found: counts.most_common(1)[0][0] for found, counts in kinds.items() if counts.total() >= _HALF * seen[found]}
    return lambda split: _answers(_looked_up(text, known, longest) for text in split.texts)


def window(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Logistic regression of each unit's tag on the words around it, their shapes and endings; tags that fit together are answered."""
    from sklearn.linear_model import SGDClassifier

    order = seeds.generator(seed, "rival", "window").permutation(len(train))
    bounds = [units(train.texts[row]) for row in order]
    kept = order[: int(np.searchsorted(np.cumsum([len(each) for each in bounds]), _MOST_UNITS)) + 1]
    texts = [train.texts[row] for row in kept]
    tags = np.concatenate(list(unit_tags(train.labels[kept], labels, texts)))
    if len(np.unique(tags)) < 2:
        raise DataError("rival window needs training rows with an entity", hint="check the training split")
    windows = Windows(texts)
    passes = int(np.clip(_UPDATES / max(len(tags), 1), 5, 50))
    model = SGDClassifier(
        loss="log_loss", alpha=1e-6, average=True, max_iter=passes, tol=None, random_state=rival_state(seed, "window")
    ).fit(windows.of(texts), tags)
    return lambda split: _answers(_tagged(split.texts, windows, model, labels.names))


def _runs(words: Sequence[str], longest: int) -> Iterator[tuple[int, Words]]:
    """Every run of up to `longest` units, and where it begins."""
    for start in range(len(words)):
        for end in range(start + 1, min(start + longest, len(words)) + 1):
            yield start, tuple(words[start:end])


def _looked_up(text: str, known: dict[Words, str], longest: int) -> tuple[Entity, ...]:
    bounds = units(text)
    words, found, at = unit_texts(text, bounds), [], 0
    while at < len(words):
        sizes = range(min(longest, len(words) - at), 0, -1)
        size = next((size for size in sizes if tuple(words[at : at + size]) in known), 0)
        if size:
            found.append((int(bounds[at, 0]), int(bounds[at + size - 1, 1]), known[tuple(words[at : at + size])]))
        at += max(size, 1)
    return tuple(found)


def _tagged(texts: Sequence[str], windows: Windows, model: Any, names: Sequence[str]) -> Iterator[tuple[Entity, ...]]:
    for start in range(0, len(texts), 2048):
        part = list(texts[start : start + 2048])
        chances = np.zeros((sum(len(units(text)) for text in part), len(names)))
        chances[:, model.classes_] = model.predict_proba(windows.of(part))
        at = 0
        for text in part:
            bounds = units(text)
            tags = best_tags(chances[at : at + len(bounds)], names)
            at += len(bounds)
            yield tuple((int(bounds[first, 0]), int(bounds[last - 1, 1]), name) for first, last, name in entities_in(tags, names))


def _answers(rows: Iterator[tuple[Entity, ...]]) -> Answers:
    found = list(rows)
    predicted: NDArray[Any] = np.empty(len(found), dtype=object)
    for row, entities in enumerate(found):
        predicted[row] = entities
    return Answers(None, predicted)
