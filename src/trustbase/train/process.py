"""What is asked of a process: as many threads as were wanted, and of a trial to be the only one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trustbase.errors import UsageError


def refuse_several_processes() -> None:
    """A launcher's other processes would each do the same, and write over each other; training itself joins them (`world.joined`).

    Raises:
        UsageError: there are others.
    """
    world = os.environ.get("WORLD_SIZE", "1")
    if world.strip() not in {"", "1"}:
        raise UsageError(
            f"this is done in one process, but WORLD_SIZE is {world}: it was started by a launcher of several",
            hint="start it with `trustbase run`; `cluster: {workers: …}` in the recipe starts workers for training",
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
