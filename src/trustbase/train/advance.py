"""Updates one after another, from where a training stands: batches of its plan, the rule, and what its limits follow from."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from trustbase.errors import TrainingError
from trustbase.train.batches import idle
from trustbase.train.guard import MOST_REFUSED, limits, remember
from trustbase.train.job import Job, roll_back
from trustbase.train.schedule import set_learning_rate
from trustbase.train.update import UpdateResult, UpdateTools

LEFT_OUT = UpdateResult(math.nan, math.nan, 0, 0, {}, "left out")


def updates(job: Job, tools: UpdateTools) -> Iterator[UpdateResult]:
    """One result an update, from where the job stands to its end; the job's progress is kept in step."""
    options = job.options
    planned = -1
    plan: Sequence[Any] = ()
    while job.progress.step < job.course.total:
        progress = job.progress
        if progress.epoch != planned:
            plan = job.material.plan(batch_tokens=options.batch_tokens, seed=options.seed, epoch=progress.epoch)
            planned = progress.epoch
        if progress.position >= len(plan):
            progress.epoch, progress.position = progress.epoch + 1, 0
            progress.loss_sum, progress.loss_rows = 0.0, 0
            continue
        chosen = [plan[i] for i in range(progress.position, min(progress.position + options.accumulation, len(plan)))]
        result = LEFT_OUT if [progress.epoch, progress.position] in progress.left_out else _update(job, tools, chosen)
        if result.refused == "loss":
            roll_back(job, tools, result)
            continue
        _advance(job, result, len(chosen))
        yield result


def _update(job: Job, tools: UpdateTools, chosen: Sequence[Any]) -> UpdateResult:
    began, progress = time.monotonic(), job.progress
    own = job.world.own(chosen)
    batches = [part for i, rows in own for part in job.material.parts(rows, job.device, progress.batches + i)]
    if job.world.divided is not None and job.world.lacks(chosen):
        batches += [idle(part) for part in job.material.parts(chosen[0], job.device, progress.batches)]
    job.learning_rate = set_learning_rate(tools.optimizer, progress.step, job.course.total, job.options)
    tools.largest = limits(progress, job.options)
    result = job.update(tools, batches, progress.step + 1)
    job.update_seconds = time.monotonic() - began
    return result


def _advance(job: Job, result: UpdateResult, batches: int) -> None:
    progress = job.progress
    if not result.refused:
        progress.last_made = [progress.epoch, progress.position]
    progress.step += 1
    progress.position += batches
    progress.batches += batches
    if result is LEFT_OUT:
        return
    progress.rows += result.rows
    progress.tokens += result.tokens
    progress.flops += result.flops
    progress.loss_sum += result.loss * result.rows
    progress.loss_rows += result.rows
    _watch(job, result)


def _watch(job: Job, result: UpdateResult) -> None:
    """Remember what the limits follow from.

    Raises:
        TrainingError: gradients are refused again and again.
    """
    progress, options = job.progress, job.options
    if options.spike is not None:
        remember(progress.losses, result.loss)
    if options.gradient_guard is None:
        return
    if not result.refused:
        progress.refused_running = 0
        remember(progress.norms, result.gradient_norm)
        return
    progress.refused, progress.refused_running = progress.refused + 1, progress.refused_running + 1
    if progress.refused_running > MOST_REFUSED:
        raise TrainingError(
            f"{progress.refused_running} gradients in a row were longer than gradient_guard: {options.gradient_guard} lets through "
            f"(step {progress.step}: {result.gradient_norm:.4g})",
            hint="a lower learning_rate or a longer warmup often helps; or set a larger gradient_guard",
        )
