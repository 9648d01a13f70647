"""From a base model and two splits to a trained checkpoint that was reloaded and found equal. The one call flow makes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustbase import files
from trustbase.data.options import FeatureOptions
from trustbase.data.pair import SEPARATOR
from trustbase.device import choose_device, choose_precision
from trustbase.errors import RecipeError
from trustbase.events import Emit, ignore
from trustbase.model.adapt import adapt as prepare
from trustbase.model.adapt import head_only
from trustbase.model.adaptations.four_bits import parameter_count, weight_bytes
from trustbase.model.checkpoint import assert_reload_equal, checkpoint_digest, save_checkpoint
from trustbase.model.columns import ColumnEncoder
from trustbase.model.encoded import Encoded
from trustbase.model.fused import fuse, network_of
from trustbase.model.options import AdaptOptions
from trustbase.model.searching import MOST_TOKENS
from trustbase.model.sequencer import Sequencer
from trustbase.model.task import check_pairs
from trustbase.model.token_units import unread
from trustbase.model.tokenizer import load_tokenizer
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import ADAPTATIONS, OBJECTIVES, TASKS
from trustbase.records import BaseModel, LabelSchema, Split, Trained
from trustbase.train.columns import columns_of, learn_columns
from trustbase.train.evaluate import Judge
from trustbase.train.forward import Forward
from trustbase.train.loop import facts_of, train
from trustbase.train.material import Readied, head_alone, ready, room_for_tokens
from trustbase.train.objectives.classification import Objective
from trustbase.train.objectives.regularised import Regularised, class_weights
from trustbase.train.options import STOPPING_OF, TrainOptions
from trustbase.train.process import placed, trained_together
from trustbase.train.state import Progress
from trustbase.train.update import listed, plain
from trustbase.train.world import World, dealt, processes


@dataclass(frozen=True)
class _Scene:
    """What is set before the first step."""

    model: nn.Module  # the whole model, as saved
    learner: nn.Module  # what is trained: the model, or its head on features
    tokenizer: Any
    readied: Readied
    precision: str
    reason: str
    device: str
    world: World
    usual: str  # what chooses the best checkpoint where the recipe does not say


def fit(
    base: BaseModel,
    task: Any,
    labels: LabelSchema,
    train_split: Split,
    validation_split: Split | None,
    *,
    adapt: AdaptOptions,
    options: TrainOptions,
    folder: Path,
    features: FeatureOptions | None = None,
    shard: bool = False,
    stride: int | None = None,
    answer_tokens: int = MOST_TOKENS,
    emit: Emit = ignore,
) -> Trained:
    """Train a task on a base model; the same call on the same folder goes on where it stopped.

    Where a launcher started several processes, each makes this call, and all train the one model.

    Args:
        base: from `resolve_base`.
        task: from the registry, such as `TEXT_CLASSIFICATION`.
        labels: the label schema.
        train_split: the training rows.
        validation_split: rows that choose the best checkpoint; None or empty takes the last.
        adapt: which parameters are trained.
        options: how; one training, whatever its `members` (`train.members` trains several).
        folder: gets `step-…/` (resumption) and `trained/` (the result); a run calls it `checkpoints/`.
        features: table columns that the model reads beside the text.
        shard: divide the model's state over the processes, rather than have each hold all of it.
        stride: tokens by which windows over longer texts overlap; None cuts these off.
        answer_tokens: of the longest answer, where texts are searched for one.
        emit: takes events.

    Raises:
        TrainingError: training stopped itself, or the saved model is not the one in memory.
        Interrupted: a signal came; the state left behind is resumable.
        StaleRunError: the folder holds checkpoints of other inputs.
        UsageError: a precision that this machine lacks, an option that does not fit the adaptation, or processes that cannot be joined.
    """
    began = time.monotonic()
    options = dealt(options, processes())
    with trained_together(options, folder, emit) as (world, told), room_for_tokens(folder) as files_of:
        parts = (train_split, validation_split)
        sequencer = Sequencer.by_task(task.name, options.max_length, stride, answer_tokens)
        wishes: dict[str, Any] = {"adapt": adapt, "options": options, "features": features, "sequencer": sequencer}
        wishes |= {"folder": folder, "files_of": files_of}
        scene = _set(base, task, labels, *parts, **wishes, world=world, shard=shard, emit=told)
        world = scene.world
        forward = Forward(scene.learner, precision=scene.precision, device=scene.device, seed=options.seed, cut=scene.readied.cut)
        route = "; ".join(part for part in (scene.readied.computed, _route(forward, scene, options)) if part)
        told("note", text=f"training in {scene.precision} on {scene.device}: {scene.reason}; {route}")
        progress = train(
            scene.learner,
            _objective(task, options, labels, train_split),
            partial(plain, named=partial(_in_file, train_split)),
            scene.readied.training,
            options=options,
            folder=folder,
            forward=forward,
            validation=scene.readied.validation,
            judge=Judge(task.scores, task.metrics, scene.usual),
            device=scene.device,
            fingerprint={**_fingerprint(scene, base, labels, train_split, validation_split, adapt), **sequencer.unusual},
            world=world,
            emit=told,
        )
        facts = {**_facts(scene, progress, options, route=route, seconds=time.monotonic() - began), "processes": world.size, "shard": shard}
        if world.divided is not None:
            world.divided.put_together()
        return world.from_first(lambda: _finish(scene, progress, options, labels, folder / "trained", facts))


def _set(
    base: BaseModel,
    task: Any,
    labels: LabelSchema,
    train_split: Split,
    validation_split: Split | None,
    *,
    adapt: AdaptOptions,
    options: TrainOptions,
    sequencer: Sequencer,
    folder: Path,
    files_of: Path,
    features: FeatureOptions | None,
    world: World,
    shard: bool,
    emit: Emit,
) -> _Scene:
    """Build the model, tokenize once, and decide on device and precision."""
    device = choose_device()
    precision, reason = choose_precision(options.precision, device)
    tokenizer = load_tokenizer(base.folder)
    model: nn.Module = task.build(base, labels, seed=options.seed, dropout=options.dropout)
    if TASKS[task.name].pairs and SEPARATOR in train_split.texts[0]:
        check_pairs(base, model)
    model = prepare(model, adapt, seed=options.seed)
    if options.gradient_checkpointing:
        _checkpoint_gradients(model, adapt)
    if shard and (options.r_drop or options.layer_decay < 1 or options.averaging is not None):
        raise RecipeError(
            "cluster.shard was never tried with train.r_drop, train.layer_decay or train.averaging: they look at the model as a whole",
            hint="remove cluster.shard, or these",
        )
    if shard and ADAPTATIONS[adapt.method].no_shard:
        raise RecipeError(f"cluster.shard cannot be used: {ADAPTATIONS[adapt.method].no_shard}", hint="remove cluster.shard")
    if features is not None and features.columns:
        fuse(model, ColumnEncoder.of(train_split.table, features), seed=options.seed)
        learn_columns(
            model,
            train_split,
            task.targets(train_split.labels, labels, train_split.texts),
            _objective(task, options, labels, train_split),
            options,
            emit,
        )
        if shard:
            raise RecipeError("cluster.shard was never tried with data.features", hint="remove one of them")
    world = placed(model, world, device, options, shard=shard)
    readied = ready(
        model,
        tokenizer,
        {"train": train_split, "validation": validation_split},
        targets=lambda split: task.targets(split.labels, labels, split.texts),
        columns=lambda split: columns_of(model, split),
        sequencer=sequencer,
        precision=precision,
        device=device,
        folder=folder,
        files_of=files_of,
        sharers=world.size,
        emit=emit,
    )
    _warn_unread(readied.encoded, options, emit)
    learner: nn.Module = model
    if head_alone(model):
        learner = head_only(model)
        precision, reason = "fp32", f"the head alone is trained, in fp32; the body's outputs were computed in {precision} ({reason})"
    return _Scene(model, learner, tokenizer, readied, precision, reason, device, world, STOPPING_OF[task.answer_kind][0])


def _objective(task: Any, options: TrainOptions, labels: LabelSchema, train_split: Split) -> Objective:
    """The task's loss; where the recipe regularises it, that of `Regularised`, which it is without."""
    if task.answer_kind != "classes":
        return load(OBJECTIVES[task.name])  # type: ignore[no-any-return]
    weights = class_weights(options.class_weights, labels.names, train_split.labels)
    if weights is None and not options.label_smoothing and not options.r_drop:
        return load(OBJECTIVES[task.name])  # type: ignore[no-any-return]
    return Regularised(options, weights)


def _in_file(split: Split, rows: Sequence[int]) -> str:
    """Rows of a split as they are found in their file: a split is hashed and sampled, so that its own order helps nobody."""
    return f"rows {listed(sorted(split.row_numbers[list(rows)].tolist()))} of {split.source}, counted from 1 without a header"


def _warn_unread(encoded: Encoded, options: TrainOptions, emit: Emit) -> None:
    """Units beyond the cut are learned from no more, and answered with no entity."""
    if encoded.unit_places is None:
        return
    lost = unread(encoded)
    if lost.any():
        share = lost.sum() / max(len(encoded.unit_places), 1)
        beyond = f"lie beyond train.max_length ({options.max_length} tokens; data.stride reads longer texts in windows) or "
        emit(
            "warning",
            text=f"{int(lost.sum()):,} units of {int((lost > 0).sum()):,} training texts ({share:.1%} of all units) are not read: they "
            f"{beyond if encoded.truncated.any() else ''}are nothing to the tokenizer; they are answered with no entity",
        )


def _checkpoint_gradients(model: Any, adapt: AdaptOptions) -> None:
    why_not = ADAPTATIONS[adapt.method].no_checkpointing
    if not why_not and not getattr(model, "supports_gradient_checkpointing", False):
        why_not = f"{type(model).__name__} does not support it"
    if why_not:
        raise RecipeError(f"gradient_checkpointing cannot be used: {why_not}", hint="remove train.gradient_checkpointing")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _route(forward: Forward, scene: _Scene, options: TrainOptions) -> str:
    if scene.learner is not scene.model:
        return ""
    if options.gradient_checkpointing:
        return "the model's own forward, with gradient checkpointing"
    if scene.world.divided is not None:
        return "the model's own forward, since its state is divided"
    return forward.try_quick(scene.readied.training)


def _fingerprint(
    scene: _Scene, base: BaseModel, labels: LabelSchema, train_split: Split, validation_split: Split | None, adapt: AdaptOptions
) -> dict[str, Any]:
    """What must be equal for a checkpoint to be gone on from."""
    return {
        "base": base.digest,
        "labels": [*labels.names, labels.center, labels.scale] if labels.scale != 1.0 else list(labels.names),
        "train": train_split.digest,
        "validation": None if validation_split is None else validation_split.digest,
        "adapt": adapt.model_dump(mode="json"),
        "precision": scene.precision,
        **(
            {"features": {kind: list(names) for kind, names in network.encoder.features.items()}}
            if (network := network_of(scene.model)) is not None
            else {}
        ),
    }


def _facts(scene: _Scene, progress: Progress, options: TrainOptions, *, route: str, seconds: float) -> dict[str, Any]:
    trained = sum(parameter.numel() for parameter in scene.model.parameters() if parameter.requires_grad)
    return {
        **facts_of(progress),
        "precision": scene.precision,
        "precision_reason": scene.reason,
        "device": scene.device,
        "route": route,
        "threads": torch.get_num_threads(),
        "total_seconds": seconds,
        "trained_parameters": trained,
        "parameters": parameter_count(scene.model),
        "weight_bytes": weight_bytes(scene.model),
        "training_rows": len(scene.readied.training.labels),
        "truncated_rows": int(scene.readied.encoded.truncated.sum()),
        **({} if scene.readied.encoded.unit_places is None else {"unread_units": int(unread(scene.readied.encoded).sum())}),
        "seed": options.seed,
    }


def _finish(scene: _Scene, progress: Progress, options: TrainOptions, labels: LabelSchema, folder: Path, facts: dict[str, Any]) -> Trained:
    """Save the result, reload it, and compare answers."""
    if options.gradient_checkpointing:
        scene.model.gradient_checkpointing_disable()  # type: ignore[operator]
    model = scene.model.to("cpu").eval()
    has_best = progress.best_value is not None
    metric = options.early_stopping_metric or scene.usual if has_best else "training_loss"
    value = float(progress.best_value if progress.best_value is not None else progress.history[-1]["training_loss"])
    epochs = float(progress.best_epoch if progress.best_epoch is not None else progress.history[-1]["epoch"])
    # the checkpoint's digest must depend on what was trained, not on how long it took
    meta: dict[str, Any] = {"steps": progress.step, "best_metric": metric, "best_value": value}
    if labels.scale != 1.0:
        meta["unit"] = {"center": labels.center, "scale": labels.scale}  # what the scores stand for
    save_checkpoint(model, scene.tokenizer, folder, meta=meta)
    difference = assert_reload_equal(model, folder, scene.readied.encoded)
    files.write_json(folder.parent / "facts.json", facts)
    return Trained(folder, checkpoint_digest(folder), progress.step, epochs, metric, value, difference, facts)
