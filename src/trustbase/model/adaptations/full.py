"""Train every parameter."""

from __future__ import annotations

from torch import nn

from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.adaptations.shared import Way


def prepare(model: nn.Module, options: AdaptOptions, *, seed: int) -> None:
    """Every parameter asks for gradients."""
    model.requires_grad_(True)


FULL = Way(prepare)
