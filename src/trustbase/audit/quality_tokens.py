"""The quality audit of entities: F1, precision and recall of all and of each type, what kinds of errors there are, and rivals.

Findings are `quality.entity_f1`, `.entity_precision`, `.entity_recall`, `.log_loss`, `.gain_over_…`, `.unknown_tokens`, `.unread_units`,
and precision, recall and F1 of each type. `evidence/quality.json` holds the table of types, the table of errors and the rivals.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from trustbase import seeds
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.entities import STATISTICS, f1, fates, interval, mixed_up, sums_of
from trustbase.audit.guard import guarded
from trustbase.audit.quality import slice_id
from trustbase.audit.ratios import share_of
from trustbase.audit.resampled import LEAST_TURNED, LEAST_UNITS, of_sums
from trustbase.audit.rivals import no_gain
from trustbase.audit.seeds import over_seeds
from trustbase.audit.stats import Floats, Interval, proportion
from trustbase.audit.unknown_tokens import unknown_tokens
from trustbase.data.tags import tags_of, types_of
from trustbase.data.units import touched
from trustbase.recipe.lookup import rivals_of
from trustbase.records import Finding

_BOUNDS = 2  # columns of a table of scores before its probabilities
_NO_MODEL = "answers were given without a model, so there is no tokenizer to ask"
_LEAST_SCORE = float(np.finfo(np.float64).eps)


def audit_tokens(context: AuditContext) -> list[Finding]:
    """All quality findings of entities."""
    whole = [guarded(context, f"quality.entity_{name}", "higher", partial(_whole, context, name)) for name in STATISTICS]
    each = {name: _of_type(context, name) for name in types_of(context.labels.names)}
    gains = {name: guarded(context, f"quality.gain_over_{name}", "higher", partial(_gain, context, name)) for name in rivals_of("tokens")}
    context.evidence.write("quality", _evidence(context, each, gains))
    return [
        *whole,
        *over_seeds(context, {"entity_f1": partial(_reached, context)}, "higher", "share"),
        guarded(context, "quality.log_loss", "lower", lambda: _log_loss(context)),
        *gains.values(),
        guarded(context, "quality.unknown_tokens", "lower", lambda: unknown_tokens(context)),
        guarded(context, "quality.unread_units", "lower", lambda: _unread(context)),
        *(finding for findings in each.values() for finding in findings),
    ]


def _shared(context: AuditContext, unit: str = "share") -> dict[str, Any]:
    return {"direction": "higher", "confidence": context.confidence, "unit": unit}


def _whole(context: AuditContext, name: str) -> Finding:
    return _measured(context, f"quality.entity_{name}", name, sums_of(context.answers.predicted, context.test.labels), least=1)


def _reached(context: AuditContext, answers: Answers) -> float:
    """F1 of one model's answers; 0 where there is nothing to find and nothing is told, of which no F1 speaks."""
    return float(np.nan_to_num(f1(sums_of(answers.predicted, context.test.labels).sum(axis=0))))


def _measured(context: AuditContext, id: str, name: str, sums: Floats, *, least: int) -> Finding:
    """A statistic of entities with its interval; `insufficient` where there are too few of what it speaks of."""
    _, told, true = (int(total) for total in sums.sum(axis=0))
    of_f1 = min((true, "true"), (told, "answered"), key=lambda each: each[0]) if least > 1 else (true, "true")
    n, which = {"precision": (told, "answered"), "recall": (true, "true"), "f1": of_f1}[name]
    if n < least:
        return Finding.without_value(id, "insufficient", f"{n} {which} entities, fewer than {least}", n=n, **_shared(context))
    if len(sums) < LEAST_UNITS:
        return Finding.without_value(id, "insufficient", f"{len(sums)} rows, fewer than {LEAST_UNITS}", n=n, **_shared(context))
    found = interval(sums, STATISTICS[name], rng=seeds.generator(context.seed, "quality", id), confidence=context.confidence)
    return found.finding(id, seed=context.seed, **_shared(context))


def _of_type(context: AuditContext, label: str) -> list[Finding]:
    sums, found = sums_of(context.answers.predicted, context.test.labels, label), []
    for name in ("precision", "recall", "f1"):
        id = slice_id("quality", name, (("label", label),))
        if id is not None:  # a type that the id grammar cannot hold stands in the evidence alone
            measure = partial(_measured, context, id, name, sums, least=context.minimum_cell)
            found.append(guarded(context, id, "higher", measure))
    return found


def _log_loss(context: AuditContext) -> Finding:
    """Mean over the units of the negative log-probability of the true tag; rows are resampled."""
    shared: dict[str, Any] = {**_shared(context, "nats a unit"), "direction": "lower"}
    scores = context.answers.scores
    if scores is None:
        return Finding.without_value("quality.log_loss", "not_applicable", "only answers were given, no scores", **shared)
    rows = []
    for table, entities in zip(scores, context.test.labels, strict=True):
        bounds = table[:, :_BOUNDS].astype(np.int64)
        spans = [(*touched(bounds, start, end), name) for start, end, name in entities]
        tags = tags_of(spans, len(table), context.labels.names)
        own = np.clip(table[np.arange(len(table)), _BOUNDS + tags], _LEAST_SCORE, None)
        rows.append((-np.log(own).sum(), len(table)))
    sums = np.array(rows, dtype=np.float64)
    rng = seeds.generator(context.seed, "quality", "log_loss")
    found = of_sums(sums, lambda total: total[..., 0] / total[..., 1], rng=rng, confidence=context.confidence, least=0.0, n=len(sums))
    return found.finding("quality.log_loss", seed=context.seed, **shared)


def _unread(context: AuditContext) -> Finding:
    """Share of the test rows' units that the model does not read, as they lie beyond its longest text."""
    id, shared = "quality.unread_units", {**_shared(context), "direction": "lower"}
    if context.predictor is None or context.artifact is None or context.predictor.tokenizer is None:
        return Finding.without_value(id, "not_applicable", _NO_MODEL, **shared)
    from trustbase.model.sequencer import Sequencer
    from trustbase.model.token_units import unread

    reading = Sequencer.of(context.artifact)
    encoded = reading.encode(context.predictor.tokenizer, list(context.test.texts))
    lost = unread(encoded)
    found = share_of(lost, np.diff(encoded.row_units), confidence=context.confidence)
    if lost.any():
        why = f"they lie beyond {reading.max_length} tokens" if reading.stride is None else "they are nothing to the tokenizer"
        text = f"{found.value:.1%} of the words of the test texts are not read ({why})"
        context.emit("warning", text=f"{text}: entities there count as missed", finding=id)
    return found.finding(id, **shared)


def _gain(context: AuditContext, name: str) -> Finding:
    """How much higher the model's F1 is than a rival's on the same rows, which are resampled together; or why there is none."""
    id, rival = f"quality.gain_over_{name}", context.rivals.get(name)
    shared = _shared(context, "entity F1")
    if rival is not None:
        truth = context.test.labels
        both = np.concatenate([sums_of(context.answers.predicted, truth), sums_of(rival.predicted, truth)], axis=1)
        turned, n = int((both[:, :3] != both[:, 3:]).any(axis=1).sum()), int(both[:, 2].sum())
        if not turned:
            return _no_difference(both, context.confidence).finding(id, **shared)
        if turned < LEAST_TURNED:  # drawing them again does not show how few they are
            few = f"{turned} rows tell model and rival apart, fewer than {LEAST_TURNED}"
            return Finding.without_value(id, "insufficient", few, n=n, **shared)
        rng = seeds.generator(context.seed, "quality", id)
        found = of_sums(both, _difference, rng=rng, confidence=context.confidence, least=-1.0, most=1.0, n=n)
        return found.finding(id, seed=context.seed, **shared)
    return no_gain(context, name, id, shared)


def _no_difference(sums: Floats, confidence: float) -> Interval:
    """Two models that did alike on every row, of which resampling would make certainty: as many rows as go unseen may set them apart."""
    told = int((sums[:, 1:3] > 0).any(axis=1).sum())
    bound = proportion(0, told, confidence=confidence)
    method = f"all alike: bound from the share of hits among the {told} rows with an entity: {bound.method}"
    return Interval(-bound.high, bound.high, method, bound.source, 0.0, int(sums[:, 2].sum()))


def _difference(sums: Floats) -> Floats:
    return f1(sums[..., :3]) - f1(sums[..., 3:])


def _evidence(context: AuditContext, each: dict[str, list[Finding]], gains: dict[str, Finding]) -> dict[str, Any]:
    told, truth = context.answers.predicted, context.test.labels
    of_true, of_told = fates(told, truth)
    return {
        "labels": list(each),
        "decision": context.decision.to_json(),
        "classes": [_type_row(context, label, findings) for label, findings in each.items()],
        "entity_errors": {"true": of_true, "answered": of_told, "mixed_up": mixed_up(told, truth)},
        "rivals": list(_rival_rows(context, gains)),
    }


def _type_row(context: AuditContext, label: str, findings: list[Finding]) -> dict[str, Any]:
    sums = sums_of(context.answers.predicted, context.test.labels, label).sum(axis=0)
    row: dict[str, Any] = {"label": label, "n": int(sums[2])}
    measured = {finding.parts.metric: finding for finding in findings if finding.status == "ok"}
    for name, statistic in STATISTICS.items():
        value, found = float(statistic(sums)), measured.get(name)
        low, high = (found.low, found.high) if found is not None else (None, None)
        row |= {name: value if np.isfinite(value) else None, f"{name}_low": low, f"{name}_high": high}
    return row


def _rival_rows(context: AuditContext, gains: dict[str, Finding]) -> Iterable[dict[str, Any]]:
    for name, answers in (("model", context.answers), *context.rivals.items()):
        sums = sums_of(answers.predicted, context.test.labels)
        found = _f1_of(context, name, sums)
        row: dict[str, Any] = {"name": name}
        if found is not None:
            recall = float(sums.sum(axis=0)[0] / sums.sum(axis=0)[2]) if sums.sum(axis=0)[2] else None
            row |= {"entity_f1": found.value, "low": found.low, "high": found.high, "entity_recall": recall}
        gain = gains.get(name)
        yield row if gain is None else row | {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}


def _f1_of(context: AuditContext, name: str, sums: Floats) -> Interval | None:
    if len(sums) < LEAST_UNITS or not np.isfinite(f1(sums.sum(axis=0))):
        return None
    return interval(sums, f1, rng=seeds.generator(context.seed, "quality", "rival", name), confidence=context.confidence)
