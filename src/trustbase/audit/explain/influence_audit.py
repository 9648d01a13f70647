"""Which training rows teach the sampled answers, and whether what is told of it holds where something is learned again: a linear head.

The model itself is not trained again. In its place a linear head on the artefact's embeddings is, without each of some random parts of the
training rows; what the model's own gradients told of these parts is held against how the head's scores moved. Row numbers and rows stay
out of the evidence, which goes with a bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.explain.agreement_over_parts import over_parts
from trustbase.audit.explain.findings import too_few
from trustbase.audit.explain.influence import SOURCE, Floats, Lessons, foremost, relative, taught
from trustbase.audit.explain.tokens import Tokens
from trustbase.audit.guard import LEAST_ROWS
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.audit.robustness import refit
from trustbase.audit.stats import Interval
from trustbase.errors import ModelError, UsageError
from trustbase.records import Finding, Split

_ID = "explanation.influence_check"
METRICS = (_ID,)
KINDS = ("classes",)
FOREMOST = 10  # training rows of an answer that are looked at
LESSONS = 1000  # training rows, at most
CONTROLS = 30  # training rows that are asked about as answers
PARTS = 20  # of the training rows, each a fifth of them, that a head is learned again without
AGREEING = 0.8  # of the answers, from which the head speaks for the model
FOUND = 0.9  # share of the controls that must find themselves among the foremost
_SELF = "a training row that is asked about must move its own answer most, among the first ten, apart from how much is left to learn of it"


@dataclass(frozen=True, eq=False)
class Taught:
    """What training rows do to answers.

    Attributes:
        rows, answers: which training and test rows these are.
        values: by how much the scores would fall without each training row, `(answers, rows)`.
        shares: the same relative to what each row does to all answers.
        controls: share of the controls that found themselves.
        note: what must be said beside it.
    """

    rows: NDArray[np.int64]
    answers: NDArray[np.int64]
    values: Floats
    shares: Floats
    controls: float
    note: str


def influence_findings(context: AuditContext) -> list[Finding]:
    """How far what is told of training rows agrees with what a head shows that is learned again without them; writes its evidence."""
    from trustbase.audit.explain.inside import no_inside

    assert context.predictor is not None
    how: dict[str, Any] = {"direction": "higher", "confidence": context.confidence}
    if why_not := no_inside(context.predictor.info):
        return [Finding.without_value(_ID, "not_applicable", f"nothing inside of this model is followed: {why_not}", **how)]
    if context.train is None:
        return [Finding.without_value(_ID, "insufficient", "needs the training rows, and none were given (--train)", **how)]
    try:
        found = _taught(context, context.train)
    except (UsageError, ModelError) as error:  # no weights, its layers are not found, or it cannot be asked with vectors
        return [Finding.without_value(_ID, "not_applicable", str(error), **how)]
    if found is None or len(found.rows) < context.minimum_cell or len(found.answers) < LEAST_ROWS:
        return [too_few(context, _ID, 0 if found is None else min(len(found.rows), len(found.answers)), "higher")]
    return [_told(context, context.train, found)]


def _told(context: AuditContext, train: Split, found: Taught) -> Finding:
    """The finding; writes the evidence."""
    agreement, agreeing = _learned_again(context, train, found)
    labels, answered = train.labels[found.rows], context.answers.predicted[found.answers]
    first = [foremost(row, FOREMOST) for row in found.shares]
    own = [float((labels[rows] == label).mean()) for rows, label in zip(first, answered, strict=True) if len(rows)]
    evidence = {
        "training_rows": len(found.rows),
        "answers": len(found.answers),
        "parts": PARTS,
        "head_agrees": agreeing,
        "foremost": FOREMOST,
        "of_the_answers_label": float(np.mean(own)) if own else None,
        "of_it_among_training_rows": float(np.mean([(labels == label).mean() for label in answered])),
        "effective_rows": float(np.mean(_effective(found.values))),
        "controls_found": found.controls,
        "controls_least": FOUND,
    }
    context.evidence.write("explanation.influence", evidence)
    reason = ""
    if found.controls < FOUND:
        reason = f"the positive control was found in {found.controls:.0%} of the cases, and {FOUND:.0%} is the least: {_SELF}"
    elif agreeing < AGREEING:
        reason = f"a linear head on the embeddings agrees with the model in {agreeing:.0%} of the rows, so it does not speak for it"
    if reason:
        n = agreement.n if agreement is not None else len(found.answers)
        return Finding.without_value(_ID, "insufficient", reason, n=n, direction="higher", confidence=context.confidence)
    if agreement is None or agreement.n < LEAST_ROWS:
        return too_few(context, _ID, 0 if agreement is None else agreement.n, "higher")
    said = (
        f"rank correlation, over {PARTS} random parts of {len(found.rows)} training rows, of what the model's gradients tell of a part "
        f"with how the score moves when a linear head on its embeddings is learned again without it; {found.note}"
    )
    made = agreement.finding(_ID, direction="higher", confidence=context.confidence, seed=context.seed)
    return replace(made, method=f"{said}; {made.method}", source=f"{SOURCE}; {refit.SOURCE}; {made.source}")


def _learned_again(context: AuditContext, train: Split, found: Taught) -> tuple[Interval | None, float]:
    """How far told and real falls agree over the parts, on average over answers; and how often the head answers as the model does."""
    assert context.askers is not None
    lessons, inputs = asked_inputs(replace(context, test=train)), asked_inputs(context)
    texts = [lessons[row] for row in found.rows] + [inputs[row] for row in found.answers]
    known = np.array(context.askers.ask("embedding", texts, what="embedding training rows", emit=context.emit), dtype=np.float64)
    count, answered = len(found.rows), context.answers.predicted[found.answers]
    rows = refit.Rows(known[:count], train.labels[found.rows], known[count:], len(context.labels.names)).scaled()
    penalty = refit.penalty_of(rows)
    whole = refit.told(rows, np.ones(count, dtype=bool), penalty)
    rng = seeds.generator(context.seed, "explanation", "influence parts")
    told, real = [], []
    for part in (rng.permutation(count)[: max(1, count // 5)] for _ in range(PARTS)):
        kept = np.ones(count, dtype=bool)
        kept[part] = False
        without = refit.told(rows, kept, penalty)
        if whole is not None and without is not None:
            told.append(found.values[:, part].sum(axis=1))
            real.append(_odds(whole, answered) - _odds(without, answered))
    if whole is None or not told:
        return None, 0.0
    agreement = over_parts(np.array(told), np.array(real), confidence=context.confidence)
    return agreement, float((whole.argmax(1) == answered).mean())


def _odds(scores: Floats, answered: NDArray[np.int64]) -> Floats:
    """Log-odds of these answers, `(rows,)`."""
    chance = np.clip(scores[np.arange(len(scores)), answered], 1e-12, 1 - 1e-12)
    return np.asarray(np.log(chance / (1 - chance)))


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
    lessons = sampled_rows(replace(context, test=train), LESSONS, "explanation", "lessons", one_each=False)
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
    return Taught(rows, asked, taught(known, sought.gradients), relative(known, sought.gradients), found, note)


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
