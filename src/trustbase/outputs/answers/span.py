"""A part of the row's own text, or none: the span of highest score, where an answer is likely enough."""

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
_SCORE, _RUNNER_UP, _ANSWERABLE = 2, 3, 4  # columns (`data.truth.span.SCORES`)
_NO_LABEL = "is a label of whole rows, and here parts of their text are answered"


class Span(Answering):
    """Scores are the best span's characters, its share, that of the best other one, and the probability that there is an answer."""

    refuses: ClassVar = {
        "decision.cost": "weighs two kinds of wrong labels, and an answer can be wrong in more ways",
        "decision.coverage": "belongs to numbers, whose answers are told with an interval",
        "train.class_weights": "weighs labels of whole rows, and here parts of their text are answered",
        "train.label_smoothing": "was never tried with parts of a text",
        "train.r_drop": "was never tried with parts of a text",
        "data.features": "are columns of a whole row, and here parts of its text are answered",
        "data.positive": _NO_LABEL,
        "data.favourable": _NO_LABEL,
    }

    def decide(self, scores: Scores, labels: LabelSchema, decision: Decision) -> NDArray[Any]:
        threshold, found = _threshold(decision), np.empty(len(scores), dtype=object)
        for row, values in enumerate(scores):
            found[row] = ((int(values[0]), int(values[1])),) if values[_ANSWERABLE] >= threshold and values[1] > values[0] else ()
        return found

    def choose(self, scores: Scores, truth: NDArray[Any], labels: LabelSchema, options: DecisionOptions) -> Decision:
        if options.cost is not None:
            raise RecipeError("decision.cost needs a task of two labels", hint="leave it out")
        if options.threshold is None:
            return self.default()
        if options.threshold != "auto":
            return Decision(float(options.threshold), "threshold given in the recipe")
        best = best_threshold(scores[:, _ANSWERABLE], _overlaps(scores, truth), np.array([not spans for spans in truth]))
        return Decision(best, f"threshold that maximises the overlap with true answers on {len(truth)} validation rows")

    def line(self, scores: NDArray[np.float64], labels: LabelSchema, decision: Decision) -> dict[str, Any]:
        (answer,) = self.decide(scores[None, :], labels, decision)
        told = {"start": answer[0][0], "end": answer[0][1], "score": float(scores[_SCORE])} if answer else None
        return {"answer": told, "answerable": float(scores[_ANSWERABLE])}

    def columns(self, answers: NDArray[Any], labels: LabelSchema) -> pa.Array:
        kind = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())]))
        return pa.array([[{"start": start, "end": end} for start, end in row] for row in answers], kind)

    def differences(self, scores: Scores, reference: Scores, labels: LabelSchema) -> NDArray[np.float64]:
        apart = np.abs(scores - reference)[:, [_SCORE, _ANSWERABLE]]  # where a span lies is no distance: `flips` says it
        return np.asarray(apart.max(axis=1), dtype=np.float64)

    def flips(self, answers: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
        return np.array([one != other for one, other in zip(answers, others, strict=True)], dtype=bool)

    def near(self, scores: Scores, labels: LabelSchema, decision: Decision, tolerance: float) -> int:
        unsure = np.abs(scores[:, _ANSWERABLE] - _threshold(decision)) <= tolerance
        return int((unsure | (scores[:, _SCORE] - scores[:, _RUNNER_UP] <= 2 * tolerance)).sum())

    def smallest(self, truth: NDArray[Any], labels: LabelSchema) -> int:
        answered = sum(bool(spans) for spans in truth)
        return min(answered, len(truth) - answered) or len(truth)

    def default(self) -> Decision:
        return Decision(_HALF, "an answer where the best one is likelier than none")


def best_threshold(answerable: NDArray[np.float64], overlaps: NDArray[np.float64], none: NDArray[np.bool_]) -> float:
    """The probability from which an answer is told that gives the highest mean: of overlaps where one is told, of rows without one else.

    Among equals the one nearest one half.

    Args:
        answerable: probability that there is an answer, `(rows,)`.
        overlaps: how well the best span fits the truth, 0 where there is none, `(rows,)`.
        none: whether a row has no answer.
    """
    values = np.unique(np.append(answerable, [0.0, 1.0]))
    middle = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2])
    gains = np.array([np.where(answerable >= threshold, overlaps, none).sum() for threshold in middle])
    good = np.flatnonzero(gains >= gains.max() - 1e-9)
    return float(middle[good[np.abs(middle[good] - _HALF).argmin()]])


def _overlaps(scores: Scores, truth: NDArray[Any]) -> NDArray[np.float64]:
    """The F1 over characters of each row's best span and the true one that fits best."""
    found = np.zeros(len(scores))
    for row, (values, spans) in enumerate(zip(scores, truth, strict=True)):
        start, end = int(values[0]), int(values[1])
        both = [(max(0, min(end, last) - max(start, first)), (end - start) + (last - first)) for first, last in spans]
        found[row] = max((2 * shared / total for shared, total in both if total), default=0.0)
    return found


def _threshold(decision: Decision) -> float:
    return _HALF if decision.threshold is None else decision.threshold


SPAN = Span()
