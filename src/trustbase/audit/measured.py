"""A dimension made of parts: each measures some findings by itself, and what breaks in one leaves the others standing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.clustered import Entities
from trustbase.audit.context import AuditContext
from trustbase.audit.guard import attempt, failed
from trustbase.data.cells import inputs_of
from trustbase.model.options import portable_reference
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import Finding

Measure = Callable[[AuditContext], Sequence[Finding]]


@dataclass(frozen=True)
class Part:
    """What measures some findings of a dimension.

    Attributes:
        name: in the evidence, and of what is said while it works.
        metrics: ids that it owes, `dimension.metric` or with a variant; those that it does not return are `failed`.
        measure: what does it.
        kinds: answer kinds that it can be measured of; of others its findings are `not_applicable`.
        over: which test rows its intervals speak of, which matters where several are of one entity: `drawn` ones (`sampled_rows`: one of
            each entity), `every` row taken as independent, or none (`other`).
    """

    name: str
    metrics: tuple[str, ...]
    measure: Measure
    kinds: tuple[str, ...] = ("classes",)
    over: Literal["drawn", "every", "other"] = "other"


def measure_parts(context: AuditContext, dimension: str, parts: Sequence[Part], budget: Mapping[str, Any]) -> list[Finding]:
    """The findings of all parts; writes `evidence/DIMENSION.json` with the budget and what sharing one engine saved.

    Args:
        context: what is audited.
        dimension: whose parts these are.
        parts: in the order in which they measure.
        budget: the options of the dimension, as JSON; of paths of this machine only the last name is told.
    """
    found: list[Finding] = []
    asked: dict[str, Any] = {}
    for done, part in enumerate(parts):
        context.emit("progress", what=f"auditing {dimension}", done=done, total=len(parts))
        before = _counted(context)
        found += _measured(context, part)
        asked[part.name] = {name: value - before[name] for name, value in _counted(context).items()}
    context.emit("progress", what=f"auditing {dimension}", done=len(parts), total=len(parts))
    told = {name: portable_reference(value) if isinstance(value, str) else value for name, value in budget.items()}
    context.evidence.write(dimension, {"budget": told, "asked": asked})
    return found


def _counted(context: AuditContext) -> dict[str, int]:
    """Questions so far, and those of them that the model itself had to answer."""
    if context.askers is None:
        return {"questions": 0, "to_the_model": 0}
    counters = context.askers.counters
    return {"questions": counters.questions, "to_the_model": counters.unique}


def _measured(context: AuditContext, part: Part) -> list[Finding]:
    """What a part finds; `failed` findings of all that it owes and did not give; `not_applicable` ones where it has no sense."""
    if why := _senseless(context, part):
        return [Finding.without_value(id, "not_applicable", why, confidence=context.confidence) for id in part.metrics]
    made = attempt(context, part.name, lambda: list(part.measure(context)))
    found, reason = ([], made) if isinstance(made, str) else (made, "this part of the audit said nothing of it")
    told = {finding.id for finding in found}
    found = _of_entities(context, part, found)
    return found + [failed(context, id, "none", reason) for id in part.metrics if id not in told]


def _of_entities(context: AuditContext, part: Part, found: list[Finding]) -> list[Finding]:
    """The same findings; where several test rows are of one entity, their methods say which rows the intervals are over."""
    entities = None if part.over == "other" else Entities.of(context.test)
    if entities is None:
        return found
    number = f"{entities.number:,} entities"
    note = f"one row of each of {number}" if part.over == "drawn" else f"rows are taken as independent, although they are of {number}"

    def sampled(item: Finding) -> bool:
        return item.status == "insufficient" or (item.status == "ok" and item.low != item.high)

    return [replace(item, method="; ".join(filter(None, (item.method, note)))) if sampled(item) else item for item in found]


def _senseless(context: AuditContext, part: Part) -> str:
    """Why a part measures nothing of this model; empty where it does."""
    if context.predictor is None or context.artifact is None:
        return "answers were given without a model, so nothing can be asked"
    kind = context.artifact.answer_kind
    of = ", ".join(ANSWER_KINDS[name].of for name in part.kinds)
    return "" if kind in part.kinds else f"is measured of {of}, and this is {ANSWER_KINDS[kind].of if kind in ANSWER_KINDS else kind}"


def asked_inputs(context: AuditContext) -> list[str]:
    """What the model is asked for each test row, `(rows,)`."""
    columns = context.artifact.columns if context.artifact is not None else ()
    return [str(text) for text in inputs_of(context.test, columns)]


def sampled_rows(context: AuditContext, count: int, *names: str, one_each: bool = True) -> NDArray[np.int64]:
    """At most so many test rows with different inputs, drawn by their content, so that the order of the rows means nothing.

    Rows of one entity resemble each other: an interval over them as if each were drawn by itself would be far too narrow. So of each
    entity one row is drawn, and each entity is as likely to be among few as any other.

    Args:
        count: most rows.
        names: of the stream that draws them; equal names give equal rows.
        one_each: whether only one row of each entity is drawn; not where no interval is over these rows.
    """
    inputs = asked_inputs(context)
    salt = "\x1f".join([str(context.seed), *names, ""]).encode()

    def place(row: int, more: bytes = b"") -> bytes:
        return hashlib.sha256(salt + more + inputs[row].encode("utf-8", "surrogatepass")).digest()

    entities = Entities.of(context.test) if one_each else None
    if entities is None:
        first = dict[str, int]()
        for row, text in enumerate(inputs):
            first.setdefault(text, row)
        return np.array(sorted(first.values(), key=place)[:count], dtype=np.int64)
    drawn, asked, whose = list[int](), set[str](), set[int]()
    for row in sorted(range(len(inputs)), key=lambda row: (place(row), row)):
        entity = int(entities.codes[row])
        if inputs[row] not in asked and entity not in whose:
            drawn.append(row)
            asked.add(inputs[row])
            whose.add(entity)
    return np.array(sorted(drawn, key=lambda row: place(row, b"entity\x1f"))[:count], dtype=np.int64)
