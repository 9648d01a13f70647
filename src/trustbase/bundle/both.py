"""Two bundles that answer together: one finds the entities of a text, the other says what holds between them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase.bundle.subject import open_subject
from trustbase.bundle.verify import VerifiedBundle
from trustbase.data.cells import Reading
from trustbase.data.marked import three_columns
from trustbase.data.template import TextTemplate
from trustbase.errors import UsageError
from trustbase.events import Emit
from trustbase.model.questions import Failure
from trustbase.outputs.related import MOST_PAIRS, Pairing, ask_both
from trustbase.records import ArtifactInfo

if TYPE_CHECKING:
    from trustbase.audit.artifact import Further
    from trustbase.audit.context import AuditContext
    from trustbase.bundle.rows import Row
    from trustbase.model.predict import Predictor
    from trustbase.records import Finding


@contextmanager
def opened_both(
    entities: VerifiedBundle,
    relations: VerifiedBundle,
    *,
    types: Mapping[str, str] | None = None,
    farthest: int | None = None,
    most: int = MOST_PAIRS,
) -> Iterator[tuple[Predictor, Predictor, Pairing]]:
    """The models of two checked bundles, once each gave its golden outputs again on this machine, and what is asked of them.

    Raises:
        UsageError: they cannot be asked together.
        ModelError: this machine does not reproduce a bundle's golden outputs.
    """
    from trustbase.bundle.golden import repeat_golden
    from trustbase.model.artifact import read_artifact
    from trustbase.model.predict import Predictor

    with entities.private_model() as one, relations.private_model() as other:
        pairing = Pairing.of(read_artifact(one), read_artifact(other), types=types, farthest=farthest, most=most)
        with Predictor.open(one) as finder, Predictor.open(other) as teller:
            for checked, predictor in ((entities, finder), (relations, teller)):
                repeat_golden(json.loads(checked.read("golden.json")), predictor)
            yield finder, teller, pairing


@contextmanager
def audited_with(entities: str | Path | None, teller: ArtifactInfo, how: Mapping[str, Any], emit: Emit) -> Iterator[Further | None]:
    """What an audit of a relation model measures besides where a model of entities is named; None where none is.

    Args:
        entities: checkpoint folder, bundle (checked first), run folder or hub id.
        teller: the relation model, as it is asked.
        how: `types`, `farthest`, `most` of `Pairing.of`, where they are said.
        emit: takes notes.

    Raises:
        VerificationError: a bundle is not what somebody trusted released.
        UsageError: the two cannot be asked together, or nothing says which label means that nothing holds.
    """
    if entities is None:
        yield None
        return
    with open_subject(entities, emit) as (info, _):
        pairing = Pairing.of(info, teller, **how)
        if teller.labels.neutral is None:
            message = "every pair would have a relation, as the recipe of the relations names no label that says that none holds"
            raise UsageError(message, hint="name it (data.no_relation) and train again, or audit without --entities")
        told = {"digest": info.digest, "runtime": info.runtime, "precision": info.precision, "base": info.base, "revision": info.revision}

        def further(context: AuditContext) -> list[Finding]:
            from trustbase.audit.end_to_end import end_to_end
            from trustbase.model.predict import Predictor

            assert context.predictor is not None
            with Predictor.open(info) as finder:
                return end_to_end(context, finder, context.predictor, pairing, told)

        yield further


def reading_of(teller: Predictor) -> Reading:
    """The text column of a relation model's rows alone: the entities are to be found."""
    named = three_columns(teller.info.text or "")
    return Reading(TextTemplate.parse(named[0] if named is not None else "text", None))


def related_rows(finder: Predictor, teller: Predictor, pairing: Pairing, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One JSON object for each row: entities and relations, or an error of its own."""
    from trustbase.bundle.rows import BadInput

    lines: list[dict[str, Any]] = []
    texts = [row for row in rows if not isinstance(row, BadInput)]
    found = iter(ask_both(finder, teller, texts, pairing))
    for row in rows:
        if isinstance(row, BadInput):
            lines.append({"error": {"type": "bad_row", "message": f"{row.where}: {row.reason}"}})
            continue
        item = next(found)
        lines.append({"error": {"type": item.code, "message": item.reason}} if isinstance(item, Failure) else item.to_json())
    return _with_unread(finder, rows, lines)


def _with_unread(finder: Predictor, rows: Sequence[Row], lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many tokens of a text the model of entities did not read: none is found there."""
    read = [(row, line) for row, line in zip(rows, lines, strict=True) if isinstance(row, str) and "error" not in line]
    for (_, line), lost in zip(read, finder.unread([row for row, _ in read]).tolist(), strict=True):
        if lost:
            line["unread_tokens"] = lost
    return lines
