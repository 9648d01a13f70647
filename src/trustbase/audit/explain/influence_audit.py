"""Which training rows teach the sampled answers, and whether what is told of it holds; nothing is learned again.

Row numbers and rows stay out of the evidence, which goes with a bundle: it holds how many rows an answer hangs on, and how far the foremost
ones are of the answer's own label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext
from trustbase.audit.explain.findings import mean_finding, too_few
from trustbase.audit.explain.influence import SOURCE, Floats, Lessons, foremost, taught
from trustbase.audit.explain.tokens import Tokens
from trustbase.audit.guard import LEAST_ROWS
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.errors import TrustbaseError
from trustbase.records import Finding, Split

_ID = "explanation.influence_check"
METRICS = (_ID,)
KINDS = ("classes",)
FOREMOST = 10  # training rows of an answer that are looked at
LESSONS = 1000  # training rows, at most
CONTROLS = 30  # training rows that are asked about as answers
FOUND = 0.9  # share of the controls that must find themselves among the foremost
_SELF = "a training row that is asked about must move its own answer most, among the first ten, apart from how much is left to learn of it"


@dataclass(frozen=True, eq=False)
class Taught:
    """What training rows do to answers.

    Attributes:
        values: `(answers, rows)`.
        labels: of the training rows, and `answered` of the answers.
        controls: share of the controls that found themselves.
        note: what must be said beside it.
    """

    values: Floats
    labels: NDArray[np.int64]
    answered: NDArray[np.int64]
    controls: float
    note: str


def influence_findings(context: AuditContext) -> list[Finding]:
    """How much oftener the foremost training rows of an answer have its label than training rows do; writes its evidence."""
    from trustbase.audit.explain.inside import no_inside

    assert context.predictor is not None
    how: dict[str, Any] = {"direction": "higher", "confidence": context.confidence}
    if why_not := no_inside(context.predictor.info):
        return [Finding.without_value(_ID, "not_applicable", f"nothing inside of this model is followed: {why_not}", **how)]
    if context.train is None:
        return [Finding.without_value(_ID, "insufficient", "needs the training rows, and none were given (--train)", **how)]
    try:
        found = _taught(context, context.train)
    except TrustbaseError as error:  # its layers are not found, or it cannot be asked with vectors
        return [Finding.without_value(_ID, "not_applicable", str(error), **how)]
    if found is None or len(found.labels) < context.minimum_cell or len(found.answered) < LEAST_ROWS:
        return [too_few(context, _ID, 0 if found is None else min(len(found.labels), len(found.answered)), "higher")]
    return [_told(context, found)]


def _told(context: AuditContext, found: Taught) -> Finding:
    tops = [foremost(row, FOREMOST) for row in found.values]
    own = [float((found.labels[top] == label).mean()) for top, label in zip(tops, found.answered, strict=True) if len(top)]
    usual = [float((found.labels == label).mean()) for top, label in zip(tops, found.answered, strict=True) if len(top)]
    evidence = {
        "training_rows": len(found.labels),
        "answers": len(own),
        "foremost": FOREMOST,
        "of_the_answers_label": float(np.mean(own)),
        "of_it_among_training_rows": float(np.mean(usual)),
        "effective_rows": float(np.mean(_effective(found.values))),
        "controls_found": found.controls,
        "controls_least": FOUND,
    }
    context.evidence.write("explanation.influence", evidence)
    if found.controls < FOUND:
        reason = f"the positive control was found in {found.controls:.0%} of the cases, and {FOUND:.0%} is the least: {_SELF}"
        return Finding.without_value(_ID, "insufficient", reason, n=len(own), direction="higher", confidence=context.confidence)
    said = (
        f"share of the {FOREMOST} training rows that speak most for an answer which have its label, less their share among "
        f"{len(found.labels)} training rows; {found.note}"
    )
    gains = [one - other for one, other in zip(own, usual, strict=True)]
    return mean_finding(context, _ID, gains, direction="higher", said=said, source=SOURCE, bounded=True)


def _effective(values: Floats) -> Floats:
    """On how many rows an answer hangs: one over the sum of squared shares of what they do, `(answers,)`.

    Source: Hill (1973), Diversity and evenness, Ecology 54 (order 2).
    """
    shares = np.abs(values) / np.maximum(np.abs(values).sum(1, keepdims=True), 1e-300)
    return np.asarray(1 / np.maximum((shares**2).sum(1), 1e-300))


def _taught(context: AuditContext, train: Split) -> Taught | None:
    """The sampled answers and training rows, followed from inside; None where too few can be."""
    from trustbase.audit.explain.gradient_features import gradient_features
    from trustbase.audit.explain.inside import opened

    assert context.predictor is not None
    lessons = sampled_rows(replace(context, test=train), LESSONS, "explanation", "lessons")
    answers = sampled_rows(context, context.options.explanation.texts, "explanation")
    taught_texts, asked_texts = asked_inputs(replace(context, test=train)), asked_inputs(context)
    with opened(context.predictor) as (inside, note):
        rows, row_tokens = _followed(inside.tokens([taught_texts[row] for row in lessons]), lessons)
        asked, asked_tokens = _followed(inside.tokens([asked_texts[row] for row in answers]), answers)
        if not len(rows) or not len(asked):
            return None
        labels, answered = train.labels[rows], context.answers.predicted[asked]
        inside.check(row_tokens[0], int(labels[0]))
        context.emit("progress", what="following training rows", done=0, total=len(rows))
        told = gradient_features(inside, row_tokens, labels.tolist(), seed=context.seed)
        sought = gradient_features(inside, asked_tokens, answered.tolist(), seed=context.seed)
        control = gradient_features(inside, row_tokens[:CONTROLS], labels[:CONTROLS].tolist(), seed=context.seed)
        context.emit("progress", what="following training rows", done=len(rows), total=len(rows))
    known = Lessons.of_classes(told.gradients, told.scores)
    found = _controls(known, control.gradients)
    return Taught(taught(known, sought.gradients), labels, answered, found, note)


def _controls(lessons: Lessons, asked: Floats) -> float:
    """Share of the first training rows that, asked about, are among those that move their own answer most, whatever is left to learn."""
    values = np.abs(taught(Lessons(lessons.features, np.ones(len(lessons.left)), lessons.bend), asked))
    own = values[np.arange(len(asked)), np.arange(len(asked))]
    before = (values > own[:, None] * (1 + 1e-6)).sum(axis=1)
    return float((before < FOREMOST).mean())


def _followed(found: Sequence[Tokens | str], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[Tokens]]:
    """Rows whose tokens are told, and these."""
    kept = [place for place, tokens in enumerate(found) if isinstance(tokens, Tokens)]
    return rows[kept], [tokens for tokens in found if isinstance(tokens, Tokens)]
