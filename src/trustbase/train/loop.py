"""The one training loop: objective × update rule, over batches planned by tokens, resumable to the bit.

Epoch plans and dropout masks are named streams of (seed, epoch) and (seed, batch number); so parameters, optimizer and
position are the whole state, and a resumed run repeats the arithmetic of an uninterrupted one.

`accelerate` is left out on purpose: in one process it adds nothing but global state (a second precision in the same process
is refused until private members are reset); see docs/log.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustbase.errors import Interrupted, TrainingError
from trustbase.events import Emit, ignore
from trustbase.train import state
from trustbase.train.batches import Material, epoch_plan
from trustbase.train.evaluate import better, probabilities, quality
from trustbase.train.forward import Forward
from trustbase.train.objective import Objective
from trustbase.train.options import TrainOptions
from trustbase.train.schedule import make_optimizer, set_learning_rate
from trustbase.train.signals import StopSignal
from trustbase.train.state import Progress
from trustbase.train.table import UsedRows, used_rows
from trustbase.train.update import Update, UpdateResult, UpdateTools


_FEW_UPDATES = 60


@dataclass
class Job:
    """One training under way: everything the loop's parts share."""

    model: nn.Module
    forward: Forward
    objective: Objective
    update: Update
    material: Material
    validation: Material | None
    options: TrainOptions
    folder: Path
    device: str
    fingerprint: Mapping[str, Any]
    emit: Emit = ignore
    progress: Progress = field(default_factory=Progress)
    trained: Sequence[tuple[str, nn.Parameter]] = ()
    total: int = 0
    saved_step: int = 0
    saved_at: float = 0.0
    started_at: float = 0.0
    earlier_seconds: float = 0.0


def train(
    model: nn.Module,
    objective: Objective,
    update: Update,
    material: Material,
    *,
    options: TrainOptions,
    folder: Path,
    forward: Forward,
    validation: Material | None = None,
    device: str = "cpu",
    fingerprint: Mapping[str, Any] | None = None,
    emit: Emit = ignore,
) -> Progress:
    """Train the parameters that ask for gradients; afterwards the model holds the best checkpoint's.

    Args:
        model: what is trained; stays a plain module.
        objective: loss per row.
        update: how losses change parameters.
        material: the training rows.
        options: everything a recipe may say under `train`.
        folder: where checkpoints lie; a complete one in it is resumed.
        forward: how a batch goes through the model.
        validation: rows that choose the best checkpoint, or None to take the last.
        device: where it runs.
        fingerprint: what else must be equal for a checkpoint to be resumed.
        emit: takes `step`, `checkpoint`, `resumed`, `progress`, `evaluation`, `warning`.

    Raises:
        TrainingError: a loss or gradient is not finite, nothing is trainable, or the best checkpoint was damaged on disk.
        Interrupted: a signal came; the state is saved and the same call goes on.
        StaleRunError: the folder holds checkpoints of other inputs.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()) or not len(material.labels):
        raise TrainingError(f"nothing to train: no trainable parameters, or no rows ({len(material.labels)} training rows)")
    with ExitStack() as stack:
        stop = stack.enter_context(StopSignal())
        stack.enter_context(torch.random.fork_rng(devices=[] if device == "cpu" else None))
        tables = stack.enter_context(used_rows(model, material.tokens))
        trained = _trained(model, tables)
        identity = {"options": _identity(options), "trained": [[name, list(p.shape)] for name, p in trained], **(fingerprint or {})}
        job = Job(model, forward, objective, update, material, validation, options, folder, device, identity, emit, trained=trained)
        tools = _tools(job, tables)
        _resume(job, tools.optimizer)
        if job.total < _FEW_UPDATES:
            emit("note", text=f"{job.total} updates in all are few to learn from: more epochs or a smaller batch_tokens give more")
        model.train()
        job.started_at = job.saved_at = time.monotonic()
        job.earlier_seconds = job.progress.seconds
        _run(job, tools, stop)
        if validation is not None and job.progress.best_step not in (None, job.progress.step):
            state.load_weights(folder / state.name_of(job.progress.best_step or 0), trained)
    model.eval()
    return job.progress


def updates(job: Job, tools: UpdateTools) -> Iterator[UpdateResult]:
    """One result an update, from where the job stands to the end of its last epoch; the job's progress is kept in step."""
    progress, options = job.progress, job.options
    while progress.epoch < options.epochs:
        plan = epoch_plan(job.material, batch_tokens=options.batch_tokens, seed=options.seed, epoch=progress.epoch)
        while progress.position < len(plan):
            chosen = plan[progress.position : progress.position + options.accumulation]
            batches = [job.material.take(rows, job.device, progress.batches + i) for i, rows in enumerate(chosen)]
            set_learning_rate(tools.optimizer, progress.step, job.total, options)
            result = job.update(tools, batches, progress.step + 1)
            _advance(progress, result, len(chosen))
            yield result
        progress.epoch, progress.position = progress.epoch + 1, 0
        progress.loss_sum, progress.loss_rows = 0.0, 0


def _run(job: Job, tools: UpdateTools, stop: StopSignal) -> None:
    """Draw updates; evaluate, save, report and stop around them."""
    progress, options = job.progress, job.options
    steps = _epoch_steps(job)
    if progress.finished:
        return
    if tools.scaler is not None and progress.scaler:
        tools.scaler.load_state_dict(progress.scaler)
    try:
        for result in updates(job, tools):
            _report(job, tools, result)
            ends_epoch = progress.step in steps
            last = progress.step >= job.total
            due = options.evaluate_every is not None and progress.step % options.evaluate_every == 0
            if ends_epoch or last or due:
                _evaluate(job, ends_epoch=ends_epoch)
            if last and not progress.finished:
                progress.finished = "all steps done"
            _save_if_due(job, tools, must=bool(ends_epoch or progress.finished or stop.number or progress.best_step == progress.step))
            if stop.number:
                raise _interrupted(stop.number, progress.step)
            if progress.finished:
                return
    except TrainingError:
        if progress.step > job.saved_step:
            _save(job, tools)  # parameters are still those of the last good step
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
    return UpdateTools(lambda batch: job.objective(job.forward, batch), parameters, optimizer, job.options.clip, scaler, cleanups)


def _resume(job: Job, optimizer: torch.optim.Optimizer) -> None:
    """Go on from the newest complete checkpoint, if there is one."""
    job.total = max(_epoch_steps(job))
    if job.options.max_steps is not None:
        job.total = min(job.total, job.options.max_steps)
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
    if changed:
        now = job.fingerprint.get("precision")
        job.emit("warning", text=f"training was begun in {changed['precision']} and goes on in {now}: not bit-identical with one machine's")
    job.saved_step = job.progress.step
    job.emit("resumed", step=job.progress.step, epoch=job.progress.epoch, position=job.progress.position, checkpoint=path.name)


def _epoch_steps(job: Job) -> set[int]:
    """Global steps at which an epoch ends."""
    ends, step = set(), 0
    for epoch in range(job.options.epochs):
        batches = len(epoch_plan(job.material, batch_tokens=job.options.batch_tokens, seed=job.options.seed, epoch=epoch))
        step += math.ceil(batches / job.options.accumulation)
        ends.add(step)
    return ends


def _advance(progress: Progress, result: UpdateResult, batches: int) -> None:
    progress.step += 1
    progress.position += batches
    progress.batches += batches
    progress.rows += result.rows
    progress.tokens += result.tokens
    progress.loss_sum += result.loss * result.rows
    progress.loss_rows += result.rows


def _report(job: Job, tools: UpdateTools, result: UpdateResult) -> None:
    rate = float(tools.optimizer.param_groups[0]["lr"])
    fields = {
        "loss": result.loss,
        "learning_rate": rate,
        "gradient_norm": result.gradient_norm if math.isfinite(result.gradient_norm) else None,  # skipped by fp16
        "rows": result.rows,
        "tokens": result.tokens,
    }
    job.emit("step", step=job.progress.step, epoch=job.progress.epoch, **fields)
    job.emit("progress", what="training", done=job.progress.step, total=job.total)


def _evaluate(job: Job, *, ends_epoch: bool) -> None:
    """Measure the validation split, remember the best, and decide on stopping early."""
    progress, options = job.progress, job.options
    epochs = progress.epoch + (1.0 if ends_epoch else progress.rows / len(job.material.labels) % 1.0)
    entry: dict[str, Any] = {"step": progress.step, "epoch": epochs, "training_loss": progress.loss_sum / max(1, progress.loss_rows)}
    if job.validation is not None:
        entry |= quality(job.validation.labels, probabilities(job.forward.score, job.validation, device=job.device, emit=job.emit))
        value = float(entry[options.early_stopping_metric])
        if better(options.early_stopping_metric, value, progress.best_value):
            progress.best_step, progress.best_value, progress.best_epoch, progress.evaluations_since_best = progress.step, value, epochs, 0
        else:
            progress.evaluations_since_best += 1
        if options.early_stopping is not None and progress.evaluations_since_best >= options.early_stopping:
            progress.finished = f"no better {options.early_stopping_metric} in {options.early_stopping} evaluations"
    progress.history.append(entry)
    job.emit("evaluation", **entry)


def _save_if_due(job: Job, tools: UpdateTools, *, must: bool) -> None:
    # a step may not make the interval longer than asked, so the save comes one step's time before it is over
    elapsed = time.monotonic() - job.saved_at
    steps = job.progress.step - job.saved_step
    if must or elapsed + elapsed / max(1, steps) >= job.options.save_every:
        _save(job, tools)


def _save(job: Job, tools: UpdateTools) -> None:
    began = time.monotonic()
    optimizer = None if job.progress.finished else tools.optimizer
    job.progress.scaler = tools.scaler.state_dict() if tools.scaler is not None else {}
    job.progress.seconds = job.earlier_seconds + began - job.started_at
    path = state.save(job.folder, job.trained, optimizer, job.progress, job.fingerprint)
    job.saved_at, job.saved_step = time.monotonic(), job.progress.step
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
    kept = ("step", "rows", "tokens", "seconds", "best_step", "best_value", "best_epoch", "finished", "history")
    return {key: value for key, value in asdict(progress).items() if key in kept}
