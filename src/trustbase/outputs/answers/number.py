"""A number, told with an interval that holds for a stated share of rows.

The interval's half width is the conformal quantile of absolute errors on validation rows: for exchangeable rows the next truth
lies in it with at least the stated probability, whatever the model. Validation rows also chose when training stopped, which
makes their errors a little smaller than those of new rows; `quality.interval_coverage` measures what becomes of it on test rows.

Source: Lei et al. (2018), "Distribution-free predictive inference for regression", JASA 113, section 2.2 (split conformal).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.errors import DataError, RecipeError
from trustbase.outputs.answers.base import Answering, Scores
from trustbase.outputs.options import DecisionOptions
from trustbase.records import Decision, LabelSchema


class Number(Answering):
    """The one score is the number itself, in the units of the training rows."""

    unit = "standard deviations of the training rows"
    refuses: ClassVar = {
        "decision.threshold": "turns a probability into a label, and the answer is a number",
        "decision.cost": "weighs two kinds of wrong labels, and the answer is a number",
        "train.class_weights": "weighs labels, and the truth is a number",
        "train.label_smoothing": "spreads a label over the others, and the truth is a number",
        "train.r_drop": "compares distributions over labels, and the answer is a number",
        "data.positive": "is a label, and the truth is a number",
        "data.favourable": "is a label, and the truth is a number",
        "data.no_relation": "is a label, and the truth is a number",
    }

    def decide(self, scores: Scores, labels: LabelSchema, decision: Decision) -> NDArray[Any]:
        return np.asarray(scores[:, 0], dtype=np.float64)

    def choose(self, scores: Scores, truth: NDArray[Any], labels: LabelSchema, options: DecisionOptions) -> Decision:
        if options.threshold is not None or options.cost is not None:
            raise RecipeError("decision.threshold and decision.cost are of labels, and the answer is a number", hint="leave them out")
        coverage = options.coverage
        half = conformal_half_width(np.abs(scores[:, 0] - truth), coverage)
        interval = {"coverage": coverage, "half_width": half, "rows": float(len(truth))}
        return Decision(None, f"conformal interval from {len(truth)} validation rows", interval=interval)

    def line(self, scores: NDArray[np.float64], labels: LabelSchema, decision: Decision) -> dict[str, Any]:
        value = float(scores[0])
        found: dict[str, Any] = {"value": value}
        if decision.interval:
            half = decision.interval["half_width"]
            found["interval"] = {"low": value - half, "high": value + half, "coverage": decision.interval["coverage"]}
        return found

    def columns(self, answers: NDArray[Any], labels: LabelSchema) -> pa.Array:
        return pa.array(answers, pa.float64())

    def differences(self, scores: Scores, reference: Scores, labels: LabelSchema) -> NDArray[np.float64]:
        return np.asarray(np.abs(scores - reference)[:, 0] / labels.scale, dtype=np.float64)

    def flips(self, answers: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
        return np.zeros(len(answers), dtype=bool)  # a number has no other side to turn to: `differences` says all


def conformal_half_width(errors: NDArray[np.float64], coverage: float) -> float:
    """The ⌈(n + 1) · coverage⌉-th smallest of n absolute errors.

    Source: Lei et al. (2018), JASA 113, section 2.2.

    Raises:
        DataError: errors that are no numbers, or so few that no interval of finite width has this coverage.
    """
    if not np.isfinite(errors).all():
        raise DataError(
            f"{int((~np.isfinite(errors)).sum())} of {len(errors)} validation errors are not finite, so no interval can be chosen"
        )
    rank = math.ceil((len(errors) + 1) * coverage - 1e-9)
    if rank > len(errors):
        least = math.ceil(coverage / (1 - coverage) - 1e-9)
        raise DataError(
            f"an interval of {coverage:g} coverage needs {least} validation rows, got {len(errors)}",
            hint="give more validation rows, or a lower decision.coverage",
        )
    return float(np.sort(errors)[rank - 1])


NUMBER = Number()
