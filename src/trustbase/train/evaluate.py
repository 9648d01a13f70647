"""Findings of the validation split while training goes on: what early stopping watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustbase.data.batch import plan_batches
from trustbase.events import Emit, ignore
from trustbase.model.metrics import Metrics, class_metrics
from trustbase.train.batches import Batch, Labelled
from trustbase.train.options import STOPPING_METRICS

_SCORING_TOKENS = 4096  # scoring keeps no activations, so larger batches cost no memory worth naming


@dataclass(frozen=True)
class Judge:
    """What is measured on validation rows.

    Attributes:
        scores: what the model gives → scores, `(rows, width)`.
        metrics: true targets and scores → values by finding id.
        usual: the finding that early stopping watches where the recipe names none.
    """

    scores: Callable[[Tensor], Tensor]
    metrics: Metrics
    usual: str

    def __call__(
        self, forward: Callable[[Batch], Tensor], material: Labelled, *, device: str = "cpu", emit: Emit = ignore
    ) -> dict[str, float]:
        return self.metrics(material.labels, scored(forward, self.scores, material, device=device, emit=emit))


CLASSES = Judge(partial(torch.softmax, dim=-1), class_metrics, "quality.log_loss")


def scored(
    forward: Callable[[Batch], Tensor],
    scores: Callable[[Tensor], Tensor],
    material: Labelled,
    *,
    device: str,
    emit: Emit = ignore,
) -> NDArray[Any]:
    """Scores of every row, float64 `(rows, width)`, or `(rows,)` of tables where units are tagged.

    `scores` makes them of what `forward` gives.
    """
    parts, order = [], []
    plan = plan_batches(material.lengths, batch_tokens=_SCORING_TOKENS)
    with torch.inference_mode():
        for done, rows in enumerate(plan):
            emit("progress", what="scoring the validation rows", done=done, total=len(plan))
            values = scores(forward(material.take(rows, device)).to(torch.float64)).cpu().numpy().astype(np.float64)
            parts.append(material.by_row(rows, values))
            order.append(rows)
    emit("progress", what="scoring the validation rows", done=len(plan), total=len(plan))
    result = np.concatenate(parts)
    result[np.concatenate(order)] = result.copy()
    return result


def better(metric: str, new: float, old: float | None) -> bool:
    """Whether a value improves on the best so far; the first always does."""
    if old is None:
        return True
    return new > old if STOPPING_METRICS[metric] == "higher" else new < old
