"""The one training loop: objective × update rule, over batches planned by tokens, resumable to the bit.

Epoch plans and dropout masks are named streams of (seed, epoch) and (seed, batch number); so parameters, optimizer and
position are the whole state, and a resumed run repeats the arithmetic of an uninterrupted one.

Several processes make each update together (`world.py`), to the same numbers up to the order of sums. `accelerate` is left out on
purpose: it adds global state (a second precision in the same process is refused until private members are reset); see docs/log.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustbase.errors import Interrupted, TrainingError
from trustbase.events import Emit, ignore
from trustbase.model.adapt import companion_of
from trustbase.train import state
from trustbase.train.advance import LEFT_OUT, updates
from trustbase.train.averaging import Averaging, faint
from trustbase.train.batches import Labelled, Material
from trustbase.train.course import plot_course
from trustbase.train.evaluate import CLASSES, Judge, better
from trustbase.train.guard import needs_checkpoint
from trustbase.train.job import Job, Measure, agree, refuse_spoilt, resume, sound, take_best
from trustbase.train.objectives.classification import Objective
from trustbase.train.options import TrainOptions
from trustbase.train.schedule import make_optimizer
from trustbase.train.signals import StopSignal
from trustbase.train.state import Progress
from trustbase.train.table import UsedRows, used_rows
from trustbase.train.update import Update, UpdateResult, UpdateTools
from trustbase.train.world import ALONE, World

_FEW_UPDATES = 60


def train(
    model: nn.Module,
    objective: Objective,
    update: Update,
    material: Material,
    *,
    options: TrainOptions,
    folder: Path,
    forward: Any,
    validation: Labelled | None = None,
    judge: Judge = CLASSES,
    measure: Measure | None = None,
    weights: Mapping[str, float] | None = None,
    device: str = "cpu",
    fingerprint: Mapping[str, Any] | None = None,
    world: World = ALONE,
    emit: Emit = ignore,
) -> Progress:
    """Train the parameters that ask for gradients; afterwards the model holds the best checkpoint's, averaged where options say so.

    Args:
        model: what is trained; stays a plain module.
        objective: losses of a batch.
        update: how losses change parameters.
        material: the training rows.
        options: everything a recipe may say under `train`.
        folder: where checkpoints lie; a complete one in it is resumed.
        forward: how a batch goes through the model; the objective knows what to ask it.
        validation: rows that choose the best checkpoint, or None to take the last.
        judge: what is measured on these rows.
        measure: findings of other held-out material by id, for the record; they choose nothing.
        weights: of the objective's terms; 1 where none is given.
        device: where it runs.
        fingerprint: what else must be equal for a checkpoint to be resumed.
        world: the processes that train together; options are then those that `dealt` gives, and `folder` is seen by all. Each may hold
            the model or a part of it.
        emit: takes `step`, `checkpoint`, `resumed`, `spike`, `progress`, `evaluation`, `warning`.

    Raises:
        TrainingError: a loss, gradient or weight is not finite, nothing is trainable, or the best checkpoint was damaged on disk.
        Interrupted: a signal came; the state is saved and the same call goes on.
        StaleRunError: the folder holds checkpoints of other inputs.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()) or not len(material):
        raise TrainingError(f"nothing to train: no trainable parameters, or no rows ({len(material)} training rows)")
    with ExitStack() as stack:
        stop = stack.enter_context(StopSignal())
        stack.enter_context(torch.random.fork_rng(devices=[] if device == "cpu" else None))
        tables = stack.enter_context(used_rows(model, material.tokens if world.divided is None else None))
        trained = _trained(model, tables)
        identity = {"options": _identity(options), "trained": [[name, list(p.shape)] for name, p in trained], **(fingerprint or {})}
        job = Job(
            model, forward, objective, update, material, validation, options, folder, device, identity, emit, measure, weights or {}, world
        )
        job.judge = judge
        job.trained = trained
        _run(job, _begun(job, tables), stop)
        world.wait()  # until the last checkpoint stands
        take_best(job)
    model.eval()
    return job.progress


def _begun(job: Job, tables: Sequence[UsedRows]) -> UpdateTools:
    """Plan the updates, go on from the last checkpoint where there is one, and start the clock."""
    job.course = plot_course(job.material, job.options)
    job.companion = companion_of(job.model, job.course.total)
    if job.options.averaging is not None:
        job.companion = job.averaging = Averaging(job.options.averaging, job.trained, job.companion)
        told = faint(job.options.averaging, job.course.total)
        if told:
            job.emit("note", text=told)
    tools = _tools(job, tables)
    resume(job, tools.optimizer)
    agree(job)
    if job.course.total < _FEW_UPDATES:
        job.emit("note", text=f"{job.course.total} updates in all are few to learn from: more epochs or a smaller batch_tokens give more")
    job.model.train()
    job.started_at = job.saved_at = time.monotonic()
    job.earlier_seconds = job.progress.seconds
    return tools


def _run(job: Job, tools: UpdateTools, stop: StopSignal) -> None:
    """Draw updates; evaluate, save, report and stop around them."""
    options = job.options
    if job.progress.finished:
        return
    if tools.scaler is not None and job.progress.scaler:
        tools.scaler.load_state_dict(job.progress.scaler)
    try:
        for result in updates(job, tools):
            progress = job.progress
            _report(job, tools, result)
            ends_epoch = progress.step in job.course.ends
            last = progress.step >= job.course.total
            if last or (ends_epoch and job.course.by_epochs) or progress.step % job.course.every == 0:
                _evaluate(job, ends_epoch=ends_epoch)
            if last and not progress.finished:
                progress.finished = "all steps done"
            stopped = next((number for number in job.world.gather(stop.number) if number), None)
            if progress.finished or stopped:
                refuse_spoilt(job)  # else the next update does
            must = (ends_epoch and job.course.by_epochs) or progress.finished or stopped or progress.best_step == progress.step
            _save_if_due(job, tools, must=bool(must or needs_checkpoint(progress, options)))
            if stopped:
                raise _interrupted(stopped, progress.step)
            if progress.finished:
                return
    except TrainingError:
        if job.progress.step > job.saved_step:
            _save(job, tools)  # parameters are still those of the last good step, or spoilt by it and not saved
        raise


def _trained(model: nn.Module, tables: Sequence[UsedRows]) -> list[tuple[str, nn.Parameter]]:
    """What gets gradients, by name in the model; of a large word table the used rows stand in its place."""
    stand_in = {id(table.weight): table.rows for table in tables}
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return [(name, stand_in.get(id(parameter), parameter)) for name, parameter in named]


def _tools(job: Job, tables: Sequence[UsedRows]) -> UpdateTools:
    optimizer = make_optimizer(job.model, job.trained, job.options)
    scaler = torch.amp.GradScaler(job.device) if job.fingerprint.get("precision") == "fp16" else None
    parameters = [parameter for _, parameter in job.trained]
    cleanups: list[Callable[[], None]] = [table.clear for table in tables]
    losses = lambda batch: job.world.trained(lambda: job.objective(job.forward, batch))  # noqa: E731
    return UpdateTools(
        losses, parameters, optimizer, job.options.clip, scaler, cleanups, weights=job.weights, world=job.world, companion=job.companion
    )


def _report(job: Job, tools: UpdateTools, result: UpdateResult) -> None:
    if result is LEFT_OUT:
        job.emit("note", text=f"step {job.progress.step} is left out because of a spike of the loss")
    else:
        fields = {
            "loss": result.loss,
            "parts": dict(result.parts),
            "learning_rate": job.learning_rate,
            "gradient_norm": result.gradient_norm if math.isfinite(result.gradient_norm) else None,  # skipped by fp16
            "rows": result.rows,
            "tokens": result.tokens,
            "tokens_per_second": result.tokens / job.update_seconds if job.update_seconds > 0 else None,
        }
        if result.flops and job.update_seconds > 0:
            fields["flops_per_second"] = result.flops / job.update_seconds
        if result.refused:
            fields["refused"] = result.refused
        job.emit("step", step=job.progress.step, epoch=job.progress.epoch, **fields)
    job.emit("progress", what="training", done=job.progress.step, total=job.course.total)


def _evaluate(job: Job, *, ends_epoch: bool) -> None:
    """Measure the validation split, remember the best, and decide on stopping early."""
    progress, options = job.progress, job.options
    epochs = progress.epoch + (1.0 if ends_epoch else progress.rows / len(job.material) % 1.0)
    entry: dict[str, Any] = {"step": progress.step, "epoch": epochs, "training_loss": progress.loss_sum / max(1, progress.loss_rows)}
    if job.averaging is not None:
        job.averaging.look()
    with job.averaging.shown() if job.averaging is not None else nullcontext():
        entry |= job.world.measured(lambda: _measured(job))
    if job.validation is not None:
        metric = options.early_stopping_metric or job.judge.usual
        value = float(entry[metric])
        if better(metric, value, progress.best_value):
            progress.best_step, progress.best_value, progress.best_epoch, progress.evaluations_since_best = progress.step, value, epochs, 0
        else:
            progress.evaluations_since_best += 1
        if options.early_stopping is not None and progress.evaluations_since_best >= options.early_stopping:
            progress.finished = f"no better {metric} in {options.early_stopping} evaluations"
    progress.history.append(entry)
    job.emit("evaluation", **entry)


def _measured(job: Job) -> dict[str, float]:
    """Findings of the validation split, and of other held-out material."""
    found: dict[str, float] = {}
    if job.validation is not None:
        found |= job.judge(job.forward.score, job.validation, device=job.device, emit=job.emit)
    return found if job.measure is None else found | dict(job.measure())


def _save_if_due(job: Job, tools: UpdateTools, *, must: bool) -> None:
    # a step may not make the interval longer than asked, so the save comes one step's time before it is over
    elapsed = time.monotonic() - job.saved_at
    steps = job.progress.step - job.saved_step
    due = must or elapsed + elapsed / max(1, steps) >= job.options.save_every
    if job.world.divided is not None:  # clocks differ, and all must give their parts
        due = job.world.from_first(lambda: due)
    if due:
        _save(job, tools)


def _save(job: Job, tools: UpdateTools) -> None:
    whole = job.world.divided is None  # of which one process saves, else all give their parts
    if (whole and not job.world.first) or not sound(job, everywhere=not whole):
        return  # the next update stops at spoilt weights, in all processes alike
    began = time.monotonic()
    optimizer = None if job.progress.finished else tools.optimizer
    job.progress.scaler = tools.scaler.state_dict() if tools.scaler is not None else {}
    job.progress.seconds = job.earlier_seconds + began - job.started_at
    job.saved_step = job.progress.step  # also if it fails: it would again
    # what goes along with updates is not needed after the last one, an average is
    going_on = job.companion is not None and (optimizer is not None or job.averaging is not None)
    beside = job.companion.state() if job.companion is not None and going_on else None
    path = state.save(job.folder, job.trained, optimizer, job.progress, job.fingerprint, beside=beside, writes=job.world.first)
    job.saved_at = time.monotonic()
    job.emit(
        "checkpoint", step=job.progress.step, name=path.name, best=job.progress.best_step == job.progress.step, seconds=job.saved_at - began
    )


def _interrupted(number: int, step: int) -> Interrupted:
    word = "Ctrl-C" if number == 2 else "SIGTERM"
    return Interrupted(
        f"training was stopped by {word} after step {step}; its state is saved", signal_number=number, hint="the same command goes on"
    )


def _identity(options: TrainOptions) -> dict[str, Any]:
    """Options that decide what the weights become; how often to save and whom to tell do not."""
    return options.model_dump(mode="json", exclude={"save_every", "report_to", "threads"})


def facts_of(progress: Progress) -> dict[str, Any]:
    """What a run says about itself afterwards."""
    kept = ("step", "rows", "tokens", "seconds", "best_step", "best_value", "best_epoch", "finished", "history", "spikes", "refused")
    return {key: value for key, value in asdict(progress).items() if key in kept}
