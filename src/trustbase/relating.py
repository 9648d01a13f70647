"""Relations between the entities of texts: one bundle finds the entities, another says of every ordered pair what holds between them.

Each bundle is checked before it is opened, as `predict` does, and answers as it was audited. What was audited is each by itself: a relation
model was measured on entities that people had marked, so what is told here also carries the errors of the model that found them.
`trustbase audit RELATIONS --entities ENTITIES` measures both together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trustbase.bundle.both import opened_both
from trustbase.bundle.verify import verify
from trustbase.errors import DataError, PredictionError, Problem
from trustbase.events import Emit, ignore
from trustbase.model.questions import Failure
from trustbase.outputs.related import (
    MOST_PAIRS,
    TEXTS_AT_ONCE,
    FoundEntity,
    FoundRelation,
    Related,
    ask_both,
    kept_back,
)
from trustbase.places import require_folder

__all__ = ["FoundEntity", "FoundRelation", "Related", "relations"]

_LISTED = 20


def relations(
    entity_bundle: str | Path,
    relation_bundle: str | Path,
    texts: Sequence[str],
    *,
    types: Mapping[str, str] | None = None,
    farthest: int | None = None,
    most_pairs: int = MOST_PAIRS,
    trust: str | Path | None = None,
    emit: Emit = ignore,
) -> list[Related]:
    """Find the entities of texts and the relations between them, with two bundles that are checked first.

    Args:
        entity_bundle: a bundle of task token-classification.
        relation_bundle: a bundle of task relation-extraction.
        texts: `(rows,)`.
        types: what the rows of the relation model called each type of entity; entities of other types are in no pair. By default
            equal names mean the same; where those rows told no types, every entity is in pairs, and none is told.
        farthest: most characters between the two entities of a pair; None asks about all, n · (n - 1) of n entities.
        most_pairs: of one text.
        trust: a public key, or a folder of them, that alone are trusted; by default the user's own trusted keys.
        emit: takes `progress` events and warnings.

    Raises:
        UsageError: there is no such folder, a bundle holds a model of another task or one that reads columns too, or the options cannot
            be.
        DataError: some texts are none, or hold a character that stands around entities; every one is named.
        VerificationError: a bundle is not what a trusted signer released; nothing was asked.
        ModelError: this machine does not reproduce a bundle's golden outputs.
        PredictionError: some texts could not be answered, or have more pairs than are asked of one; names them.
    """
    _check_texts(texts)
    for named in (entity_bundle, relation_bundle):
        require_folder(named, "name the bundle/ folder of a released run")
    checked = verify(entity_bundle, trust=trust, emit=emit), verify(relation_bundle, trust=trust, emit=emit)
    found: list[Related] = []
    failed: list[Problem] = []
    with opened_both(*checked, types=types, farthest=farthest, most=most_pairs) as (finder, teller, pairing):
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            emit("progress", what="relations", done=start, total=len(texts))
            for row, item in enumerate(ask_both(finder, teller, texts[start : start + TEXTS_AT_ONCE], pairing), start):
                if isinstance(item, Failure):
                    failed.append(Problem(f"texts[{row}]", f"{item.code}: {item.reason}"))
                else:
                    found.append(item)
    emit("progress", what="relations", done=len(texts), total=len(texts))
    if failed:
        more = f" (the first {_LISTED} are listed)" if len(failed) > _LISTED else ""
        message = f"{len(failed):,} of {len(texts):,} texts have no answer{more}"
        hint = "mend or leave out these, or use `predict`, which answers the others"
        raise PredictionError(message, problems=failed[:_LISTED], hint=hint)
    return found


def _check_texts(texts: Sequence[Any]) -> None:
    problems = []
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            problems.append(Problem(f"texts[{row}]", f"expected a text, got {type(text).__name__}"))
        elif held := kept_back(text):
            problems.append(Problem(f"texts[{row}]", f"holds {', '.join(held)}, which has a meaning in what a model is asked"))
    if problems:
        raise DataError(
            f"{len(problems):,} of {len(texts):,} texts cannot be asked about", problems=problems, hint="mend or leave out these"
        )
