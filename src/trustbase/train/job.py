"""One training under way: what its parts share, how it is taken up from a checkpoint, and how it goes back to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustbase import files
from trustbase.errors import TrainingError
from trustbase.events import Emit, ignore
from trustbase.model.adaptations.shared import Companion
from trustbase.train import state
from trustbase.train.averaging import Averaging
from trustbase.train.batches import Labelled, Material
from trustbase.train.course import Course
from trustbase.train.evaluate import CLASSES, Judge
from trustbase.train.guard import MOST_SPIKES
from trustbase.train.objectives.classification import Objective
from trustbase.train.options import TrainOptions
from trustbase.train.parts import finite
from trustbase.train.state import Progress
from trustbase.train.update import Update, UpdateResult, UpdateTools
from trustbase.train.world import ALONE, World, digest_of

Measure = Callable[[], Mapping[str, float]]


@dataclass
class Job:
    """One training under way: everything the loop's parts share."""

    model: nn.Module
    forward: Any
    objective: Objective
    update: Update
    material: Material
    validation: Labelled | None
    options: TrainOptions
    folder: Path
    device: str
    fingerprint: Mapping[str, Any]
    emit: Emit = ignore
    measure: Measure | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    world: World = ALONE
    judge: Judge = CLASSES
    companion: Companion | None = None  # what an adaptation does around each update, and what averages the weights
    averaging: Averaging | None = None  # the same, where weights are averaged
    progress: Progress = field(default_factory=Progress)
    trained: Sequence[tuple[str, nn.Parameter]] = ()
    course: Course = field(default_factory=lambda: Course(0, frozenset()))
    saved_step: int = 0
    saved_at: float = 0.0
    started_at: float = 0.0
    earlier_seconds: float = 0.0
    learning_rate: float = 0.0  # of the last update, in the body's last layer
    update_seconds: float = 0.0  # of the last update, its batches included


def resume(job: Job, optimizer: torch.optim.Optimizer) -> None:
    """Go on from the newest complete checkpoint, if there is one."""
    try:
        path, problems = state.latest(job.folder)
    except FileNotFoundError as error:
        if any(job.folder.glob("step-*")):
            job.emit("warning", text=f"no checkpoint is complete, training starts anew: {error}")
        return
    for problem in problems:
        job.emit("warning", text=f"checkpoint passed over: {problem}")
    # where the recipe leaves the precision open, a machine without bf16 may go on in fp32: the weights are fp32 everywhere
    open_precision = ["precision"] if job.options.precision == "auto" and job.fingerprint.get("precision") != "fp16" else []
    changed = state.changed_since(path, job.fingerprint)
    job.progress = state.load(path, job.trained, optimizer, job.fingerprint, may_differ=open_precision)
    _know_again(job, path)
    if changed:
        now = job.fingerprint.get("precision")
        job.emit("warning", text=f"training was begun in {changed['precision']} and goes on in {now}: not bit-identical with one machine's")
    job.saved_step = job.progress.step
    job.emit("resumed", step=job.progress.step, epoch=job.progress.epoch, position=job.progress.position, checkpoint=path.name)


def _know_again(job: Job, path: Path) -> None:
    if job.companion is not None:
        job.companion.load(state.beside_of(path))


def agree(job: Job) -> None:
    """Before the first update: several processes must start from the same weights, inputs and position.

    Raises:
        TrainingError: they do not.
    """
    if job.world.size == 1:
        return
    mine = {"inputs": files.digest_json(job.fingerprint), "step": job.progress.step, "updates": job.course.total}
    if job.world.divided is None:  # else they were compared before each kept its part
        mine["weights"] = digest_of(parameter for _, parameter in job.trained)
    job.world.agree_on(mine)


def roll_back(job: Job, tools: UpdateTools, result: UpdateResult) -> None:
    """After a spike: take the last checkpoint from before the update that led to it, and leave out both updates from then on.

    A replay to the same bits would meet the same spike. So neither the update whose loss jumped is made, nor the one before it, which
    made the parameters that it jumped on. What comes out does not depend on which checkpoint is taken, and so not on the clock.

    Raises:
        TrainingError: this was one spike too many.
    """
    before = job.progress
    left_out = [place for place in ([before.epoch, before.position], before.last_made) if place]
    if before.spikes >= MOST_SPIKES:
        raise TrainingError(
            f"the loss of step {before.step + 1} jumped to {result.loss:.4g}, which is spike {before.spikes + 1}: these are no accidents",
            hint="a lower learning_rate, a longer warmup, or clip: 1.0 often helps; look at the batches that the log names",
        )
    name = None
    try:
        path, _ = state.latest(job.folder, most=before.step - 1)
    except FileNotFoundError:  # gone from the disk: this batch at least is left out
        left_out = left_out[:1]
    else:
        name = path.name
        job.progress = state.load(path, job.trained, tools.optimizer, job.fingerprint, may_differ=["precision"])
        _know_again(job, path)
        job.saved_step = job.progress.step
        if tools.scaler is not None and job.progress.scaler:
            tools.scaler.load_state_dict(job.progress.scaler)
    job.progress.left_out = [*before.left_out, *left_out]
    job.progress.spikes = before.spikes + 1
    limit = tools.largest.get("loss")
    job.emit("spike", step=before.step + 1, loss=result.loss, limit=limit, checkpoint=name, back_to=job.progress.step, left_out=left_out)


def sound(job: Job, *, everywhere: bool = True) -> bool:
    """Whether all that is trained is finite: in every process, which must then all ask, or in this one alone.

    An update whose gradient is finite can spoil weights all the same, where it overflows; the loss tells it an update later.
    """
    own = finite(parameter for _, parameter in job.trained)
    return all(job.world.gather(own)) if everywhere else own


def refuse_spoilt(job: Job) -> None:
    """Weights that are not finite are never saved: the checkpoint before them stays the newest.

    Raises:
        TrainingError: there are some.
    """
    if not sound(job):
        raise TrainingError(
            f"weights are not finite numbers after step {job.progress.step}: they are not saved, and the last good checkpoint stays",
            hint="a lower learning_rate, a longer warmup, clip: 1.0 or precision: fp32 often helps; the same command goes on from there",
        )


def take_best(job: Job) -> None:
    """The best checkpoint's weights, where it is not the last; of averaged weights the average that was measured there.

    Raises:
        TrainingError: it was damaged on disk.
    """
    if job.validation is not None and job.progress.best_step not in (None, job.progress.step):
        best = job.folder / state.name_of(job.progress.best_step or 0)
        state.load_weights(best, job.trained)
        if job.averaging is not None:
            job.averaging.load(state.beside_of(best))
    if job.averaging is not None:
        job.averaging.settle()
