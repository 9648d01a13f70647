"""Values that training watches on validation rows, by finding id; the audit measures them anew, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Metrics = Callable[[NDArray[Any], NDArray[np.float64]], dict[str, float]]

_LEAST = np.finfo(np.float64).eps


def class_metrics(labels: NDArray[np.int64], chances: NDArray[np.float64]) -> dict[str, float]:
    """Of classes: true labels `(rows,)` and probabilities `(rows, classes)`.

    F1 averages run over the labels that occur among truths or answers, as in scikit-learn.
    """
    classes = chances.shape[1]
    answers = chances.argmax(axis=1)
    confusion = np.bincount(labels * classes + answers, minlength=classes * classes).reshape(classes, classes)
    hits, actual, claimed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = 2.0 * hits / np.maximum(1, actual + claimed)
    occurs = (actual + claimed) > 0
    own = chances[np.arange(len(labels)), labels]
    hot = np.eye(classes)[labels]
    squares = ((chances - hot) ** 2).sum(axis=1).mean()
    return {
        "quality.log_loss": float(-np.log(np.clip(own, _LEAST, None)).mean()),
        "quality.accuracy": float(hits.sum() / len(labels)),
        "quality.macro_f1": float(f1[occurs].mean()),
        "quality.weighted_f1": float((f1 * actual).sum() / actual.sum()),
        # two classes: the squared error of one of them, as in scikit-learn; more: summed over classes (Brier, 1950)
        "quality.brier": float(squares / 2 if classes == 2 else squares),
    }


def label_metrics(labels: NDArray[np.floating], chances: NDArray[np.float64]) -> dict[str, float]:
    """Of any number of labels: which a row has and their probabilities, both `(rows, labels)`; answers at one half."""
    truth, answers = labels > 0.5, chances >= 0.5
    kept = np.clip(chances, _LEAST, 1 - _LEAST)
    hits, claimed, actual = (truth & answers).sum(axis=0), answers.sum(axis=0), truth.sum(axis=0)
    f1 = 2.0 * hits / np.maximum(1, claimed + actual)
    return {
        "quality.log_loss": float(-np.where(truth, np.log(kept), np.log1p(-kept)).mean()),
        "quality.micro_f1": float(2.0 * hits.sum() / max(1, int(claimed.sum() + actual.sum()))),
        "quality.macro_f1": float(f1[(claimed + actual) > 0].mean()) if (claimed + actual).any() else 0.0,
        "quality.exact_match": float((truth == answers).all(axis=1).mean()),
    }


def number_metrics(numbers: NDArray[np.floating], scores: NDArray[np.float64]) -> dict[str, float]:
    """Of numbers `(rows,)` and answers `(rows, 1)`, both in standard deviations of the training rows."""
    errors = scores[:, 0] - numbers
    spread = float(((numbers - numbers.mean()) ** 2).mean())
    return {
        "quality.rmse": float(np.sqrt((errors**2).mean())),
        "quality.mae": float(np.abs(errors).mean()),
        **({"quality.r2": 1.0 - float((errors**2).mean()) / spread} if spread > 0 else {}),
    }
