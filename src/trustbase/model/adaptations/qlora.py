"""QLoRA: low-rank updates beside a frozen body whose linear layers are held in 4 bits.

What is trained is what `lora` trains, and what ships is either of two things. The adapter: updates and head, the base by its digest, and
how its weights are packed; the packing is repeated when it is opened, compared by its digest, and gives the same bits. Or one plain model:
each weight unpacked to fp32 and the update added, which answers as the packed one does up to rounding. Added to the base's own weights,
which they were never trained beside, the updates would give other answers; so would packing the sum again.

Source: Dettmers et al. (2023), QLoRA: Efficient finetuning of quantized LLMs, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trustbase.errors import ModelError, Problem
from trustbase.model.adaptations.four_bits import Packing, pack, packed_digest, packed_layers, replace
from trustbase.model.adaptations.libraries import missing, peft
from trustbase.model.adaptations.low_rank import ADAPTER, adapted_layers, as_in_memory, as_saved, forget_peft, inject, settings, updates
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.adaptations.shared import Leaves, State, Way, load_whole, train_only_head
from trustbase.model.adaptations.targets import refuse_absent, target_names, target_problems

_PACKING = "trustbase_packing"  # beside PEFT's own keys, which do not say how the base is packed


def prepare(model: nn.Module, options: AdaptOptions, *, seed: int) -> None:
    """Pack the linear layers of the body, and put updates beside the chosen ones (all, where none are named).

    Raises:
        RecipeError: a target names no layer of this model.
        ModelError: bitsandbytes is not installed.
    """
    names = target_names(model, options.targets, usual=False)
    pack(model, Packing(options.double_quantisation, options.compute))
    inject(model, _config(model, options, names), seed=seed)
    train_only_head(model, also="lora_")


def _config(model: nn.Module, options: AdaptOptions, names: Sequence[str]) -> Any:
    """PEFT's configuration for these options."""
    return peft().LoraConfig(
        r=options.rank,
        lora_alpha=options.scale,
        lora_dropout=options.dropout,
        target_modules=list(names),
        init_lora_weights=True,
        bias="none",
    )


def _settings(model: nn.Module, options: AdaptOptions) -> dict[str, Any]:
    """PEFT's, and how the base is packed: with its digest, so that another packing is noticed."""
    packing = next(iter(packed_layers(model).values())).packing
    return settings(model, options, _config) | {_PACKING: packing.to_json(packed_digest(model))}


def _restore(model: nn.Module, options: AdaptOptions, settings: Mapping[str, Any], state: State) -> None:
    """Pack the base as it was packed, and put saved updates and head in place.

    Raises:
        ModelError: bitsandbytes is not installed, the packed weights are not those that were trained beside, or something is missing from
            the saved state, or left over.
    """
    said = settings.get(_PACKING)
    if not isinstance(said, Mapping):
        raise ModelError("The saved adapter does not say how its base is packed", hint="take the adapter from a sound copy")
    names = list(settings["target_modules"])
    refuse_absent(model, names)
    pack(model, Packing.from_json(said))
    found = packed_digest(model)
    if found != said.get("digest"):
        raise ModelError(
            f"The base model packs to other weights here ({found}) than those the adapter was trained beside ({said.get('digest')})",
            hint=f"install bitsandbytes {said.get('bitsandbytes')}, or ship one whole model (release.weights: merged), which needs none",
        )
    inject(model, _config(model, options, names), seed=0)
    load_whole(model, set(updates(model)), as_in_memory(state))
    train_only_head(model, also="lora_")


@torch.no_grad()
def _merge(model: nn.Module) -> None:
    """Plain layers again: each weight unpacked, with its update added in fp32.

    Raises:
        ModelError: a merged weight is not finite.
    """
    updated = adapted_layers(model)
    for name, layer in updated.items():
        base = layer.get_base_layer()
        weight = base.weight + layer.get_delta_weight(ADAPTER)
        if not bool(torch.isfinite(weight).all()):
            raise ModelError(f"The update of '{name}' cannot be merged: it is not finite", hint="lower the learning rate and train again")
        replace(model, name, base.plain(weight))
    for name, packed in packed_layers(model).items():
        replace(model, name, packed.plain(packed.weight))
    forget_peft(model)


def _problems(model: nn.Module, options: AdaptOptions) -> list[Problem]:
    return [*missing(), *target_problems(model, options)]


QLORA = Way(
    prepare,
    leaves=Leaves(_settings, lambda model: as_saved(updates(model)), _restore),
    merge=_merge,
    problems=_problems,
)
