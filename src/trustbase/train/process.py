"""What training needs of its process: to be the only one, and as many threads as were asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trustbase.errors import UsageError


def refuse_several_processes() -> None:
    """A launcher's other processes would each train the whole model and write over each other.

    Raises:
        UsageError: there are others.
    """
    world = os.environ.get("WORLD_SIZE", "1")
    if world.strip() not in {"", "1"}:
        raise UsageError(
            f"this version trains in one process, but WORLD_SIZE is {world}: it was started by a launcher of several",
            hint="start it with `trustbase run`, without torchrun or accelerate launch; one GPU is used by itself",
        )


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
