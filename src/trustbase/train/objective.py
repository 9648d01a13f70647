"""What is minimised: one loss per row, so that any update rule can weigh, clip or privatise rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from trustbase.train.batches import Batch

Forward = Callable[[Batch], Tensor]  # a batch → the model's scores before softmax, `(rows, classes)`


class Objective(Protocol):
    """Losses of a batch, one per row, in fp32."""

    def __call__(self, forward: Forward, batch: Batch) -> Tensor: ...


def classification(forward: Forward, batch: Batch) -> Tensor:
    """Cross-entropy of the true label, `(rows,)`."""
    return functional.cross_entropy(forward(batch).to(torch.float32), batch.labels, reduction="none")
