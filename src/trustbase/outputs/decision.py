"""From scores to answers: the one rule that audit, prediction and server share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trustbase.records import Decision, LabelSchema


def decide_labels(scores: NDArray[np.floating], labels: LabelSchema, decision: Decision) -> NDArray[np.int64]:
    """Label index of each row.

    Args:
        scores: class probabilities `(rows, classes)`.
        labels: the label schema that fixes the order of classes.
        decision: a threshold on the positive class (binary), else the highest score wins (first on ties).

    Returns:
        int64 `(rows,)`.
    """
    if decision.threshold is None or not labels.binary:
        return np.asarray(scores.argmax(axis=1), dtype=np.int64)
    positive = labels.index(labels.positive)
    return np.asarray(np.where(scores[:, positive] >= decision.threshold, positive, 1 - positive), dtype=np.int64)


def told_probability(scores: NDArray[np.floating], answers: NDArray[np.integer]) -> NDArray[np.float64]:
    """How likely the model holds each answer that is given, `(rows,)`: under a threshold that need not be the highest probability.

    Args:
        scores: class probabilities `(rows, classes)`.
        answers: label index of each row, as `decide_labels` gives it.
    """
    return np.asarray(scores[np.arange(len(answers)), answers], dtype=np.float64)
