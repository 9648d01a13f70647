"""Findings of the validation split while training goes on: what early stopping watches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustbase.data.batch import plan_batches
from trustbase.events import Emit, ignore
from trustbase.train.batches import Batch, Labelled
from trustbase.train.options import STOPPING_METRICS

_SCORING_TOKENS = 4096  # scoring keeps no activations, so larger batches cost no memory worth naming


def probabilities(forward: Callable[[Batch], Tensor], material: Labelled, *, device: str, emit: Emit = ignore) -> NDArray[np.float64]:
    """Class probabilities of every row, float64 `(rows, classes)`."""
    parts, order = [], []
    plan = plan_batches(material.lengths, batch_tokens=_SCORING_TOKENS)
    with torch.inference_mode():
        for done, rows in enumerate(plan):
            emit("progress", what="scoring the validation rows", done=done, total=len(plan))
            scores = forward(material.take(rows, device)).to(torch.float64)
            parts.append(torch.softmax(scores, dim=-1).cpu().numpy())
            order.append(rows)
    emit("progress", what="scoring the validation rows", done=len(plan), total=len(plan))
    result = np.concatenate(parts)
    result[np.concatenate(order)] = result.copy()
    return result


def quality(labels: NDArray[np.int64], chances: NDArray[np.float64]) -> dict[str, float]:
    """Values of the metrics that early stopping may watch, by finding id.

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
        "quality.accuracy": float(hits.sum() / len(labels)),
        "quality.macro_f1": float(f1[occurs].mean()),
        "quality.weighted_f1": float((f1 * actual).sum() / actual.sum()),
        "quality.log_loss": float(-np.log(np.clip(own, np.finfo(np.float64).eps, None)).mean()),
        # two classes: the squared error of one of them, as in scikit-learn; more: summed over classes (Brier, 1950)
        "quality.brier": float(squares / 2 if classes == 2 else squares),
    }


def better(metric: str, new: float, old: float | None) -> bool:
    """Whether a value improves on the best so far; the first always does."""
    if old is None:
        return True
    return new > old if STOPPING_METRICS[metric] == "higher" else new < old
