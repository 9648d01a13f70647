"""How many updates a training takes, and after which of them an epoch ends."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trustbase.errors import TrainingError, UsageError
from trustbase.train.batches import Material
from trustbase.train.options import TrainOptions

MOST_EPOCHS = 10_000
_LOOKS = 20  # of a training by tokens, where the recipe does not say how often


@dataclass(frozen=True)
class Course:
    """The updates of a training.

    Attributes:
        total: updates in all.
        ends: updates, counted from 1, that end an epoch.
        by_epochs: whether an epoch's end is worth a look and a checkpoint; with a budget of tokens epochs may be many and short.
        every: updates between two looks in any case.
    """

    total: int
    ends: frozenset[int]
    by_epochs: bool = True
    every: int = 1


def plot_course(material: Material, options: TrainOptions) -> Course:
    """Count the updates: `epochs` passes, or where `tokens` is given as many as it takes, and never more than `max_steps`.

    The budget of tokens is reached by the last update, which is a whole one.

    Raises:
        TrainingError: an epoch has no batch.
        UsageError: the budget of tokens is some ten thousand times the material.
    """
    total, ends = _count(material, options)
    looks = math.ceil(total / _LOOKS) if options.tokens is not None else total + 1
    return Course(total, ends, options.tokens is None, looks if options.evaluate_every is None else options.evaluate_every)


def _count(material: Material, options: TrainOptions) -> tuple[int, frozenset[int]]:
    most = math.inf if options.max_steps is None else options.max_steps
    ends: set[int] = set()
    step, read = 0, 0
    for plan in _epochs(material, options):
        for first in range(0, len(plan), options.accumulation):
            step += 1
            if options.tokens is not None:
                read += sum(material.size(plan[i]) for i in range(first, min(first + options.accumulation, len(plan))))
                _refuse_endless(options.tokens, read, len(ends))
            if step >= most or (options.tokens is not None and read >= options.tokens):
                return step, frozenset(ends)
        ends.add(step)
    return step, frozenset(ends)


def _refuse_endless(tokens: int, read: int, epochs: int) -> None:
    """A budget of so many passes is a mistyped one, and could not even be counted in a reasonable time.

    Raises:
        UsageError: as many as `epochs` may be, and more.
    """
    if epochs >= 1 and tokens > MOST_EPOCHS * read / epochs:
        raise UsageError(
            f"train.tokens is {tokens:,}, over {MOST_EPOCHS:,} passes over a corpus of about {read // epochs:,} tokens",
            hint="lower train.tokens, or give more text",
        )


def _epochs(material: Material, options: TrainOptions) -> Iterator[Any]:
    epoch = 0
    while options.tokens is not None or epoch < options.epochs:
        plan = material.plan(batch_tokens=options.batch_tokens, seed=options.seed, epoch=epoch)
        if not len(plan):
            raise TrainingError("there is nothing to train on: an epoch has no batch")
        yield plan
        epoch += 1
