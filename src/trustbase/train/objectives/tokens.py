"""The loss of a task whose units are tagged."""

from __future__ import annotations

from torch import Tensor

from trustbase.model.tagging import mean_over_rows, unit_cross_entropy
from trustbase.train.batches import Batch
from trustbase.train.objectives.classification import Forward


def tokens(forward: Forward, batch: Batch) -> dict[str, Tensor]:
    """The mean cross-entropy of each row's units that the model reads, `(rows,)`: a long text weighs no more than a short one."""
    losses = unit_cross_entropy(forward(batch), batch.labels)
    return {"label": mean_over_rows(losses, batch.targets["owners"], len(batch.owners["label"]))}
