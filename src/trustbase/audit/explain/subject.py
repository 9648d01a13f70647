"""What is explained of an input: its units, and whose score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext
from trustbase.audit.explain import units
from trustbase.audit.explain.units import Units
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.data.cells import Reading
from trustbase.outputs.answers.base import decided
from trustbase.records import ArtifactInfo

KINDS = ("classes", "labels", "number")  # answers that are one score, or one of several
Item = Mapping[str, Any]  # `{"text": what the model is asked, "row": its cells by column, or null where the units are words}`


def by_words(reading: Reading) -> bool:
    """Whether the units of an input are words of its text, and not the columns of a template."""
    template = reading.template
    return bool(template.entities) or all(side.plain for side in (template.sides or (template,)))


def units_of(reading: Reading, asked: str, row: Mapping[str, Any] | None, *, characters: bool = False) -> Units:
    """What of an input can be left out.

    Args:
        reading: how a row becomes an input.
        asked: the input.
        row: its cells by column; words are the units where there are none.
        characters: whether each character is a unit.
    """
    if row is None or by_words(reading):
        return units.words(asked, characters=characters, columns=reading.columns)
    return units.fields(row, reading)


def target_of(scores: NDArray[np.float64], info: ArtifactInfo) -> int:
    """Whose score is explained where nobody says it: of classes the answer's, of several labels the highest."""
    return int(decided(scores[None], info.labels, info.decision, "classes")[0]) if info.answer_kind == "classes" else int(scores.argmax())


def items_of(context: AuditContext, count: int) -> list[Item]:
    """At most so many test rows as what explains them is asked; the first of more are those of fewer."""
    assert context.artifact is not None
    reading, inputs = Reading.of(context.artifact), asked_inputs(context)
    rows = sampled_rows(context, count, "explanation").tolist()
    if by_words(reading) or not set(reading.needed) <= set(context.test.table.column_names):
        return [{"text": inputs[row], "row": None} for row in rows]
    cells: Sequence[Mapping[str, Any]] = context.test.table.select(list(reading.needed)).take(rows).to_pylist()
    return [{"text": inputs[row], "row": dict(each)} for row, each in zip(rows, cells, strict=True)]
