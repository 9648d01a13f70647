"""Directional expectations: how the score of a label should move when a text is denied, said more strongly, or as users wrote down.

What labels mean is not known here, so little is claimed. Looked at are short test rows of one word that praises or blames
(`data.perturb.polar`), and the score of their true label, which is of what they say:

- `#negation`: denying such a statement must not raise that score by more than the margin. Where the true labels of these rows follow
  praise and blame (exact test), denial must lower it by more than the margin.
- `#intensifier`: saying it more strongly must not lower it by more than the margin.

Rows whose score could not move so far are left out. `#NAME` of a file of the user's own: the share of its texts or pairs that fail; nothing
was sampled for it. `evidence/robustness.expectations.json` holds all of them, without any text.

Source: Ribeiro et al. (2020), "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList", ACL, section 2.2 (directional tests).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats as tests

from trustbase.audit.catalogue import EXPECTATIONS
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.guard import guarded
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.audit.robustness.expectations import ExpectationOptions, Text
from trustbase.audit.robustness.sample import VISIBLE, answers_to, turned
from trustbase.audit.stats import proportion
from trustbase.data.cells import Reading
from trustbase.data.perturb.polar import Statement, read_statement
from trustbase.finding_id import make
from trustbase.records import Finding

METRICS = tuple(f"robustness.expectation_failures#{name}" for name in EXPECTATIONS)
MARGIN = 0.1  # of a probability
_SOURCE = "Ribeiro et al. (2020), ACL, section 2.2"
_LEAST_SIDE, _LEAST_AGREEING, _LEVEL = 10, 0.8, 0.01  # from which labels are said to follow praise and blame

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Statements:
    """Test rows that are short statements, with the scores of their true labels.

    Attributes:
        asked: the rows, `(rows,)`.
        read: what each says, `(rows,)`.
        truth: true labels.
        before: score of the true label of each.
    """

    asked: list[str]
    read: list[Statement]
    truth: NDArray[np.int64]
    before: Floats

    def some(self, rows: Bools) -> _Statements:
        places = np.flatnonzero(rows).tolist()
        asked, read = [self.asked[place] for place in places], [self.read[place] for place in places]
        return _Statements(asked, read, self.truth[rows], self.before[rows])


def measure_expectations(context: AuditContext) -> list[Finding]:
    """Both expectations of every audit, and those of the user's file."""
    assert context.artifact is not None
    own = [] if context.expectations is None else [_guarded(context, item) for item in context.expectations.wanted]
    if context.artifact.answer_kind == "classes":
        found = _of_statements(context)
    else:
        why = "what denial does to sets of labels and to numbers cannot be told without knowing what they mean"
        found = [_without(context, name, "not_applicable", why) for name in EXPECTATIONS]
    rows = [
        {"name": item.parts.variant, "n": item.n, "value": item.value, "low": item.low, "high": item.high, "status": item.status}
        for item in (*found, *own)
    ]
    named = {} if context.expectations is None else {"file": context.expectations.file, "digest": context.expectations.digest}
    context.evidence.write("robustness.expectations", {"margin": MARGIN, **named, "expectations": rows})
    return [*found, *own]


def _of_statements(context: AuditContext) -> list[Finding]:
    rows = _statements(context)
    reason = f"no test row is a short statement of one word that praises or blames, of {len(set(asked_inputs(context)))} different ones"
    if not rows.asked:
        return [_without(context, name, "not_applicable", reason) for name in EXPECTATIONS]
    blind = _blind(context, rows)
    polar = _polar(rows)
    if polar is not None:
        denied = rows.some(polar & (rows.before > MARGIN))
        what = (
            f"denied, the score of the true label must fall by more than {MARGIN:g}, as true labels follow praise and blame in these rows"
        )
    else:
        denied = rows.some(rows.before < 1 - MARGIN)
        what = f"denied, the score of the true label may not rise by more than {MARGIN:g}"
    stronger = rows.some((rows.before > MARGIN) & np.array([item.stronger is not None for item in rows.read]))
    return [
        _counted(
            context, "negation", denied, [item.denied for item in denied.read], what, blind, "falls" if polar is not None else "stays"
        ),
        _counted(
            context,
            "intensifier",
            stronger,
            [item.stronger or "" for item in stronger.read],
            f"said more strongly (very, 非常), the score of the true label may not fall by more than {MARGIN:g}",
            blind,
            "holds",
        ),
    ]


def _statements(context: AuditContext) -> _Statements:
    """At most as many statements as the budget says, of the whole of the test rows."""
    inputs, scores = asked_inputs(context), context.answers.scores
    assert scores is not None
    rows: list[int] = []
    read: list[Statement] = []
    for row in sampled_rows(context, len(inputs), "robustness").tolist():
        said = read_statement(inputs[row])
        if said is not None and len(rows) < context.options.robustness.texts:
            rows.append(row)
            read.append(said)
    truth = np.asarray(context.test.labels, dtype=np.int64)[rows]
    return _Statements([inputs[row] for row in rows], read, truth, np.asarray(scores[rows, truth], dtype=np.float64))


def _polar(rows: _Statements) -> Bools | None:
    """Rows whose true label is that of most rows which praise (or blame) as they do, where labels follow that; None where they do not."""
    praises = np.array([item.praises for item in rows.read], dtype=bool)
    if min(praises.sum(), (~praises).sum()) < _LEAST_SIDE:
        return None
    good, bad = (int(np.bincount(rows.truth[side]).argmax()) for side in (praises, ~praises))
    follows = rows.truth == np.where(praises, good, bad)
    told = rows.truth == good
    table = [[int((praises & told).sum()), int((praises & ~told).sum())], [int((~praises & told).sum()), int((~praises & ~told).sum())]]
    agree = min(follows[praises].mean(), follows[~praises].mean()) >= _LEAST_AGREEING
    return follows if good != bad and agree and tests.fisher_exact(table).pvalue < _LEVEL else None


def _blind(context: AuditContext, rows: _Statements) -> str:
    """The positive control: why a score that moves would not be seen here; "" where it is.

    A row is asked as another whose score of the same label is known to lie further away than the margin; each must be seen to move.
    """
    scores = context.answers.scores
    assert scores is not None
    known = {text: row for row, text in reversed(list(enumerate(asked_inputs(context))))}
    own = np.array([known[text] for text in rows.asked])
    lowest, highest = (int(way(scores[own, int(rows.truth[0])])) for way in (np.argmin, np.argmax))
    label = int(rows.truth[0])
    if float(scores[own[highest], label] - scores[own[lowest], label]) <= MARGIN:
        return f"the scores of all these rows lie within {MARGIN:g}, so whether a score moves cannot be told"
    again = answers_to(context, [rows.asked[highest], rows.asked[lowest]])
    assert again.scores is not None
    seen = float(again.scores[0, label] - again.scores[1, label]) > MARGIN
    return "" if seen else "a score that is known to move did not when it was asked again"


def _counted(context: AuditContext, name: str, rows: _Statements, changed: Sequence[str], what: str, blind: str, rule: str) -> Finding:
    if blind:
        return _without(context, name, "insufficient", blind)
    if len(rows.asked) < context.minimum_cell:
        of = f"{len(rows.asked)} test rows are short statements whose score could move so far"
        return _without(context, name, "insufficient", f"only {of}, fewer than {context.minimum_cell}", n=len(rows.asked))
    told = answers_to(context, changed)
    assert told.scores is not None
    moved = told.scores[np.arange(len(changed)), rows.truth] - rows.before
    failed = {"falls": moved >= -MARGIN, "stays": moved > MARGIN, "holds": moved < -MARGIN}[rule]
    interval = proportion(int(failed.sum()), len(failed), confidence=context.confidence)
    interval = replace(interval, method=f"{what}; {len(failed)} short statements among the test rows; {interval.method}")
    interval = replace(interval, source=f"{_SOURCE}; {interval.source}")
    id = make("robustness", "expectation_failures", variant=name)
    return interval.finding(id, direction="lower", confidence=context.confidence, unit="share", seed=context.seed)


def _guarded(context: AuditContext, item: ExpectationOptions) -> Finding:
    """One expectation of a user: where it cannot be asked, the others still are."""
    return guarded(context, make("robustness", "expectation_failures", variant=item.name), "lower", lambda: _of_user(context, item))


def _of_user(context: AuditContext, item: ExpectationOptions) -> Finding:
    """The share of a user's texts or pairs that fail; exact, as these are all that there are."""
    texts = [text for pair in item.pairs for text in pair] if item.moves else list(item.texts)
    try:
        told = answers_to(context, [_asked(context, text) for text in texts])
    except ValueError as error:
        return _without(context, item.name, "not_applicable", str(error))
    failed = _failed_pairs(context, item, told) if item.moves else _other_label(context, item.expect, told)
    of = f"{len(failed)} {'pairs' if item.moves else 'texts'} of the user's own file"
    wanted = (
        f"expected: '{item.expect}'" + (f" of '{item.label}'" if item.label else "") + (f", margin {item.margin:g}" if item.margin else "")
    )
    id = make("robustness", "expectation_failures", variant=item.name)
    method = f"share that fails of {of}; {wanted}; all of them were asked, so nothing was sampled"
    shared: dict[str, Any] = {"direction": "lower", "confidence": context.confidence, "unit": "share"}
    return Finding.exact(id, float(failed.mean()), n=len(failed), method=method, source=_SOURCE, **shared)


def _asked(context: AuditContext, text: Text) -> str:
    """What the model is asked for a text, or for a row of its own columns.

    Raises:
        ValueError: a text alone, of a model that reads more.
    """
    assert context.artifact is not None
    if isinstance(text, str):
        reading = Reading.of(context.artifact)
        if reading.columns or reading.template.sides or reading.template.entities:
            raise ValueError(f"this model reads more than a text: write rows of its columns, {', '.join(reading.needed)}")
        return text
    return Reading.of(context.artifact).render(text)


def _failed_pairs(context: AuditContext, item: ExpectationOptions, told: Answers) -> Bools:
    first = Answers(None if told.scores is None else told.scores[::2], told.predicted[::2])
    second = Answers(None if told.scores is None else told.scores[1::2], told.predicted[1::2])
    assert context.artifact is not None and first.scores is not None and second.scores is not None
    number = context.artifact.answer_kind == "number"
    if item.expect == "same" and item.label is None and not number:
        return turned(context, first, second)
    column = 0 if number else context.labels.index(str(item.label))
    scale = context.labels.scale if number else 1.0
    moved = (second.scores[:, column] - first.scores[:, column]) / scale
    least = (item.margin or VISIBLE) if number and item.expect == "same" else item.margin
    failed = {
        "same": np.abs(moved) > least,
        "higher": moved <= least,
        "lower": moved >= -least,
        "not_higher": moved > least,
        "not_lower": moved < -least,
    }
    return np.asarray(failed[item.expect], dtype=bool)


def _other_label(context: AuditContext, label: str, told: Answers) -> Bools:
    """Texts that are not answered with a label; where a text may have several, without it among them."""
    place = context.labels.index(label)
    right = told.predicted[:, place] if told.predicted.ndim == 2 else told.predicted == place
    return ~np.asarray(right, dtype=bool)


def _without(context: AuditContext, name: str, status: Any, reason: str, n: int | None = None) -> Finding:
    id = make("robustness", "expectation_failures", variant=name)
    return Finding.without_value(id, status, reason, n=n, direction="lower", confidence=context.confidence)
