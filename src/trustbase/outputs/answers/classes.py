"""One label of several: by a threshold on the positive one, or the one of highest score."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.outputs.answers.base import Answering, Scores
from trustbase.outputs.decision import decide_labels
from trustbase.outputs.options import DecisionOptions
from trustbase.outputs.threshold import choose_decision
from trustbase.records import Decision, LabelSchema


class Classes(Answering):
    """Scores are probabilities that sum to one."""

    refuses: ClassVar = {"decision.coverage": "belongs to numbers, whose answers are told with an interval"}

    def decide(self, scores: Scores, labels: LabelSchema, decision: Decision) -> NDArray[Any]:
        return decide_labels(scores, labels, decision)

    def choose(self, scores: Scores, truth: NDArray[Any], labels: LabelSchema, options: DecisionOptions) -> Decision:
        return choose_decision(scores, truth, labels, options)

    def line(self, scores: NDArray[np.float64], labels: LabelSchema, decision: Decision) -> dict[str, Any]:
        index = int(decide_labels(scores[None, :], labels, decision)[0])
        return {"label": labels.names[index], "probabilities": {name: float(p) for name, p in zip(labels.names, scores, strict=True)}}

    def near(self, scores: Scores, labels: LabelSchema, decision: Decision, tolerance: float) -> int:
        if decision.threshold is not None and labels.binary:
            margin = np.abs(scores[:, labels.index(labels.positive)] - decision.threshold)
            return int((margin <= tolerance).sum())
        first = np.sort(scores, axis=1)
        return int((first[:, -1] - first[:, -2] <= 2 * tolerance).sum())

    def smallest(self, truth: NDArray[Any], labels: LabelSchema) -> int:
        return int(np.bincount(truth, minlength=len(labels.names)).min())

    def columns(self, answers: NDArray[Any], labels: LabelSchema) -> pa.Array:
        return pa.array(np.array(labels.names, dtype=object)[answers], pa.string()).dictionary_encode()


CLASSES = Classes()
