"""Train the head alone; `frozen_features` and `head_only` (`model/frozen.py`) then train it without running the body again."""

from __future__ import annotations

from torch import nn

from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.adaptations.shared import Way, train_only_head


def prepare(model: nn.Module, options: AdaptOptions, *, seed: int) -> None:
    """Only the head asks for gradients."""
    train_only_head(model)


FROZEN = Way(prepare)
