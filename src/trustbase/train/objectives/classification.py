"""The loss of a task whose rows have one label each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from trustbase.train.batches import Batch

Forward = Callable[[Batch], Tensor]  # a batch → the model's scores before softmax, `(rows, classes)`


class Objective(Protocol):
    """Losses of a batch: by term, one for each unit, in fp32, `(units,)`; terms and units are those of `batch.owners`."""

    def __call__(self, forward: Any, batch: Batch) -> Mapping[str, Tensor]: ...


def classification(forward: Forward, batch: Batch) -> dict[str, Tensor]:
    """Cross-entropy of the true label, `(rows,)`."""
    return {"label": functional.cross_entropy(forward(batch).to(torch.float32), batch.labels, reduction="none")}
