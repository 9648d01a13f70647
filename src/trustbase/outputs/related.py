"""Relations between the entities that a model found: one model says where entities are, another what holds between two of them.

Asked is about every ordered pair of a text, `n · (n - 1)` of n entities, so a text has a most of pairs, which is looked at before any of
them is made. What one text cannot be asked about leaves the others alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np

from trustbase.data.marked import HEAD, TAIL, TYPED, Span, mark
from trustbase.data.pair import CELL, SEPARATOR
from trustbase.data.tags import types_of
from trustbase.errors import Problem, UsageError
from trustbase.model.questions import Failure, Question, Result
from trustbase.outputs.answers.base import answering
from trustbase.outputs.answers.tokens import answered
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import ArtifactInfo

ENTITIES, RELATIONS = "token-classification", "relation-extraction"
MOST_PAIRS = 2000  # of one text: 45 entities
TEXTS_AT_ONCE = 1024
TOO_MANY = "too_many_pairs"
_AT_ONCE = 4096  # pairs that are marked and asked together
_KEPT_BACK = (HEAD, TAIL, TYPED, CELL, SEPARATOR)  # characters that say something within what a model is asked


class Asked(Protocol):
    """What is needed of a Predictor."""

    @property
    def info(self) -> ArtifactInfo: ...

    def ask_all(self, questions: Sequence[Question]) -> list[Result]: ...


@dataclass(frozen=True)
class FoundEntity:
    """Characters `start` to `end` (exclusive, counted from 0) of a text, what they are, and the mean probability of their tags."""

    start: int
    end: int
    type: str
    score: float


@dataclass(frozen=True)
class FoundRelation:
    """What holds between two entities (places in `Related.entities`), the probability of that label, and that of each."""

    head: int
    tail: int
    label: str
    score: float
    probabilities: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Related:
    """What was found in one text.

    Attributes:
        text: the text.
        entities: in order, none overlapping.
        relations: pairs of which another label than the one that says that nothing holds was answered, by head and tail.
        pairs: how many ordered pairs were asked about.
    """

    text: str
    entities: tuple[FoundEntity, ...]
    relations: tuple[FoundRelation, ...]
    pairs: int

    def to_json(self) -> dict[str, Any]:
        """One line of answers."""
        return {
            "entities": [{"start": item.start, "end": item.end, "label": item.type, "score": item.score} for item in self.entities],
            "relations": [
                {"head": item.head, "tail": item.tail, "label": item.label, "probabilities": dict(item.probabilities)}
                for item in self.relations
            ],
            "pairs": self.pairs,
        }


@dataclass(frozen=True)
class Pairing:
    """Which pairs of entities are asked about, and what their types are called.

    Attributes:
        types: type of an entity → what the rows of the relation model called it; entities of other types are in no pair. None where
            those rows told no types: then every entity is in pairs, and none is told.
        farthest: most characters between the two entities of a pair; None for any.
        most: pairs of one text; one with more is not asked about.
    """

    types: Mapping[str, str] | None = None
    farthest: int | None = None
    most: int = MOST_PAIRS

    @classmethod
    def of(
        cls,
        finder: ArtifactInfo,
        teller: ArtifactInfo,
        *,
        types: Mapping[str, str] | None = None,
        farthest: int | None = None,
        most: int = MOST_PAIRS,
    ) -> Pairing:
        """What may be asked of two models together.

        Raises:
            UsageError: a model of another task, or one that reads columns too; types that do not meet; numbers that cannot be.
        """
        problems = [*_of_another_task("entities", finder, ENTITIES), *_of_another_task("relations", teller, RELATIONS)]
        if farthest is not None and farthest < 0:
            problems.append(Problem("farthest", f"must be a number of characters, got {farthest}"))
        if most < 1:
            problems.append(Problem("most_pairs", f"must be at least 1, got {most}"))
        if not problems:
            types, problems = _named(types_of(finder.labels.names), teller.entity_types, types)
        if problems:
            raise UsageError("these two models cannot be asked together like this", problems=problems)
        return cls(types, farthest, most)

    def pairs(self, entities: Sequence[FoundEntity]) -> Iterator[tuple[int, int]]:
        """Places of head and tail of every ordered pair, by head; at most one more than is allowed."""
        return islice(self._near(entities), self.most + 1)

    def span(self, entity: FoundEntity) -> Span:
        """An entity as the relation model is told of it."""
        return Span(entity.start, entity.end, "" if self.types is None else self.types[entity.type])

    def _near(self, entities: Sequence[FoundEntity]) -> Iterator[tuple[int, int]]:
        asked = [place for place, item in enumerate(entities) if self.types is None or item.type in self.types]
        first = 0  # entities stand in order, so what is too far before one head is so before every later one
        for head in asked:
            while self._apart(entities[asked[first]], entities[head]):
                first += 1
            for tail in asked[first:]:
                if tail > head and self._apart(entities[head], entities[tail]):
                    break
                if tail != head:
                    yield head, tail

    def _apart(self, one: FoundEntity, other: FoundEntity) -> bool:
        """Whether an entity stands too far before another."""
        return self.farthest is not None and other.start - one.end > self.farthest


def said_of_one(entities: object, options: Mapping[str, object]) -> list[Problem]:
    """Options that speak of two models, where the one of entities is not named.

    Args:
        entities: what names it; None where nothing does.
        options: name → what was said; None where nothing was.
    """
    said = [name for name, value in options.items() if value is not None] if entities is None else []
    return [Problem(name, "is of two models that are asked together, and one is named", "add --entities MODEL") for name in said]


def ask_both(finder: Asked, teller: Asked, texts: Sequence[str], pairing: Pairing) -> list[Related | Failure]:
    """What both models find in each text, or why one has no answer.

    Args:
        finder: a model of entities.
        teller: a model of relations.
        texts: some thousand at most: all that holds in them is held at once.
        pairing: from `Pairing.of`.
    """
    return relate(teller, texts, entities_of(finder, texts), pairing)


def entities_of(finder: Asked, texts: Sequence[str]) -> list[tuple[FoundEntity, ...] | Failure]:
    """The entities that a model finds in each text, in order."""
    found: list[tuple[FoundEntity, ...] | Failure] = []
    names, question = finder.info.labels.names, ANSWER_KINDS[finder.info.answer_kind].question
    for result in finder.ask_all([Question(question, text) for text in texts]):
        if isinstance(result, Failure):
            found.append(result)
        else:
            told = answered(result.value, names)
            found.append(tuple(FoundEntity(start, end, name, chance) for (start, end, name), chance in told))
    return found


def relate(
    teller: Asked, texts: Sequence[str], entities: Sequence[Sequence[FoundEntity] | Failure], pairing: Pairing
) -> list[Related | Failure]:
    """Ask a relation model about the ordered pairs of entities within each text; a text of which one pair has no answer has none."""
    failed: dict[int, Failure] = {}
    counts = [0] * len(texts)

    def each() -> Iterator[tuple[int, int, int]]:
        """Row, head and tail of every pair, made as they are asked: of a thousand crowded texts there are millions."""
        for row, (text, found) in enumerate(zip(texts, entities, strict=True)):
            own = [] if isinstance(found, Failure) else list(pairing.pairs(found))
            reason = found if isinstance(found, Failure) else _unfit(text, found, len(own), pairing.most)
            if reason is not None:
                failed[row] = reason
                continue
            counts[row] = len(own)
            yield from ((row, head, tail) for head, tail in own)

    held: list[list[FoundRelation]] = [[] for _ in texts]
    pairs = each()
    while chunk := list(islice(pairs, _AT_ONCE)):
        asked = [mark(texts[row], pairing.span(entities[row][head]), pairing.span(entities[row][tail])) for row, head, tail in chunk]  # type: ignore[index]
        for (row, head, tail), answer in zip(chunk, _labels(teller, asked), strict=True):
            if isinstance(answer, Failure):
                failed.setdefault(row, answer)
            elif answer is not None:
                held[row].append(FoundRelation(head, tail, *answer))
    return [
        failed[row] if row in failed else Related(text, tuple(entities[row]), tuple(held[row]), counts[row])  # type: ignore[arg-type]
        for row, text in enumerate(texts)
    ]


def kept_back(text: str) -> list[str]:
    """Characters in a text that have a meaning in what a model is asked, as `U+000E`."""
    return [f"U+{ord(sign):04X}" for sign in _KEPT_BACK if sign in text]


def _unfit(text: str, entities: Sequence[FoundEntity], pairs: int, most: int) -> Failure | None:
    if held := kept_back(text):
        return Failure("bad_input", f"the text holds {', '.join(held)}, which has a meaning in what a model is asked")
    if pairs > most:
        said = f"{len(entities):,} entities make more than the {most:,} pairs that are asked of one text"
        return Failure(TOO_MANY, f"{said}; allow more, or leave out those that stand far apart")
    return None


def _labels(teller: Asked, asked: Sequence[str]) -> list[tuple[str, float, Mapping[str, float]] | Failure | None]:
    """Label, its probability and those of all labels for each marked text; None where the answer is that nothing holds."""
    info = teller.info
    labels, names = info.labels, info.labels.names
    results = teller.ask_all([Question(ANSWER_KINDS[info.answer_kind].question, text) for text in asked])
    told = [result.value for result in results if not isinstance(result, Failure)]
    codes = answering(info.answer_kind).decide(np.stack(told), labels, info.decision).tolist() if told else []
    answers = iter(zip(codes, told, strict=True))
    found: list[tuple[str, float, Mapping[str, float]] | Failure | None] = []
    for result in results:
        if isinstance(result, Failure):
            found.append(result)
            continue
        code, row = next(answers)
        chances = dict(zip(names, map(float, row), strict=True)) if names[code] != labels.neutral else {}
        found.append((names[code], float(row[code]), chances) if chances else None)
    return found


def _of_another_task(name: str, info: ArtifactInfo, wanted: str) -> Iterator[Problem]:
    if info.task != wanted:
        yield Problem(name, f"is a model of task {info.task}", f"name one of task {wanted}")
    elif info.columns:
        yield Problem(name, f"the model also reads columns: {', '.join(info.columns)}", "name one that reads a text alone")


def _named(
    found: Sequence[str], known: Sequence[str] | None, types: Mapping[str, str] | None
) -> tuple[Mapping[str, str] | None, list[Problem]]:
    """What the types that one model finds are called in the rows of the other, or what is wrong with that.

    Args:
        found: types that the model of entities finds.
        known: types that the rows of the model of relations told; None where that is not known (an artefact of an earlier version).
        types: what the caller says; by default equal names mean the same.
    """
    rows = "told no types" if not known else f"told {', '.join(known)}"
    if types is None:
        new = [name for name in found if known and name not in known]
        message = f"the model of entities finds {', '.join(new)}, which relations were never trained on: their rows {rows}"
        hint = f"say what each is called there, such as {found[0]}={known[0]}; one that is left out is in no pair" if known else ""
        return {name: name for name in found} if known else None, [Problem("types", message, hint)] if new else []
    problems = []
    unknown = sorted(set(types) - set(found))
    if unknown or not types:
        message = f"names {', '.join(unknown) or 'no type'}, and the model of entities finds {', '.join(found)}"
        problems.append(Problem("types", message, f"write what the relation rows called each: {found[0]}=NAME"))
    new = sorted(set(types.values()) - set(known)) if known is not None else []
    if new:
        message = f"says {', '.join(new)}, which relations were never trained on: their rows {rows}"
        problems.append(Problem("types", message, f"known: {', '.join(known)}" if known else "leave types out"))
    return types, problems
