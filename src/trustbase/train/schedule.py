"""Optimizer and learning rate: no decay on biases and norms; warm-up, then a straight, cosine, late (WSD) or no fall."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from trustbase.model.fused import is_column_part
from trustbase.train.depth import depths
from trustbase.train.optimizers import adafactor, adamw, hidden_matrices, muon
from trustbase.train.options import TrainOptions


def learning_rate_factor(step: int, total: int, *, schedule: str, warmup: float, cooldown: float = 0.2) -> float:
    """Share of the highest learning rate at an update counted from 0.

    Args:
        step: the update.
        total: updates in all.
        schedule: `linear`, `cosine`, `constant` or `wsd` (warm-up, stable, decay).
        warmup: share of the updates in which the rate rises.
        cooldown: wsd: share of the updates in which it falls, along 1 - √.

    Source: as in `transformers.get_scheduler` and `get_wsd_schedule`, which the tests use as oracle; the fall along 1 - √:
    Hägele et al. (2024), Scaling laws and compute-optimal training beyond fixed training durations, section 3.
    """
    rising = math.ceil(warmup * total)
    if step < rising:
        return step / max(1, rising)
    if schedule == "constant":
        return 1.0
    if schedule == "wsd":
        falling = min(math.ceil(cooldown * total), total - rising)
        late = step - (total - falling)
        return 1.0 if late < 0 else max(0.0, 1.0 - math.sqrt(min(1.0, late / max(1, falling))))
    share = (step - rising) / max(1, total - rising)
    if schedule == "linear":
        return max(0.0, 1.0 - share)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * min(1.0, share))))


def undecayed(model: nn.Module) -> set[str]:
    """Names of parameters that weight decay must not touch: biases and everything in a norm layer."""
    names = {name for name, _ in model.named_parameters() if name.endswith("bias")}
    for prefix, module in model.named_modules():
        if "norm" in type(module).__name__.lower():
            names |= {f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters(recurse=False)}
    return names


def make_optimizer(model: nn.Module, trained: Sequence[tuple[str, nn.Parameter]], options: TrainOptions) -> torch.optim.Optimizer:
    """The recipe's optimizer over the trained parameters, in the order given (which is the order in checkpoints).

    Raises:
        UsageError: rates that fall from layer to layer, in a model without one stack of layers.

    Source: rates by layer: Howard, Ruder (2018), Universal language model fine-tuning, section 3.2.
    """
    plain_names = undecayed(model)
    head = head_names(model)
    depth = depths(model) if options.layer_decay < 1 else None
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained:
        decay = 0.0 if name in plain_names else options.weight_decay
        rate = options.head_learning_rate if options.head_learning_rate is not None and name in head else options.learning_rate
        if is_column_part(name):
            rate = options.feature_learning_rate
        if depth is not None:
            rate *= options.layer_decay ** depth(name)
        groups.setdefault((decay, rate), []).append(parameter)
    described = [{"params": members, "weight_decay": decay, "lr": rate, "highest_lr": rate} for (decay, rate), members in groups.items()]
    if options.optimizer == "muon":
        hidden = hidden_matrices(model)
        return muon(described, options, hidden={id(parameter) for name, parameter in trained if name in hidden})
    return adafactor(described, options) if options.optimizer == "adafactor" else adamw(described, options)


def head_names(model: nn.Module) -> set[str]:
    """Names of the parameters of the classification head."""
    parts = {"classifier", "score", "classification_head", "pre_classifier"}
    return {name for name, _ in model.named_parameters() if parts & set(name.split("."))}


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, total: int, options: TrainOptions) -> float:
    """Give every group the rate of update `step` (from 0); returns the body's."""
    factor = learning_rate_factor(step, total, schedule=options.schedule, warmup=options.warmup, cooldown=options.cooldown)
    for group in optimizer.param_groups:
        group["lr"] = group["highest_lr"] * factor
    return options.learning_rate * factor
