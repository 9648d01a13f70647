"""The quality audit of answers that are parts of a text: how many are exactly right, how many words of them are, and what rivals reach.

Findings are `quality.exact_match` and `.token_f1` of all rows, `.has_answer_exact_match` and `.has_answer_token_f1` of those that have an
answer, `.no_answer_accuracy` of those that have none, `.gain_over_…` in F1, and `.unknown_tokens`. `evidence/quality.json` holds the
numbers of both kinds of rows and the rivals.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.guard import guarded
from trustbase.audit.resampled import LEAST_UNITS
from trustbase.audit.rivals import no_gain
from trustbase.audit.seeds import over_seeds
from trustbase.audit.spans import fits, has_answer
from trustbase.audit.stats import Floats, Interval, bounded_mean, proportion
from trustbase.audit.unknown_tokens import unknown_tokens
from trustbase.recipe.lookup import rivals_of
from trustbase.records import Finding


def audit_span(context: AuditContext) -> list[Finding]:
    """All quality findings of answers that are parts of a text."""
    values, answerable = fits(context.answers.predicted, context.test), has_answer(context.test)
    everybody = np.ones(len(values), dtype=bool)
    parts = {
        "token_f1": (1, everybody),
        "exact_match": (0, everybody),
        "has_answer_token_f1": (1, answerable),
        "has_answer_exact_match": (0, answerable),
        "no_answer_accuracy": (0, ~answerable),
    }
    measured = {
        name: guarded(context, f"quality.{name}", "higher", partial(_share, context, name, values[rows, column], binary=column == 0))
        for name, (column, rows) in parts.items()
    }
    gains = {name: guarded(context, f"quality.gain_over_{name}", "higher", partial(_gain, context, name)) for name in rivals_of("span")}
    context.evidence.write("quality", _evidence(context, measured, gains, answerable))
    unknown = guarded(context, "quality.unknown_tokens", "lower", lambda: unknown_tokens(context))
    over = over_seeds(context, {"exact_match": partial(_reached, context, 0), "token_f1": partial(_reached, context, 1)}, "higher", "share")
    return [*measured.values(), *over, *gains.values(), unknown]


def _reached(context: AuditContext, column: int, answers: Answers) -> float:
    """The mean over the rows of what `audit.spans.fits` says of one model's answers."""
    return float(fits(answers.predicted, context.test)[:, column].mean())


def mean_interval(values: Floats, *, confidence: float, binary: bool) -> Interval:
    """The mean of numbers in [0, 1]: of zeros and ones by counting, of others by tilting."""
    if binary:
        return proportion(int(values.sum()), len(values), confidence=confidence)
    return bounded_mean(values, 0.0, 1.0, confidence=confidence)


def _share(context: AuditContext, name: str, values: Floats, *, binary: bool) -> Finding:
    id, shared = f"quality.{name}", _shared(context)
    which = {"has_answer": "rows have an answer", "no_answer_": "rows have none"}.get(name[:10], "rows")
    least = context.minimum_cell if which != "rows" else LEAST_UNITS
    if len(values) < least:
        return Finding.without_value(id, "insufficient", f"{len(values)} {which}, fewer than {least}", n=len(values), **shared)
    return mean_interval(values, confidence=context.confidence, binary=binary).finding(id, **shared)


def _shared(context: AuditContext, unit: str = "share") -> dict[str, Any]:
    return {"direction": "higher", "confidence": context.confidence, "unit": unit}


def _gain(context: AuditContext, name: str) -> Finding:
    """How much higher the model's mean F1 is than a rival's on the same rows, row by row; or why there is none."""
    id, rival = f"quality.gain_over_{name}", context.rivals.get(name)
    shared = _shared(context, "token F1")
    if rival is not None:
        apart = fits(context.answers.predicted, context.test)[:, 1] - fits(rival.predicted, context.test)[:, 1]
        return bounded_mean(apart, -1.0, 1.0, confidence=context.confidence).finding(id, **shared)
    return no_gain(context, name, id, shared)


def _evidence(
    context: AuditContext, measured: dict[str, Finding], gains: dict[str, Finding], answerable: NDArray[np.bool_]
) -> dict[str, Any]:
    told = np.array([bool(answer) for answer in context.answers.predicted])
    return {
        "decision": context.decision.to_json(),
        "answers": {
            "told_and_true": int((told & answerable).sum()),
            "told_where_none_is": int((told & ~answerable).sum()),
            "none_told_where_one_is": int((~told & answerable).sum()),
            "none_told_and_none_true": int((~told & ~answerable).sum()),
        },
        "measured": {name: {"value": item.value, "low": item.low, "high": item.high, "n": item.n} for name, item in measured.items()},
        "rivals": list(_rival_rows(context, gains)),
    }


def _rival_rows(context: AuditContext, gains: dict[str, Finding]) -> Iterable[dict[str, Any]]:
    for name, answers in (("model", context.answers), *context.rivals.items()):
        exact, values = fits(answers.predicted, context.test).T
        row: dict[str, Any] = {"name": name, "token_f1": float(values.mean()), "exact_match": float(exact.mean())}
        if len(values) >= LEAST_UNITS:
            found = mean_interval(values, confidence=context.confidence, binary=False)
            row |= {"low": found.low, "high": found.high}
        gain = gains.get(name)
        yield row if gain is None else row | {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
