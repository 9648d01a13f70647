"""Processes for tests that start at once: they come from one that has only imported what is heavy, and is started with the first."""

from __future__ import annotations

from multiprocessing import get_context
from multiprocessing.context import ForkServerContext

#: What takes seconds to import, and is imported once for all processes of all tests.
HEAVY = (
    "pytest",
    "torch.distributed",
    "trustbase.model.task",
    "trustbase.model.predict",
    "trustbase.train.fit",
    "trustbase.train.pretrain",
)


def forks() -> ForkServerContext:
    """Where such processes are made: the one they come from has no thread, no device and no test's state, and is as it was at first.

    So a process is told its environment by the test that starts it.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(list(HEAVY))
    return context
