"""The loss of a task whose truth is a number."""

from __future__ import annotations

from torch import Tensor

from trustbase.model.task import squared_error
from trustbase.train.batches import Batch
from trustbase.train.objectives.classification import Forward


def number(forward: Forward, batch: Batch) -> dict[str, Tensor]:
    """Squared error in units of the training rows' spread, `(rows,)`."""
    return {"label": squared_error(forward(batch), batch.labels)}
