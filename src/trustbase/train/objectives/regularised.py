"""Cross-entropy that is not so sure of its labels: softened, weighted by class, and answered alike under two dropout masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trustbase.errors import Problem, RecipeError
from trustbase.train.batches import Batch
from trustbase.train.options import TrainOptions


class Regularised:
    """The loss of a task whose rows have one label each, as the recipe's `train` regularises it.

    Args:
        options: `label_smoothing`, `class_weights` and `r_drop` are read.
        weights: of each class, `(classes,)`; None where all weigh alike.

    Source: label smoothing: Szegedy et al. (2016), Rethinking the Inception architecture, section 7; R-Drop: Liang et al. (2021), R-Drop:
    regularized dropout for neural networks, equations 3 and 4, of which this is one half, so that a learning rate keeps its meaning.
    """

    def __init__(self, options: TrainOptions, weights: Tensor | None = None) -> None:
        self._smoothing, self._agreement, self._weights = options.label_smoothing, options.r_drop, weights

    def __call__(self, forward: Any, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch, `(rows,)`; with `r_drop` the batch goes through the model twice, under another dropout mask."""
        scores = forward(batch).to(torch.float32)
        losses = self._entropy(scores, batch.labels)
        if self._agreement:
            again = forward(batch, draw=1).to(torch.float32)
            losses = (losses + self._entropy(again, batch.labels)) / 2 + self._agreement * disagreement(scores, again) / 2
        return {"label": losses}

    def _entropy(self, scores: Tensor, labels: Tensor) -> Tensor:
        losses = functional.cross_entropy(scores, labels, reduction="none", label_smoothing=self._smoothing)
        return losses if self._weights is None else losses * self._weights.to(losses.device)[labels]


def disagreement(one: Tensor, other: Tensor) -> Tensor:
    """Half the sum of both Kullback-Leibler divergences between two sets of scores before softmax, in nats, `(rows,)`."""
    first, second = one.log_softmax(-1), other.log_softmax(-1)
    return ((first.exp() - second.exp()) * (first - second)).sum(-1) / 2


def class_weights(asked: str | Mapping[str, float], names: Sequence[str], labels: NDArray[np.int64]) -> Tensor | None:
    """Weight of each class, fp32 `(classes,)`; None where all weigh alike.

    Args:
        asked: `none`, `balanced` (rows / (classes x rows of the class), which is 1 on average over the rows), or weights by label.
        names: the labels, in score order.
        labels: of the training rows, `(rows,)`.

    Raises:
        RecipeError: weights of labels that there are not.
    """
    if asked == "none":
        return None
    if asked == "balanced":
        counts = np.bincount(labels, minlength=len(names))
        return torch.from_numpy(len(labels) / (len(names) * np.maximum(counts, 1))).float()
    assert not isinstance(asked, str)
    unknown = [
        Problem("train.class_weights", f"'{name}' is no label", f"labels: {', '.join(names)}") for name in asked if name not in names
    ]
    if unknown:
        raise RecipeError("train.class_weights names labels that the data do not have", problems=unknown)
    return torch.tensor([float(asked.get(name, 1.0)) for name in names])
