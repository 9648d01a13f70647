"""Relations end to end: between the entities that a model found itself, in place of those that people marked.

An answered relation is right where head and tail are entities of the text in start, end and (where types are told) type, and the label is:
the strict setting of joint extraction. Findings are `quality.relation_f1#end-to-end`, `.relation_precision#end-to-end` and
`.relation_recall#end-to-end`; what is drawn are whole texts, as entities and pairs of one text hang together.
`evidence/end_to_end.json` holds what became of each true and each answered relation.

The truth of a text are its rows: pairs that none of them speaks of hold no relation, and places that none of them names are no entities.

Source: Bekoulis et al. (2018), "Joint entity recognition and relation extraction as a multi-head selection problem", its strict
evaluation; precision, recall and F1 as in `quality_relation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.catalogue import END_TO_END, RELATION_FATES
from trustbase.audit.context import AuditContext
from trustbase.audit.entities import f1, precision, recall
from trustbase.audit.guard import LEAST_ROWS, guarded
from trustbase.audit.resampled import LEAST_UNITS, of_shares
from trustbase.audit.stats import Floats
from trustbase.data.marked import unmark
from trustbase.errors import PredictionError, Problem
from trustbase.finding_id import make
from trustbase.model.questions import Failure
from trustbase.outputs.related import TEXTS_AT_ONCE, TOO_MANY, Asked, Pairing, Related, ask_both
from trustbase.records import Finding, Split

Place = tuple[int, int]  # first character and the one after the last
Pair = tuple[Place, Place]  # of head and tail
_STATISTICS = {"relation_f1": f1, "relation_precision": precision, "relation_recall": recall}
_LISTED = 20


@dataclass
class Told:
    """What is known, or was answered, of one text.

    Attributes:
        entities: place → type, "" where that is not told.
        relations: pair → labels that hold (of an answer one).
        pairs: every pair that something is said of, none of its relations included.
    """

    entities: dict[Place, str] = field(default_factory=dict)
    relations: dict[Pair, set[str]] = field(default_factory=dict)
    pairs: set[Pair] = field(default_factory=set)

    @property
    def count(self) -> int:
        return sum(map(len, self.relations.values()))


@dataclass(frozen=True)
class Truth:
    """The rows of a test set, text by text in the order in which they first stand.

    Attributes:
        texts: each once.
        told: of each text.
        unit: what each text is drawn with: itself, or whoever its rows are of, `(texts,)`.
        units_are: which of both, in words.
    """

    texts: list[str]
    told: list[Told]
    unit: NDArray[np.int64]
    units_are: str


def truth_of(test: Split, names: Sequence[str], neutral: str) -> Truth:
    """The relations of each text, from rows of one pair each."""
    found: dict[str, Told] = {}
    owners: list[int] = []
    for row, (marked, code) in enumerate(zip(test.texts, test.labels.tolist(), strict=True)):
        text, head, tail = unmark(marked)
        if text not in found:
            found[text] = Told()
            owners.append(row if test.entities is None else int(test.entities[row]))
        told = found[text]
        pair = (head.start, head.end), (tail.start, tail.end)
        for place, span in zip(pair, (head, tail), strict=True):
            told.entities[place] = span.type or told.entities.get(place, "")
        told.pairs.add(pair)
        if names[code] != neutral:
            told.relations.setdefault(pair, set()).add(names[code])
    unit = np.unique(np.array(owners, dtype=np.int64), return_inverse=True)[1]
    alone = len(set(owners)) == len(owners)
    return Truth(list(found), list(found.values()), unit, "texts" if alone else "owners of texts")


def answer_of(found: Related | None, types: Mapping[str, str] | None, neutral: str | None) -> Told:
    """What two models said of one text, in the form of its truth; None where they were not asked about its pairs."""
    told = Told()
    if found is None:
        return told
    places = [(item.start, item.end) for item in found.entities]
    for place, entity in zip(places, found.entities, strict=True):
        told.entities[place] = "" if types is None else types.get(entity.type, entity.type)
    for item in found.relations:
        if item.label != neutral:
            told.relations[places[item.head], places[item.tail]] = {item.label}
    return told


def sums_of(told: Sequence[Told], truth: Sequence[Told]) -> Floats:
    """Hits, answered and true relations of each text, `(texts, 3)`."""
    rows = [
        (sum(_fate(pair, label, one, other) == "correct" for pair, label in _each(one)), one.count, other.count)
        for one, other in zip(told, truth, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def fates(told: Iterable[Told], truth: Iterable[Told]) -> dict[str, dict[str, int]]:
    """What became of each true relation, and what each answered one is: two tables, each summing to all of its own.

    The first that applies: an entity of it is none on the other side (nothing there overlaps it), or has another boundary, or another
    type; or both entities stand there too and another label is told of them, or none.
    """
    found = {"true": dict.fromkeys(RELATION_FATES, 0), "answered": dict.fromkeys(RELATION_FATES, 0)}
    for one, other in zip(told, truth, strict=True):
        for name, own, opposite in (("true", other, one), ("answered", one, other)):
            for pair, label in _each(own):
                found[name][_fate(pair, label, own, opposite)] += 1
    return found


def end_to_end(context: AuditContext, finder: Asked, teller: Asked, pairing: Pairing) -> list[Finding]:
    """The findings of both models together, and their evidence.

    Args:
        context: of the audit of the relation model, whose labels name one that says that nothing holds.
        finder: the model of entities.
        teller: the model of relations.
        pairing: which pairs are asked about.

    Raises:
        PredictionError: a text could not be answered.
    """
    neutral = context.labels.neutral
    assert neutral is not None, "refused before"
    truth = truth_of(context.test, context.labels.names, neutral)
    found = _asked(context, finder, teller, truth.texts, pairing)
    told = [answer_of(item, pairing.types, neutral) for item in found]
    passed = sum(item is None for item in found)
    if passed:
        said = f"{passed:,} of {len(found):,} texts have more than {pairing.most:,} pairs of entities and were not asked about"
        text = f"{said}: their relations count as not answered"
        context.emit("warning", text=text)
    context.evidence.write("end_to_end", _evidence(truth, told, found, pairing))
    sums = sums_of(told, truth.told)
    drawn = np.zeros((int(truth.unit.max()) + 1, 3))
    np.add.at(drawn, truth.unit, sums)
    return findings_of(context, drawn, truth.units_are)


def findings_of(context: AuditContext, sums: Floats, units_are: str) -> list[Finding]:
    """F1, precision and recall from hits, answered and true relations of each unit that is drawn, `(units, 3)`."""
    return [
        guarded(context, make("quality", name, variant=END_TO_END), "higher", partial(_measured, context, name, sums, units_are))
        for name in _STATISTICS
    ]


def _measured(context: AuditContext, name: str, sums: Floats, units_are: str) -> Finding:
    id, statistic = make("quality", name, variant=END_TO_END), _STATISTICS[name]
    _, answered, true = (int(value) for value in sums.sum(axis=0))
    told, n, which = {
        "relation_f1": ((sums[:, 1:] > 0).any(axis=1), true, "a true or answered"),
        "relation_precision": (sums[:, 1] > 0, answered, "an answered"),
        "relation_recall": (sums[:, 2] > 0, true, "a true"),
    }[name]
    shared: dict[str, Any] = {"direction": "higher", "confidence": context.confidence, "unit": "share"}
    seen = int(told.sum())
    if len(sums) < LEAST_UNITS or seen < LEAST_ROWS:
        reason = f"{len(sums)} {units_are}, {seen} of them with {which} relation; it needs {LEAST_UNITS}, and {LEAST_ROWS} of these"
        return Finding.without_value(id, "insufficient", reason, n=n, **shared)
    rng = seeds.generator(context.seed, "quality", id)
    how: dict[str, Any] = {"harmonic": statistic is f1, "what": "a relation", "units_are": units_are}
    found = of_shares(sums, statistic, np.asarray(told), rng=rng, confidence=context.confidence, n=n, **how)
    return found.finding(id, seed=context.seed, **shared)


def _asked(context: AuditContext, finder: Asked, teller: Asked, texts: Sequence[str], pairing: Pairing) -> list[Related | None]:
    """What was found in each text; None where it has too many pairs.

    Raises:
        PredictionError: a text could not be answered for another reason.
    """
    found: list[Related | None] = []
    failed: list[Problem] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        context.emit("progress", what="relations end to end", done=start, total=len(texts))
        for item in ask_both(finder, teller, texts[start : start + TEXTS_AT_ONCE], pairing):
            if isinstance(item, Failure) and item.code != TOO_MANY:
                failed.append(Problem(f"text {len(found) + 1}", f"{item.code}: {item.reason}"))
            found.append(item if isinstance(item, Related) else None)
    context.emit("progress", what="relations end to end", done=len(texts), total=len(texts))
    if failed:
        hint = "mend or leave out these rows"
        raise PredictionError(f"{len(failed):,} of {len(texts):,} texts could not be answered", problems=failed[:_LISTED], hint=hint)
    return found


def _evidence(truth: Truth, told: Sequence[Told], found: Sequence[Related | None], pairing: Pairing) -> dict[str, Any]:
    unlisted = sum(
        pair not in other.pairs and _fate(pair, label, one, other) == "no_relation"
        for one, other in zip(told, truth.told, strict=True)
        for pair, label in _each(one)
    )
    return {
        "types": None if pairing.types is None else dict(pairing.types),
        "farthest": pairing.farthest,
        "most_pairs": pairing.most,
        "texts": len(truth.texts),
        "pairs": sum(item.pairs for item in found if item is not None),
        "not_asked": sum(item is None for item in found),
        "unlisted": unlisted,
        "relation_errors": fates(told, truth.told),
    }


def _each(told: Told) -> Iterable[tuple[Pair, str]]:
    return ((pair, label) for pair, labels in told.relations.items() for label in labels)


def _fate(pair: Pair, label: str, own: Told, other: Told) -> str:
    """What a relation of one side is to the other side."""
    missing = [place for place in pair if place not in other.entities]
    if missing:
        near = all(any(start < place[1] and place[0] < end for start, end in other.entities) for place in missing)
        return "boundary" if near else "no_entity"
    kinds = [(own.entities[place], other.entities[place]) for place in pair]
    if any(one and another and one != another for one, another in kinds):
        return "type"
    labels = other.relations.get(pair)
    return "no_relation" if not labels else "correct" if label in labels else "wrong_relation"
