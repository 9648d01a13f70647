"""The loss of a task whose rows have any number of labels."""

from __future__ import annotations

from torch import Tensor

from trustbase.model.task import binary_cross_entropy
from trustbase.train.batches import Batch
from trustbase.train.objectives.classification import Forward


def labels(forward: Forward, batch: Batch) -> dict[str, Tensor]:
    """Mean over the labels of each one's binary cross-entropy, `(rows,)`."""
    return {"label": binary_cross_entropy(forward(batch), batch.labels)}
