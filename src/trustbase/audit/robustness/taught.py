"""How the answers depend on the training rows: a linear head on the artefact's embeddings is learned again without a part of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.audit.robustness import refit
from trustbase.audit.robustness.dependence import TRAINING, Floats, bounded, measured, places_of, unmeasured
from trustbase.outputs.answers.base import decided
from trustbase.records import Finding, Split

_ROWS = 1000  # training rows that are embedded: most of what this costs
_PARTS = 10
_MOST_PARTS = 20
_AGREEING = 0.8  # of the answers, from which a head speaks for the model


def of_training(context: AuditContext, rows: NDArray[np.int64], evidence: dict[str, Any]) -> Finding:
    """`#training`, of these test rows.

    Args:
        context: what is audited.
        rows: test rows.
        evidence: gets `training`: how often head and model agree, and the number of each part.
    """
    if status := _status(context):
        return unmeasured(context, TRAINING, *status)
    train = context.train
    assert train is not None and context.artifact is not None
    taught = sampled_rows(replace(context, test=train), _ROWS, "sensitivity", one_each=False)
    if len(taught) < context.minimum_cell:
        reason = f"{len(taught)} training rows, fewer than the minimum of {context.minimum_cell}"
        return unmeasured(context, TRAINING, "insufficient", reason)
    parts = _parts(train, taught, context.minimum_cell)
    told, others = refit.without(_embedded(context, train, taught, rows), parts)
    agreed = _agreed(context, told, rows)
    evidence["training"] = {"rows": len(taught), "agreement": agreed, "parts": []}
    if not others:
        return unmeasured(context, TRAINING, "insufficient", "without any part of the training rows one class is left")
    if agreed < _AGREEING:
        reason = f"a linear head on the embeddings agrees with the model in {agreed:.0%} of the rows, so it does not speak for it"
        return unmeasured(context, TRAINING, "insufficient", reason)
    places = places_of(context, rows)
    moved = {name: (100 * (said - told)[np.arange(len(rows)), places]) ** 2 for name, said in others.items()}
    evidence["training"]["parts"] = [
        {"part": name, "rows": int(parts[name].sum()), **bounded(context, values)} for name, values in moved.items()
    ]
    method = f"a linear head on the embeddings, learned again without each of {len(moved)} parts of {len(taught)} training rows"
    if len(taught) < len(train):
        method += f"; these were drawn of {len(train):,}, so a part weighs more here than among all of them"
    return measured(context, TRAINING, np.mean(list(moved.values()), axis=0), method, refit.SOURCE)


def _status(context: AuditContext) -> tuple[str, str] | None:
    """Status and reason where it cannot be measured."""
    info, predictor = context.artifact, context.predictor
    assert info is not None and predictor is not None
    if info.answer_kind == "labels":
        return "not_applicable", "is measured where a row has one label, or a number"
    if info.task == "multiple-choice":
        return "not_applicable", "the labels are places among choices, which no head on one embedding tells"
    if "embedding" not in predictor.runtime.outputs:
        return "not_applicable", "this model gives no embeddings"
    return ("insufficient", "needs the training rows, and none were given (--train)") if context.train is None else None


def _embedded(context: AuditContext, train: Split, taught: NDArray[np.int64], rows: NDArray[np.int64]) -> refit.Rows:
    assert context.askers is not None and context.artifact is not None
    inputs, lessons = asked_inputs(context), asked_inputs(replace(context, test=train))
    texts = [lessons[row] for row in taught] + [inputs[row] for row in rows]
    found = np.array(context.askers.ask("embedding", texts, what="embedding training rows", emit=context.emit), dtype=np.float64)
    classes = len(context.labels.names) if context.artifact.answer_kind == "classes" else 0
    truth = train.labels[taught]
    truth = truth if classes else (truth - context.labels.center) / context.labels.scale
    return refit.Rows(found[: len(taught)], truth, found[len(taught) :], classes)


def _agreed(context: AuditContext, told: Floats, rows: NDArray[np.int64]) -> float:
    """How often the head gives the model's answer; of numbers, how much of their variance it tells."""
    assert context.artifact is not None
    if context.artifact.answer_kind == "classes":
        return float((decided(told, context.labels, context.decision, "classes") == context.answers.predicted[rows]).mean())
    own = (context.answers.predicted[rows] - context.labels.center) / context.labels.scale
    return max(0.0, 1 - float(((own - told[:, 0]) ** 2).mean()) / max(float(own.var()), 1e-12))


def _parts(train: Split, taught: NDArray[np.int64], least: int) -> dict[str, NDArray[np.bool_]]:
    """Which of the drawn training rows belong to each part: their groups, the largest ones, or ten parts by content."""
    groups = {name: np.asarray(values)[taught] for name, values in train.groups.items()}
    named = {f"{column}={value}": values == value for column, values in groups.items() for value in sorted(set(values.tolist()))}
    fit = {name: part for name, part in named.items() if least <= part.sum() < len(taught)}
    if fit:
        first = sorted(fit, key=lambda name: (-int(fit[name].sum()), name))[:_MOST_PARTS]
        return {name: fit[name] for name in first}
    place = np.arange(len(taught)) % _PARTS  # they were drawn in the order of a digest of their content
    return {f"{number + 1}/{_PARTS}": place == number for number in range(_PARTS)}
