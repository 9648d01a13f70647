"""The loss of a task whose answers are parts of a text."""

from __future__ import annotations

from torch import Tensor

from trustbase.model.answering import end_losses, masked
from trustbase.model.tagging import mean_over_rows
from trustbase.train.batches import Batch
from trustbase.train.objectives.classification import Forward


def span(forward: Forward, batch: Batch) -> dict[str, Tensor]:
    """The mean over each row's windows of the cross-entropy of both ends, `(rows,)`.

    A window without the answer points at its first token.
    """
    losses = end_losses(masked(forward(batch), batch.inputs["attention_mask"]), batch.labels)
    return {"label": mean_over_rows(losses, batch.targets["owners"], len(batch.owners["label"]))}
