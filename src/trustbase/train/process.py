"""What training needs of its process: as many threads as were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(wanted: int | None) -> Iterator[None]:
    """Torch's CPU threads as asked for, and as they were afterwards."""
    before = torch.get_num_threads()
    if wanted is not None:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
