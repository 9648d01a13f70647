"""Dependence D(θ): the mean squared change of the answer's score when what it hangs on moves a little.

All of it is in one unit, so that it compares: squared percentage points of the probability of the shipped answer (of sets of labels, summed
over labels; of a number, squared hundredths of the spread of the training rows).

- `robustness.sensitivity`: what is read moves: the embeddings of the input, by random noise of 1 % of their size; to first order.
- `#parameters`: the weights move, every tensor by random noise of 1 % of its size; to first order, the sum over layers.
- `#precision`: the same weights compute in fp32, or, where the artefact does that itself, in bf16; as measured.
- `#training`: a part of the training rows is missing (`taught.py`). Parts are the groups that the training rows name, or ten parts by
  content where they name none.

The first two are white-box, of the fp32 weights, and are checked in the same run: a small step along the gradient must move the score as
far as the gradient says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files, seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.guard import attempt, failed
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.audit.robustness import gradients
from trustbase.audit.robustness.dependence import (
    INPUTS,
    PARAMETERS,
    PRECISION,
    TRAINING,
    Floats,
    bounded,
    measured,
    places_of,
    unit_of,
    unmeasured,
)
from trustbase.audit.robustness.taught import of_training
from trustbase.errors import UsageError
from trustbase.recipe.lookup import RUNTIMES
from trustbase.records import ArtifactInfo, Finding

KINDS = ("classes", "labels", "number")
METRICS = (INPUTS, PARAMETERS, PRECISION, TRAINING)

_CHECKED = 5  # rows, those that move most
_STEP = 0.01  # of the embeddings' size
_NEAR = 0.2  # share by which gradient and step may differ
_LEAST = 1e-5  # change of a score that single precision still tells


def measure_sensitivity(context: AuditContext) -> list[Finding]:
    """The four numbers; writes `evidence/robustness.sensitivity.json`."""
    rows = sampled_rows(context, context.options.robustness.sensitivity_texts, "sensitivity")
    if len(rows) < context.minimum_cell:
        reason = f"{len(rows)} distinct test texts, fewer than the minimum of {context.minimum_cell}"
        return [unmeasured(context, id, "insufficient", reason) for id in METRICS]
    evidence: dict[str, Any] = {"texts": len(rows), "unit": unit_of(context)}
    found = _guarded(context, (INPUTS, PARAMETERS), lambda: _of_gradients(context, rows, evidence))
    found += _guarded(context, (PRECISION,), lambda: [_of_precision(context, rows, evidence)])
    found += _guarded(context, (TRAINING,), lambda: [of_training(context, rows, evidence)])
    context.evidence.write("robustness.sensitivity", evidence)
    return found


def _guarded(context: AuditContext, ids: Sequence[str], measure: Callable[[], list[Finding]]) -> list[Finding]:
    """What is measured; one that breaks leaves the others."""
    made = attempt(context, ids[0], measure)
    return [failed(context, id, "lower", made) for id in ids] if isinstance(made, str) else made


def _of_gradients(context: AuditContext, rows: NDArray[np.int64], evidence: dict[str, Any]) -> list[Finding]:
    """Inputs and parameters, by the gradients of each row."""
    assert context.predictor is not None and context.artifact is not None
    if why := _unlent(context.artifact):
        return [unmeasured(context, id, "not_applicable", why) for id in (INPUTS, PARAMETERS)]
    kind, inputs = context.artifact.answer_kind, asked_inputs(context)
    texts = [inputs[row] for row in rows]
    with context.predictor.white_box() as box:
        moved, checks = _traced(context, box, texts, places_of(context, rows) if kind == "classes" else None)
        note = box.note
    evidence["control"] = [{"by_the_gradient": told, "by_a_step": seen} for told, seen in checks]
    layers = {name: np.array([one.layers[name] for one in moved]) for name in moved[0].layers}
    evidence["layers"] = [{"layer": name, **bounded(context, values)} for name, values in layers.items()]
    if why := _unchecked(checks):
        return [unmeasured(context, id, "insufficient", why) for id in (INPUTS, PARAMETERS)]
    method, read = f"noise of 1 % of their size, to first order; {note}", np.array([one.inputs for one in moved])
    return [
        measured(context, INPUTS, read, f"embeddings of the input: {method}", gradients.SOURCE),
        measured(context, PARAMETERS, np.sum(list(layers.values()), axis=0), f"weights of all layers: {method}", gradients.SOURCE),
    ]


def _unlent(info: ArtifactInfo) -> str:
    """Why there are no torch weights to lend; empty where there are."""
    if not RUNTIMES[info.runtime].tokens:
        return f"runtime '{info.runtime}' has no torch weights"
    return f"the answer is the mean of {info.members} models, so there is no one model to lend" if info.members > 1 else ""


def _traced(
    context: AuditContext, box: Any, texts: Sequence[str], answers: NDArray[np.int64] | None
) -> tuple[list[gradients.Moved], list[tuple[float, float]]]:
    """What noise does to each row, and the checks of those that move most."""
    import torch

    assert context.predictor is not None and context.artifact is not None
    whose: list[int | None] = [None] * len(texts) if answers is None else answers.tolist()

    def signs(place: int) -> np.random.Generator:
        return seeds.generator(context.seed, "sensitivity", files.digest_json(texts[place]))

    encoded, pad_id = context.predictor.runtime.prepare(texts), int(box.tokenizer.pad_token_id or 0)
    tracer = gradients.Tracer(box.model, encoded, pad_id, context.artifact.answer_kind)
    moved = []
    with torch.enable_grad(), tracer.watching():
        for place, answer in enumerate(whose):
            context.emit("progress", what="gradients", done=place, total=len(texts))
            moved.append(tracer.moved(place, answer, signs(place)))
        context.emit("progress", what="gradients", done=len(texts), total=len(texts))
        steepest = np.argsort([-one.slope * one.size for one in moved], kind="stable")[:_CHECKED].tolist()
        return moved, [tracer.checked(place, whose[place], signs(place), _step(moved[place])) for place in steepest]


def _step(moved: gradients.Moved) -> float:
    """A step that moves the score by a thousandth, as the gradient says; never a large one."""
    return min(_STEP, 1e-3 / max(moved.slope * moved.size, 1e-30))


def _unchecked(checks: Sequence[tuple[float, float]]) -> str:
    """Why the gradients cannot be believed; empty where steps agree with them."""
    seen = [(told, real) for told, real in checks if told > _LEAST]
    if not seen:
        return "no score moves so much that a step could check its gradient"
    apart = [abs(told - real) for told, real in seen if abs(told - real) > _NEAR * told + _LEAST]
    return f"{len(apart)} of {len(seen)} steps along a gradient move the score otherwise than it says" if apart else ""


def _of_precision(context: AuditContext, rows: NDArray[np.int64], evidence: dict[str, Any]) -> Finding:
    """The artefact against the same weights in another precision."""
    from trustbase.model.predict import Predictor

    info = context.artifact
    assert info is not None and context.answers.scores is not None
    if not RUNTIMES[info.runtime].tokens:
        return unmeasured(context, PRECISION, "not_applicable", f"runtime '{info.runtime}' computes in one precision")
    other, inputs = "bf16" if info.precision == "fp32" else "fp32", asked_inputs(context)
    try:
        with Predictor.open(info, precision=other) as predictor:
            scores = predictor.scores([inputs[row] for row in rows])
    except UsageError:
        return unmeasured(context, PRECISION, "not_applicable", f"this machine does not compute in '{other}'")
    values = _squares(context, context.answers.scores[rows], scores, rows)
    shipped = f"{info.runtime} {info.precision}"
    evidence["precision"] = {"artefact": shipped, "other": other, **bounded(context, values)}
    return measured(context, PRECISION, values, f"'{shipped}' against the same weights in '{other}'", "")


def _squares(context: AuditContext, scores: Floats, others: Floats, rows: NDArray[np.int64]) -> Floats:
    """Squared differences of the answer's score, in the unit of the findings, `(rows,)`."""
    moved = 100 * (np.asarray(others, dtype=np.float64) - np.asarray(scores, dtype=np.float64))
    kind = context.artifact.answer_kind if context.artifact is not None else ""
    if kind == "classes":
        return np.asarray(moved[np.arange(len(rows)), places_of(context, rows)] ** 2, dtype=np.float64)
    return np.asarray(((moved / (context.labels.scale if kind == "number" else 1.0)) ** 2).sum(axis=1), dtype=np.float64)
