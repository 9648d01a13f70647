"""What is asked of a process: as many threads as were wanted, of a trial to be the only one, and of a training to join the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import nn

from trustbase.device import choose_device
from trustbase.events import Emit, ignore
from trustbase.train.options import TrainOptions
from trustbase.train.track import tracked
from trustbase.train.world import World, joined


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


@contextmanager
def trained_together(options: TrainOptions, folder: Path, emit: Emit) -> Iterator[tuple[World, Emit]]:
    """What every training stands in: its processes joined, trackers open in the first of them, and so many threads.

    Gives the processes, and an `Emit` that only the first one is heard by.
    """
    with ExitStack() as stack:
        world = stack.enter_context(joined(choose_device()))
        heard, trackers = (emit, options.report_to) if world.first else (ignore, ())
        told = stack.enter_context(tracked(trackers, folder, heard, settings=options.model_dump(mode="json")))
        stack.enter_context(threads(options.threads))
        yield world, told


def placed(model: nn.Module, world: World, device: str, options: TrainOptions, *, shard: bool) -> World:
    """Put a model where it is trained: whole in each process, or divided over them, which the world that is returned then knows.

    Raises:
        RecipeError: it cannot be divided.
        UsageError: this torch cannot divide it.
        TrainingError: the processes hold different models.
    """
    if not shard:
        model.to(device)
        return world
    from trustbase.train.shard import divided

    return divided(model, world, device, options)
