"""Any number of labels: each whose probability reaches one threshold."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.errors import RecipeError
from trustbase.outputs.answers.base import Answering, Scores
from trustbase.outputs.options import DecisionOptions
from trustbase.records import Decision, LabelSchema

_HALF = 0.5


class Labels(Answering):
    """Scores are probabilities, of each label by itself."""

    refuses: ClassVar = {
        "decision.cost": "weighs errors of one label against those of the other, and here each label is right or wrong by itself",
        "decision.coverage": "belongs to numbers, whose answers are told with an interval",
        "train.class_weights": "weighs one label against the others, and here a row may have several",
        "train.label_smoothing": "spreads one label over the others, and here a row may have several",
        "train.r_drop": "compares distributions over labels, and here each label has one of its own",
        "data.positive": "is one of two labels, and here a row may have several",
        "data.favourable": "is one outcome of several, and here each label is audited as one",
        "data.no_relation": "is one label of several, and here a row may have none",
    }

    def decide(self, scores: Scores, labels: LabelSchema, decision: Decision) -> NDArray[Any]:
        return np.asarray(scores >= (_HALF if decision.threshold is None else decision.threshold), dtype=bool)

    def choose(self, scores: Scores, truth: NDArray[Any], labels: LabelSchema, options: DecisionOptions) -> Decision:
        if options.cost is not None:
            raise RecipeError("decision.cost needs a task of two labels", hint="leave it out")
        if options.threshold is None:
            return self.default()
        if options.threshold != "auto":
            return Decision(float(options.threshold), "threshold given in the recipe")
        best = best_micro_f1_threshold(scores, truth)
        return Decision(best, f"threshold that maximises micro F1 over all labels on {len(truth)} validation rows")

    def line(self, scores: NDArray[np.float64], labels: LabelSchema, decision: Decision) -> dict[str, Any]:
        answer = self.decide(scores[None, :], labels, decision)[0]
        probabilities = {name: float(p) for name, p in zip(labels.names, scores, strict=True)}
        return {"labels": [labels.names[place] for place in np.flatnonzero(answer)], "probabilities": probabilities}

    def columns(self, answers: NDArray[Any], labels: LabelSchema) -> pa.Array:
        return pa.array([[labels.names[place] for place in np.flatnonzero(row)] for row in answers], pa.list_(pa.string()))

    def flips(self, answers: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray((answers != others).any(axis=1), dtype=bool)

    def near(self, scores: Scores, labels: LabelSchema, decision: Decision, tolerance: float) -> int:
        threshold = _HALF if decision.threshold is None else decision.threshold
        return int((np.abs(scores - threshold) <= tolerance).any(axis=1).sum())

    def smallest(self, truth: NDArray[Any], labels: LabelSchema) -> int:
        return int(truth.sum(axis=0).min())

    def default(self) -> Decision:
        return Decision(_HALF, "one half, for every label")


def best_micro_f1_threshold(scores: Scores, truth: NDArray[np.bool_]) -> float:
    """The threshold of highest micro F1 over all labels `(rows, labels)`; among equals the one nearest one half."""
    flat, right = scores.ravel(), truth.ravel()
    values = np.unique(flat)
    order = np.argsort(flat)
    starts = np.searchsorted(flat[order], values)  # from here on scores reach the value
    hits = np.concatenate([np.cumsum(right[order][::-1])[::-1], [0]])[starts]
    claimed = len(flat) - starts
    f1 = 2 * hits / np.maximum(claimed + right.sum(), 1)
    good = np.flatnonzero(f1 >= f1.max() - 1e-12)
    below = np.concatenate([[0.0], values[:-1]])
    middle = (values + below) / 2  # between this score and the next lower one, the answers are the same
    return float(middle[good[np.abs(middle[good] - _HALF).argmin()]])


LABELS = Labels()
