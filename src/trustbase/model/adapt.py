"""Which parameters are trained, and what is put beside the others: the registry's adaptations, asked by name."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from trustbase.errors import ModelError, Problem
from trustbase.model.adaptations.low_rank import adapted_layers
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.adaptations.shared import Companion, Way, adapted_with, mark, trainable
from trustbase.model.adaptations.targets import target_names
from trustbase.model.cut import Cut
from trustbase.model.folder import CHECKPOINT, COLUMNS_FILE, read_object
from trustbase.model.frozen import frozen_features, head_only
from trustbase.model.heads import SEQUENCE
from trustbase.model.pretrained import empty_classifier, origin_of, read_config, refuse_impossible, set_origin
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import ADAPTATIONS
from trustbase.records import BaseModel

__all__ = [
    "adapt",
    "adapt_problems",
    "adapted_layers",
    "adapted_with",
    "base_problems",
    "companion_of",
    "cut_of",
    "frozen_features",
    "head_only",
    "merge",
    "merges",
    "target_names",
    "trainable",
    "way_of",
]


def way_of(options: AdaptOptions) -> Way:
    """The adaptation that options name."""
    way: Way = load(ADAPTATIONS[options.method])
    return way


def adapt(model: nn.Module, options: AdaptOptions, *, seed: int) -> nn.Module:
    """Prepare a model for training as the recipe's `adapt:` says, in place; the method is found in the registry.

    Raises:
        RecipeError: what the options name is no part of this model.
        ModelError: the architecture does not work with this adaptation.
    """
    way_of(options).prepare(model, options, seed=seed)
    mark(model, options)
    return model


def cut_of(model: nn.Module) -> Cut | None:
    """Where a model is cut between frozen layers and trained ones; None where it is not."""
    options = adapted_with(model)
    return Cut(model, options.layers) if options is not None and options.layers is not None else None


def companion_of(model: nn.Module, total: int) -> Companion | None:
    """What goes along with a training of `total` updates, where the model's adaptation wants anything to."""
    options = adapted_with(model)
    way = way_of(options) if options is not None else None
    return way.companion(model, options, total) if way is not None and options is not None and way.companion is not None else None


def merges(model: nn.Module) -> bool:
    """Whether a plain transformers model can answer the same: nothing was added, or it can become part of the weights."""
    options = adapted_with(model)
    return options is None or ADAPTATIONS[options.method].merges


def merge(model: nn.Module) -> nn.Module:
    """A plain transformers model that answers the same: what was added is in its weights. The original stays.

    Raises:
        ModelError: a merged weight is not finite, or what was added cannot become part of the weights.
    """
    options, origin = adapted_with(model), origin_of(model)
    if options is not None and not merges(model):
        raise ModelError(f"what adapt: {options.method} adds to a model cannot become part of its weights", hint="use adapt: lora for that")
    merged = copy.deepcopy(model)
    if options is not None and origin is not None:
        set_origin(merged, replace(origin, adaptation=options.model_dump(mode="json", exclude_unset=True)))
    into = way_of(options).merge if options is not None else None
    if into is not None:
        into(merged)
    mark(merged, None)
    return merged.requires_grad_(True)


def base_problems(base: BaseModel, options: AdaptOptions, *, max_length: int, head: str = SEQUENCE) -> list[Problem]:
    """What this base cannot do of what a recipe asks, found before any weight is read: its layers, its longest text.

    Args:
        base: the resolved base model.
        options: the adaptation.
        max_length: tokens of the longest text that the recipe lets in.
        head: that the task needs (`heads.HEADS`).

    Raises:
        ModelError: the architecture has no such head at all, or its sizes are not those of the weights.
    """
    from trustbase.model.tokenizer import load_tokenizer, model_max_length

    refuse_impossible(base.folder, head)
    problems = _not_plain(base)
    if problems:
        return problems
    problems = adapt_problems(base, options, head)
    longest = model_max_length(read_config(base.folder, head), load_tokenizer(base.folder))
    taken = 0 if problems else way_of(options).places(empty_classifier(base.folder, head), options)
    if max_length > longest - taken:
        beside = f", of which adapt: {options.method} takes {taken}" if taken else ""
        message = f"is {max_length} tokens, and base '{base.reference}' reads at most {longest}{beside}"
        problems.append(Problem("train.max_length", message, f"set train.max_length: {longest - taken} or less"))
    return problems


def _not_plain(base: BaseModel) -> list[Problem]:
    """A base that is a model of ours with a module beside its weights: a new head would be trained on the weights alone."""
    said = read_object(base.folder / CHECKPOINT) if (base.folder / CHECKPOINT).is_file() else {}
    if (base.folder / COLUMNS_FILE).is_file():
        what = f"base '{base.reference}' was trained with data.features, and the network that reads them is part of its answers"
        return [Problem("base", what, "name the base that it was trained on")]
    method = str((said.get("adaptation") or {}).get("method", ""))
    if said.get("kind") not in ("adapter", "adapted") or method not in ADAPTATIONS or ADAPTATIONS[method].merges:
        return []
    what = f"base '{base.reference}' was trained with adapt: {method}, whose module cannot become part of its weights"
    return [Problem("base", what, "name the base that it was trained on, or train it with adapt: lora")]


def adapt_problems(base: BaseModel, options: AdaptOptions, head: str = SEQUENCE) -> list[Problem]:
    """What cannot work about an adaptation of this base, found before any weight is read or trained.

    Raises:
        ModelError: the architecture has no classification head at all.
    """
    return way_of(options).problems(empty_classifier(base.folder, head), options)
