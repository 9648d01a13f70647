"""Relations between the entities of texts: one bundle finds the entities, another says of every ordered pair what holds between them.

Each bundle is checked before it is opened, as `predict` does, and answers as it was audited. What was audited is each by itself: a relation
model was measured on entities that people had marked, so what is told here also carries the errors of the model that found them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trustbase.bundle.layout import MODEL
from trustbase.bundle.verify import VerifiedBundle, verify
from trustbase.data.marked import HEAD, TAIL, TYPED, Span, mark
from trustbase.data.pair import CELL, SEPARATOR
from trustbase.errors import DataError, Problem, UsageError
from trustbase.events import Emit, ignore
from trustbase.records import ArtifactInfo, LabelSchema

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

ENTITIES, RELATIONS = "token-classification", "relation-extraction"
_AT_ONCE = 4096  # pairs that are marked and asked together: a text of 100 entities has 9,900
_KEPT_BACK = (HEAD, TAIL, TYPED, CELL, SEPARATOR)  # characters that say something within what a model is asked


class Asked(Protocol):
    """What is needed of a Predictor."""

    @property
    def info(self) -> ArtifactInfo: ...

    def scores(self, texts: Sequence[str]) -> NDArray[Any]: ...


@dataclass(frozen=True)
class FoundEntity:
    """Characters `start` to `end` (exclusive, counted from 0) of a text, what they are, and the mean probability of their tags."""

    start: int
    end: int
    type: str
    score: float


@dataclass(frozen=True)
class FoundRelation:
    """What holds between two entities (places in `Related.entities`), and the probability of that label."""

    head: int
    tail: int
    label: str
    score: float


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


def relations(
    entity_bundle: str | Path,
    relation_bundle: str | Path,
    texts: Sequence[str],
    *,
    types: Mapping[str, str] | None = None,
    farthest: int | None = None,
    trust: str | Path | None = None,
    emit: Emit = ignore,
) -> list[Related]:
    """Find the entities of texts and the relations between them, with two bundles that are checked first.

    Args:
        entity_bundle: a bundle of task token-classification.
        relation_bundle: a bundle of task relation-extraction.
        texts: `(rows,)`.
        types: what the rows of the relation model called each type of entity; entities of other types are in no pair. None where
            those rows told no types: then every entity is in pairs, and none is told.
        farthest: most characters between the two entities of a pair; None asks about all, n · (n - 1) of n entities.
        trust: a public key, or a folder of them, that alone are trusted; by default the user's own trusted keys.
        emit: takes `progress` events and warnings.

    Raises:
        UsageError: a bundle holds a model of another task, or one that reads columns too; or `types`, `farthest` cannot be.
        DataError: some texts are none, or hold a character that stands around entities; every one is named.
        VerificationError: a bundle is not what a trusted signer released; nothing was asked.
        ModelError: this machine does not reproduce a bundle's golden outputs.
        PredictionError: some texts could not be answered.
    """
    _check_texts(texts)
    finder, teller = verify(entity_bundle, trust=trust, emit=emit), verify(relation_bundle, trust=trust, emit=emit)
    _check_options(finder, teller, types, farthest)
    with _opened(finder) as predictor:
        entities = entities_of(predictor, texts)
    with _opened(teller) as predictor:
        return relate(predictor, texts, entities, types=types, farthest=farthest, emit=emit)


def entities_of(predictor: Asked, texts: Sequence[str]) -> list[tuple[FoundEntity, ...]]:
    """The entities that a model finds in each text, in order.

    Raises:
        PredictionError: some texts could not be answered; names them.
    """
    from trustbase.outputs.answers.tokens import answered

    names = predictor.info.labels.names
    return [
        tuple(FoundEntity(start, end, name, chance) for (start, end, name), chance in answered(table, names))
        for table in predictor.scores(texts)
    ]


def relate(
    predictor: Asked,
    texts: Sequence[str],
    entities: Sequence[Sequence[FoundEntity]],
    *,
    types: Mapping[str, str] | None = None,
    farthest: int | None = None,
    emit: Emit = ignore,
) -> list[Related]:
    """Ask a relation model about every ordered pair of entities within a text; the arguments are those of `relations`.

    Raises:
        PredictionError: some pairs could not be answered; names them.
    """
    pairs = [(row, head, tail) for row, found in enumerate(entities) for head, tail in ordered_pairs(found, known=types, farthest=farthest)]
    held: list[list[FoundRelation]] = [[] for _ in texts]
    counts = np.bincount(np.array([row for row, _, _ in pairs], dtype=np.int64), minlength=len(texts))
    for start in range(0, len(pairs), _AT_ONCE):
        emit("progress", what="relations", done=start, total=len(pairs))
        chunk = pairs[start : start + _AT_ONCE]
        asked = [mark(texts[row], _span(entities[row][head], types), _span(entities[row][tail], types)) for row, head, tail in chunk]
        for (row, head, tail), answer in zip(chunk, _labels(predictor, asked), strict=True):
            if answer is not None:
                held[row].append(FoundRelation(head, tail, *answer))
    emit("progress", what="relations", done=len(pairs), total=len(pairs))
    return [
        Related(text, tuple(found), tuple(said), int(count)) for text, found, said, count in zip(texts, entities, held, counts, strict=True)
    ]


def ordered_pairs(
    entities: Sequence[FoundEntity], *, known: Mapping[str, str] | None = None, farthest: int | None = None
) -> Iterator[tuple[int, int]]:
    """Places of head and tail of every ordered pair of two entities of known types that stand near enough."""
    for head, one in enumerate(entities):
        for tail, other in enumerate(entities):
            apart = max(one.start, other.start) - min(one.end, other.end)
            usual = known is None or (one.type in known and other.type in known)
            if head != tail and usual and (farthest is None or apart <= farthest):
                yield head, tail


def _labels(predictor: Asked, asked: Sequence[str]) -> list[tuple[str, float] | None]:
    """Label and probability of each marked text; None where the answer is that nothing holds."""
    from trustbase.outputs.answers.base import decided

    info = predictor.info
    labels: LabelSchema = info.labels
    scores = predictor.scores(asked)
    answers = decided(scores, labels, info.decision, info.answer_kind)
    return [
        None if labels.names[code] == labels.neutral else (labels.names[code], float(row[code]))
        for code, row in zip(answers.tolist(), scores, strict=True)
    ]


def _span(entity: FoundEntity, types: Mapping[str, str] | None) -> Span:
    return Span(entity.start, entity.end, "" if types is None else types[entity.type])


def _check_texts(texts: Sequence[Any]) -> None:
    problems = []
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            problems.append(Problem(f"texts[{row}]", f"expected a text, got {type(text).__name__}"))
            continue
        held = [f"U+{ord(sign):04X}" for sign in _KEPT_BACK if sign in text]
        if held:
            problems.append(Problem(f"texts[{row}]", f"holds {', '.join(held)}, which has a meaning in what a model is asked"))
    if problems:
        raise DataError(
            f"{len(problems):,} of {len(texts):,} texts cannot be asked about", problems=problems, hint="mend or leave out these"
        )


def _check_options(finder: VerifiedBundle, teller: VerifiedBundle, types: Mapping[str, str] | None, farthest: int | None) -> None:
    """All that stands against asking these two bundles so."""
    problems = []
    told = {name: json.loads(bundle.read(f"{MODEL}/artifact.json")) for name, bundle in (("entity", finder), ("relation", teller))}
    for name, wanted in (("entity", ENTITIES), ("relation", RELATIONS)):
        if told[name]["task"] != wanted:
            problems.append(Problem(f"{name}_bundle", f"holds a model of task {told[name]['task']}", f"name a bundle of task {wanted}"))
        elif told[name].get("columns"):
            problems.append(Problem(f"{name}_bundle", f"its model also reads columns: {', '.join(told[name]['columns'])}"))
    if farthest is not None and farthest < 0:
        problems.append(Problem("farthest", f"must be a number of characters, got {farthest}"))
    if types is not None and not problems:
        from trustbase.data.tags import types_of

        found = types_of(told["entity"]["labels"]["names"])
        unknown = sorted(set(types) - set(found))
        if unknown or not types:
            message = f"names {', '.join(unknown) or 'no type'}, and the model finds {', '.join(found)}"
            problems.append(Problem("types", message, "write what the relation rows called each: {'PER': 'person'}"))
    if problems:
        raise UsageError("relations cannot be asked for like this", problems=problems)


@contextmanager
def _opened(checked: VerifiedBundle) -> Iterator[Predictor]:
    """The model of a checked bundle, once it gave its golden outputs again on this machine."""
    from trustbase.bundle.golden import repeat_golden
    from trustbase.model.predict import Predictor

    with checked.private_model() as model, Predictor.open(model) as predictor:
        repeat_golden(json.loads(checked.read("golden.json")), predictor)
        yield predictor
