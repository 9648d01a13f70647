"""Pretraining that goes on: a checkpoint with the heads that the objectives need, its own where it has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from trustbase.errors import ModelError, Problem, RecipeError
from trustbase.model.folder import check_model_folder, read_object
from trustbase.model.load import describe_base
from trustbase.model.pretrained import (
    SAFE_LOADING,
    Origin,
    judge_weights,
    read_config,
    refuse_damage,
    refuse_impossible,
    set_dropout,
    set_origin,
)
from trustbase.model.quiet import quiet
from trustbase.model.scratch import class_for, with_generator
from trustbase.model.shape import base_model_problems, family_of
from trustbase.records import BaseModel
from trustbase.seeds import stream_seed


def continue_model(base: BaseModel, objectives: Sequence[str], *, seed: int, dropout: float | None = None) -> tuple[nn.Module, list[str]]:
    """A checkpoint as the model that some objectives train, in training mode, fp32.

    Args:
        base: from `resolve_base`.
        objectives: names, such as `("masked",)`.
        seed: heads that the checkpoint lacks come from the stream `model, head`.
        dropout: dropout everywhere; None keeps the checkpoint's own.

    Returns:
        The model (an ELECTRA discriminator with a new generator where tokens are replaced), and the names of the
        parameters that are new: worth saying, since a new head has everything to learn.

    Raises:
        RecipeError: an objective that does not fit the model.
        ModelError: weights of the body are missing, left over or damaged.
    """
    check_model_folder(base.folder)
    objectives = tuple(objectives)
    problems = base_problems(base, objectives)
    if problems:
        raise RecipeError(f"Pretraining of '{base.reference}' cannot go on like this", problems=problems)
    refuse_impossible(base.folder)
    config = read_config(base.folder)
    if dropout is not None:
        set_dropout(config, dropout)
    model, info = _load(base, _class(base, config.model_type, objectives), config, seed)
    new = {name for name in info["missing_keys"] if not _of_body(model, name)}
    judge_weights(base.folder, model, new, set(info["missing_keys"]), set(info["unexpected_keys"]), _names(info["mismatched_keys"]))
    refuse_damage(base.folder, model)
    set_origin(model, Origin("pretraining", describe_base(base), base=base))
    fresh = sorted(name for name, _ in model.named_parameters() if name in new)
    if "replaced_token" in objectives:
        return with_generator(model, seed=seed).train(), [*fresh, "generator"]
    return model.train(), fresh


def base_problems(base: BaseModel, objectives: Sequence[str], *, length: int | None = None) -> list[Problem]:
    """What cannot work about going on with a base, found before any weight is read."""
    return base_model_problems(read_object(base.folder / "config.json"), tuple(objectives), length=length)


def _class(base: BaseModel, model_type: str, objectives: tuple[str, ...]) -> Any:
    import transformers as library

    if model_type in ("roformer", "bert", "electra"):
        return class_for(model_type, objectives)
    if objectives == ("contrastive",):
        return library.AutoModel
    family = family_of(read_object(base.folder / "config.json"))
    automatic = {
        "encoder": library.AutoModelForMaskedLM,
        "decoder": library.AutoModelForCausalLM,
        "encoder-decoder": library.AutoModelForSeq2SeqLM,
    }
    return automatic[family]


def _load(base: BaseModel, architecture: Any, config: Any, seed: int) -> tuple[nn.Module, dict[str, Any]]:
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "model", "head"))
            model, info = architecture.from_pretrained(
                base.folder,
                config=config,
                **SAFE_LOADING,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # the library raises errors of many kinds here; the cause is kept
        raise ModelError(
            f"base '{base.reference}' cannot be loaded for pretraining: {type(error).__name__}: {error}", hint="name another base"
        ) from error
    return model, info


def _of_body(model: Any, name: str) -> bool:
    """Whether a parameter belongs to the body; its pooler, which masked models leave out, does not."""
    prefix = str(model.base_model_prefix)
    inside = name.startswith(f"{prefix}.") if hasattr(model, prefix) else not name.startswith(("lm_head", "cls.", "pooler."))
    return inside and not name.startswith(f"{prefix}.pooler.")


def _names(mismatched: Any) -> set[str]:
    return {item if isinstance(item, str) else item[0] for item in mismatched}
