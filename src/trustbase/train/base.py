"""Pretraining from a model in memory to a base model on disk that was read again and found equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustbase.device import choose_device
from trustbase.errors import TrainingError
from trustbase.events import Emit
from trustbase.model.checkpoint import checkpoint_digest
from trustbase.model.continued import continue_model
from trustbase.model.load import resolve_base
from trustbase.model.scratch import kept_model, save_base, size_of
from trustbase.records import Trained
from trustbase.train.options import TrainOptions
from trustbase.train.pretrain import Pretrained, pretrain
from trustbase.train.pretrain_options import Whole
from trustbase.train.probes import ProbeSet, live_probe
from trustbase.train.rows import Order
from trustbase.train.scene import Corpus, weights_of
from trustbase.train.world import joined


def train_and_save(
    model: nn.Module,
    tokenizer: Any,
    corpus: Corpus,
    objective: Mapping[str, float] | Sequence[str] | str,
    *,
    context: int,
    options: TrainOptions,
    whole_words: Whole,
    order: Order,
    probes: Sequence[ProbeSet],
    peak: float | None,
    shard: bool,
    described: Mapping[str, Any],
    folder: Path,
    emit: Emit,
) -> Trained:
    """Pretrain, save to `folder/trained`, read that back and compare.

    Args:
        model: from `build_model` or `continue_model`; trained in place.
        tokenizer: its own.
        corpus: tokens for training, and held out.
        objective, context, options, whole_words, order, emit: as for `pretrain`.
        probes: labelled sets that are asked about at every evaluation.
        peak: operations a second that this machine can do at most, where it was measured.
        shard: divide the model's state over the processes.
        described: what the model came from, for its lineage.
        folder: of all checkpoints.

    Raises:
        TrainingError: training stopped itself, or what was saved is not what was trained.
    """

    def watch() -> Mapping[str, float]:
        return live_probe(model, tokenizer, probes, context=context, device=str(next(model.parameters()).device)) if probes else {}

    with joined(choose_device()) as world:
        done = pretrain(
            model,
            objective,
            corpus,
            tokenizer,
            context=context,
            options=options,
            folder=folder,
            order=order,
            whole_words=whole_words,
            fingerprint={"described": dict(described), "shape": size_of(model)},
            peak=peak,
            watch=watch,
            shard=shard,
            emit=emit,
        )
        return world.from_first(lambda: _saved(done, model, tokenizer, objective, described, context, whole_words, folder))


def _saved(
    done: Pretrained,
    model: nn.Module,
    tokenizer: Any,
    objective: Mapping[str, float] | Sequence[str] | str,
    described: Mapping[str, Any],
    context: int,
    whole_words: Whole,
    folder: Path,
) -> Trained:
    """Write the base model, read it back, and say what training left."""
    names = tuple(weights_of(objective))
    target = folder / "trained"
    facts = {**done.facts, "objectives": list(names), "context": context, "whole_words": whole_words, **size_of(kept_model(model))}
    save_base(
        model,
        tokenizer,
        target,
        described=described,
        meta={"pretraining": {"objectives": list(names), "context": context}},
        context=context,
    )
    refuse_loss(model, target, names)
    return _record(done, target, facts)


def refuse_loss(model: nn.Module, folder: Path, objectives: Sequence[str]) -> None:
    """Read a saved base as the next run would, and compare every parameter, heads included.

    Raises:
        TrainingError: something was not saved, or is not what is in memory.
    """
    reloaded, fresh = continue_model(resolve_base(str(folder.resolve())), objectives, seed=0)
    lost = [name for name in fresh if name != "generator"]
    kept = dict(kept_model(reloaded).named_parameters())
    for name, parameter in kept_model(model).named_parameters():
        other = kept.get(name)
        if other is None or not torch.equal(other.detach().cpu(), parameter.detach().float().cpu()):
            lost.append(name)
    if lost:
        raise TrainingError(
            f"The base model in '{folder.name}' is not the one in memory: {', '.join(sorted(set(lost))[:5])} differ or were lost",
            hint="this is a fault of saving, not of your data: report it",
        )


def _record(done: Pretrained, folder: Path, facts: Mapping[str, Any]) -> Trained:
    """What training leaves; its number is the held-out perplexity, else an accuracy, else the training loss."""
    measured = done.held_out.findings() if done.held_out is not None else {}
    metric, value = next(iter(measured.items()), ("training_loss", float(done.progress.history[-1]["training_loss"])))
    return Trained(
        folder=folder,
        digest=checkpoint_digest(folder),
        steps=done.progress.step,
        epochs=float(facts.get("epochs", 0.0)),
        best_metric=metric,
        best_value=value,
        reload_difference=0.0,
        facts={**facts, "held_out": measured},
    )
