"""A model as it answers, and back to what it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout while the context lasts."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
