"""Low-rank updates in the form P·Λ·Q that begin with more ranks than wanted and lose those that matter least, wherever they are.

Ranks fall from `start_rank` to `rank` in the mean of all layers, along a cubic curve between two shares of the planned updates; then they
stay. Where the best checkpoint is an earlier one, it has the ranks that it had then. The layers are PEFT's; the schedule is ours, since it
must know the real number of updates and be part of a checkpoint.

Source: Zhang et al. (2023), AdaLoRA: Adaptive budget allocation for parameter-efficient fine-tuning, sections 3.1 to 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from trustbase.model.adaptations.libraries import peft
from trustbase.model.adaptations.low_rank import as_in_memory, as_saved, inject, merge_updates, settings, updates
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.adaptations.ranks import Ranks
from trustbase.model.adaptations.shared import Leaves, State, Way, load_whole, train_only_head
from trustbase.model.adaptations.targets import is_turned, refuse_absent, target_names, target_problems

_UNUSED_TOTAL = 1_000_000  # PEFT's configuration wants a number of updates; its own schedule is never asked


def prepare(model: nn.Module, options: AdaptOptions, *, seed: int) -> None:
    """Put the updates in place, with the ranks they start from.

    Raises:
        RecipeError: a target names no layer of this model.
    """
    inject(model, _config(model, options, target_names(model, options.targets, usual=False)), seed=seed)
    train_only_head(model, also="lora_")


def _config(model: nn.Module, options: AdaptOptions, names: Sequence[str]) -> Any:
    return peft().AdaLoraConfig(
        target_r=options.rank,
        init_r=options.first_rank,
        lora_alpha=options.scale,  # PEFT divides by the starting rank
        lora_dropout=options.dropout,
        target_modules=list(names),
        total_step=_UNUSED_TOTAL,
        fan_in_fan_out=any(is_turned(model.get_submodule(name)) for name in names),
        bias="none",
    )


def _restore(model: nn.Module, options: AdaptOptions, settings: Mapping[str, Any], state: State) -> None:
    """Put saved updates and head into a model that holds the weights of the base.

    Raises:
        ModelError: something is missing from the saved state, or left over.
    """
    names = list(settings["target_modules"])
    refuse_absent(model, names)
    inject(model, _config(model, options, names), seed=0)
    load_whole(model, set(updates(model)), as_in_memory(state))
    train_only_head(model, also="lora_")


ADALORA = Way(
    prepare,
    leaves=Leaves(lambda model, options: settings(model, options, _config), lambda model: as_saved(updates(model)), _restore),
    merge=merge_updates,
    problems=target_problems,
    companion=Ranks,
)
