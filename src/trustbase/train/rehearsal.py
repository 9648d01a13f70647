"""Updates of a copy: what a training would do, tried beforehand, while model, checkpoints and random state stay as they are."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustbase.events import Emit, ignore
from trustbase.train.advance import updates
from trustbase.train.batches import Batch
from trustbase.train.course import Course, plot_course
from trustbase.train.flops import counted, shape_of
from trustbase.train.job import Job
from trustbase.train.launcher import refuse_launchers
from trustbase.train.options import TrainOptions
from trustbase.train.pretrain_options import Whole
from trustbase.train.process import threads
from trustbase.train.rows import DocumentRows, Order
from trustbase.train.scene import Corpus, Scene, refuse_misfits, set_scene
from trustbase.train.schedule import make_optimizer
from trustbase.train.update import UpdateResult, UpdateTools, plain


@dataclass
class Rehearsal:
    """A training of a copy, update by update, in the order and at the rates that the training itself would have.

    Attributes:
        job: as the loop has it.
        scene: how batches are made and read.
        rate: in place of the schedule's learning rate, where it is not None.
    """

    job: Job
    scene: Scene
    rate: float | None = None
    _tools: UpdateTools = field(init=False)

    def __post_init__(self) -> None:
        job = self.job
        scaler = torch.amp.GradScaler(job.device) if self.scene.precision == "fp16" else None
        optimizer = make_optimizer(job.model, job.trained, job.options)
        parameters = [parameter for _, parameter in job.trained]
        losses = lambda batch: job.objective(job.forward, batch)  # noqa: E731
        self._tools = UpdateTools(losses, parameters, optimizer, job.options.clip, scaler, weights=job.weights)
        job.update = counted(self._update, shape_of(job.model))

    @property
    def seconds(self) -> float:
        """Of the last update, its batches included."""
        return self.job.update_seconds

    def step(self) -> UpdateResult | None:
        """The next update; None after the last.

        Raises:
            TrainingError: a loss or gradient is not finite.
        """
        return next(self._results, None)

    @cached_property
    def _results(self) -> Iterator[UpdateResult]:
        return updates(self.job, self._tools)

    def _update(self, tools: UpdateTools, batches: Sequence[Batch], step: int) -> UpdateResult:
        if self.rate is not None:
            for group in tools.optimizer.param_groups:
                group["lr"] = self.rate * group["highest_lr"] / self.job.options.learning_rate
        return plain(tools, batches, step)


@contextmanager
def rehearsing(
    model: nn.Module,
    objectives: Mapping[str, float] | Sequence[str] | str,
    corpus: Corpus,
    tokenizer: Any,
    *,
    context: int,
    options: TrainOptions,
    steps: int | None = None,
    folder: Path | None = None,
    order: Order | None = None,
    whole_words: Whole = "chinese",
    emit: Emit = ignore,
) -> Iterator[Rehearsal]:
    """A rehearsal of `pretrain` with the same arguments, for as long as the context lasts.

    Model and random state are afterwards what they were, to the bit.

    Args:
        model: only read: what is trained is a copy.
        objectives: as in `pretrain`.
        corpus: as in `pretrain`.
        tokenizer: as in `pretrain`.
        context: tokens of a row.
        options: as in `pretrain`; spikes and gradients that it would not let through are not watched for.
        steps: updates in all, or as many as the training has.
        folder: the training's, so that words which are marked now are not marked again then; a passing one where None.
        order: as in `pretrain`.
        whole_words: as in `pretrain`.
        emit: is told how words are marked.

    Raises:
        RecipeError: model, tokenizer, objectives and options do not fit together.
        UsageError: a corpus that the objective cannot learn from, or a precision that this machine lacks.
    """
    refuse_launchers("a trial")
    refuse_misfits(model, objectives, tokenizer, context, options)
    options = options.model_copy(update={"spike": None, "gradient_guard": None})  # there is no checkpoint to go back to
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory())) if folder is None else folder
        stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
        stack.enter_context(threads(options.threads))
        double = copy.deepcopy(model).train()
        scene = set_scene(double, objectives, corpus, tokenizer, context, options, place, whole_words, emit)
        material = DocumentRows(scene.texts, scene.objectives, seed=options.seed, order=order)
        job = Job(double, scene.reading, scene.joined, plain, material, None, options, place, scene.device, {}, weights=scene.weights)
        job.course = plot_course(material, options) if steps is None else Course(steps, frozenset())
        job.trained = [(name, parameter) for name, parameter in double.named_parameters() if parameter.requires_grad]
        yield Rehearsal(job, scene)
