"""The test rows that robustness is measured on, and what the artefact answers to changed inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.artifact import score_rows
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.data.perturb.inputs import Piece, perturbed, pieces
from trustbase.data.template import TextTemplate
from trustbase.outputs.answers.base import answering, decided

VISIBLE = 0.1  # of a standard deviation of the training rows: a number that moves by more counts as another answer


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows that are changed.

    Attributes:
        rows: which test rows, `(rows,)`.
        asked: what the model is asked for each, `(rows,)`.
        parts: the same in parts, with what may be changed, `(rows,)`.
        changed: in words, what of an input may be changed.
        told: what the model answers to them unchanged.
        truth: of the form that `Split.labels` has.
    """

    rows: NDArray[np.int64]
    asked: list[str]
    parts: list[tuple[Piece, ...]]
    changed: str
    told: Answers
    truth: NDArray[np.generic]

    def __len__(self) -> int:
        return len(self.rows)

    def made(self, kind: str, seed: int, rate: float | None = None) -> list[str | None]:
        """Each input with one kind of change; None where it cannot be made, `(rows,)`."""
        return [perturbed(kind, parts, seed=seed, rate=rate) for parts in self.parts]


def sample_of(context: AuditContext) -> Sample:
    """At most as many rows as the budget says, the same ones for every part of the audit."""
    rows = sampled_rows(context, context.options.robustness.texts, "robustness")
    inputs, told = asked_inputs(context), context.answers
    template = _template(context)
    names = template.columns if template is not None else ()
    columns = [context.test.table[name].to_pylist() for name in names]
    asked = [inputs[row] for row in rows.tolist()]
    parts = [
        pieces(text, template, dict(zip(names, (column[row] for column in columns), strict=True)))
        for text, row in zip(asked, rows.tolist(), strict=True)
    ]
    words = "whole texts are changed" if template is None else "of a text only what columns say is changed, not the template's own words"
    return Sample(rows, asked, parts, words, picked(told, rows), context.test.labels[rows])


def _template(context: AuditContext) -> TextTemplate | None:
    """What makes a text of columns; None where a text is one column as it stands, or nobody says what makes it."""
    info = context.artifact
    if info is None or not info.text:
        return None
    template = TextTemplate.parse(info.text, None)
    known = set(context.test.table.column_names)
    return None if template.plain or template.entities or not set(template.columns) <= known else template


def answers_to(context: AuditContext, inputs: Sequence[str]) -> Answers:
    """What the artefact answers to inputs, under its own decision.

    Raises:
        PredictionError: some of them could not be answered.
    """
    if context.askers is None or context.artifact is None:
        raise ValueError("there is no model to ask")
    kind = context.artifact.answer_kind
    scores = score_rows(context.askers, inputs, context.emit)
    return Answers(scores, decided(scores, context.labels, context.decision, kind))


def turned(context: AuditContext, one: Answers, other: Answers) -> NDArray[np.bool_]:
    """Which rows are answered otherwise, bool `(rows,)`: by another label, another set of them, or a number that lies visibly elsewhere."""
    assert context.artifact is not None
    kind = answering(context.artifact.answer_kind)
    if context.artifact.answer_kind == "number":
        assert one.scores is not None and other.scores is not None
        return np.asarray(kind.differences(one.scores, other.scores, context.labels) > VISIBLE, dtype=bool)
    return kind.flips(one.predicted, other.predicted)


def picked(answers: Answers, rows: NDArray[np.int64] | Sequence[int]) -> Answers:
    """The answers to some of the rows."""
    places = np.asarray(rows, dtype=np.int64)
    return Answers(None if answers.scores is None else answers.scores[places], answers.predicted[places])
