"""Which linear layers of a body get low-rank updates, by the names that a recipe gives."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from torch import nn

from trustbase.errors import ModelError, Problem, RecipeError
from trustbase.model.adaptations.libraries import peft
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.pretrained import body_prefix, config_of


def target_names(model: nn.Module, targets: Sequence[str] | None, *, usual: bool = True) -> list[str]:
    """Full names of the body's layers that get updates.

    Args:
        model: the model.
        targets: last parts of layer names (`query`, `attention.output.dense`), `all-linear`, or None: what PEFT uses
            for the architecture, else all linear layers.
        usual: False takes all linear layers where no targets are given.

    Raises:
        RecipeError: a target names no layer of the body; all such targets at once, with the nearest name.
    """
    linear = linear_layers(model)
    if targets is None and usual:
        usual_ones = peft().utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
        known = [name for name in linear if ends_with(name, usual_ones.get(config_of(model).model_type, ()))]
        return known or linear
    if targets is None or "all-linear" in targets:
        return linear
    problems = [_unknown_target(target, linear) for target in targets if not any(ends_with(name, [target]) for name in linear)]
    if problems:
        raise RecipeError(
            f"Some LoRA targets are no layers of {type(model).__name__}", problems=problems, hint="name layers of the body, or [all-linear]"
        )
    return [name for name in linear if ends_with(name, targets)]


def target_problems(model: nn.Module, options: AdaptOptions) -> list[Problem]:
    """Targets of a recipe that name no layer of a model, which may be without weights."""
    if options.targets is None:
        return []
    try:
        target_names(model, options.targets)
    except RecipeError as error:
        return list(error.problems)
    return []


def refuse_absent(model: nn.Module, names: Sequence[str]) -> None:
    """Refuse a saved adapter that updates layers which a base does not have.

    Raises:
        ModelError: some are absent.
    """
    there = set(linear_layers(model))
    absent = [name for name in names if name not in there]
    if absent:
        raise ModelError(
            f"The base model has no layers {', '.join(absent[:5])}, which the adapter updates", hint="use the base model it was trained on"
        )


def linear_layers(model: nn.Module) -> list[str]:
    """Full names of the linear layers of the body, without those of its pooler, which belongs to the head."""
    prefix = body_prefix(model)
    found = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) or is_turned(module)]
    return [name for name in found if name.startswith(f"{prefix}.") and not name.startswith(f"{prefix}.pooler.")]


def is_turned(module: nn.Module) -> bool:
    """GPT-2's linear layers hold their weights the other way round."""
    return type(module).__name__ == "Conv1D"


def ends_with(name: str, targets: Sequence[str]) -> bool:
    """Whether a layer's name is, or ends with, one of these."""
    return any(name == target or name.endswith("." + target) for target in targets)


def _unknown_target(target: str, linear: Sequence[str]) -> Problem:
    known = sorted({name.rsplit(".", 1)[-1] for name in linear})
    near = difflib.get_close_matches(target.rsplit(".", 1)[-1], known, n=1)
    return Problem(
        "adapt.targets",
        f"'{target}' names no linear layer of the body, which has {', '.join(known)}",
        f"did you mean '{near[0]}'?" if near else "",
    )
