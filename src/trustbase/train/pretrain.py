"""Pretraining: a model and raw text in, a model that has learned from it out, over the loop that fine-tuning uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustbase.events import Emit, ignore
from trustbase.train.flops import counted, shape_of, telling_utilisation, work_of
from trustbase.train.heldout import HeldOut
from trustbase.train.loop import facts_of, train
from trustbase.train.options import TrainOptions
from trustbase.train.pretrain_options import Whole
from trustbase.train.process import trained_together
from trustbase.train.rows import DocumentRows, Order
from trustbase.train.scene import LIVE_TOKENS, Corpus, Scene, measured, refuse_misfits, set_scene
from trustbase.train.state import Progress
from trustbase.train.update import listed, plain
from trustbase.train.world import dealt, processes


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pretraining as it was done; the model itself was trained in place.

    Attributes:
        progress: where the loop ended.
        held_out: what held-out documents say of the result, document by document; None where there are none.
        facts: what the run says about itself.
    """

    progress: Progress
    held_out: HeldOut | None
    facts: dict[str, Any]


def pretrain(
    model: nn.Module,
    objectives: Mapping[str, float] | Sequence[str] | str,
    corpus: Corpus,
    tokenizer: Any,
    *,
    context: int,
    options: TrainOptions,
    folder: Path,
    order: Order | None = None,
    whole_words: Whole = "chinese",
    fingerprint: Mapping[str, Any] | None = None,
    peak: float | None = None,
    watch: Callable[[], Mapping[str, float]] = dict,
    shard: bool = False,
    emit: Emit = ignore,
) -> Pretrained:
    """Train a model on raw text; the same call on the same folder goes on where it stopped, to the same bits.

    Where a launcher started several processes, each makes this call, and all train the one model.

    Args:
        model: from `build_model` or `continue_model`; trained in place.
        objectives: names as in a recipe (`masked+next_sentence`, a list, or weights by name).
        corpus: its tokens, for training and held out, packed with this tokenizer.
        tokenizer: a fast one.
        context: tokens of a row.
        options: everything a recipe may say under `train`; `tokens` sets the length of the training.
        folder: gets `step-…/` (resumption) and the marks of words.
        order: documents of each epoch, such as `CorpusStore.epoch`; by default each once.
        whole_words: which words are masked whole.
        fingerprint: what else must be equal for a checkpoint to be resumed, such as the digest of the model that it began from.
        peak: operations a second that this machine can do at most (`flops.matmul_peak`); without it no utilisation is known.
        watch: what else is measured of the model at every evaluation, by finding id.
        shard: divide the model's state over the processes; the trained model is afterwards in the first of them alone, on the CPU.
        emit: takes events; those of a `step` also say `flops_per_second`, and `utilisation` of the peak.

    Raises:
        RecipeError: model, tokenizer, objectives and options do not fit together; all problems at once.
        UsageError: a corpus that the objective cannot learn from, a precision that this machine lacks, or processes that cannot be joined.
        TrainingError: training stopped itself.
        Interrupted: a signal came; the state left behind is resumable.
        StaleRunError: the folder holds checkpoints of other inputs.
    """
    options = dealt(options, processes(), length=context)
    refuse_misfits(model, objectives, tokenizer, context, options)
    began = time.monotonic()
    inputs = {"corpus": corpus.digest, "context": context, "whole_words": whole_words, **(fingerprint or {})}
    with trained_together(options, folder, emit) as (world, heard):
        told = telling_utilisation(heard, peak)  # trackers hear of it too
        scene = set_scene(model, objectives, corpus, tokenizer, context, options, folder, whole_words, told, world=world, shard=shard)
        world = scene.world
        told("note", text=f"pretraining in {scene.precision} on {scene.device}: {scene.reason}; {scene.said}")
        progress = train(
            model,
            scene.joined,
            counted(partial(plain, named=_documents), shape_of(model)),
            DocumentRows(scene.texts, scene.objectives, seed=options.seed, order=order),
            options=options,
            folder=folder,
            forward=scene.reading,
            measure=lambda: {**_live(scene, told), **watch()},
            weights=scene.weights,
            device=scene.device,
            fingerprint={**scene.fingerprint, **inputs},
            world=world,
            emit=told,
        )
        held_out = None if scene.held_out is None else world.measured(lambda: measured(scene, told))
        facts = {**_facts(scene, progress, options, peak=peak, seconds=time.monotonic() - began), "processes": world.size, "shard": shard}
        if world.divided is not None:
            world.divided.put_together()
    if options.gradient_checkpointing:
        model.gradient_checkpointing_disable()  # type: ignore[operator]
    return Pretrained(progress, held_out, facts)


def _live(scene: Scene, emit: Emit) -> dict[str, float]:
    """What some of the held-out documents say while training goes on."""
    return {} if scene.held_out is None else measured(scene, emit, most=LIVE_TOKENS).findings()


def _facts(scene: Scene, progress: Progress, options: TrainOptions, *, peak: float | None, seconds: float) -> dict[str, Any]:
    return {
        **facts_of(progress),
        **work_of(progress, peak),
        "precision": scene.precision,
        "precision_reason": scene.reason,
        "device": scene.device,
        "ways": scene.ways,
        "weights": scene.weights,
        "threads": torch.get_num_threads(),
        "total_seconds": seconds,
        "seed": options.seed,
    }


def _documents(numbers: Sequence[int]) -> str:
    return f"documents {listed(numbers)} of the training part, counted from 0"
