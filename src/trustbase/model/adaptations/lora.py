"""Low-rank updates beside chosen layers of the frozen body, and a head that is trained as a whole.

The model stays the transformers model it was: layers are replaced in place and its class does not change. Updates start from the stream
`lora` of the seed; the global random state is neither used nor changed.

Source: Hu et al. (2022), LoRA; Kalajdzievski (2023), rsLoRA; Liu et al. (2024), DoRA; Meng et al. (2024), PiSSA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trustbase.errors import ModelError
from trustbase.model.adaptations.libraries import peft
from trustbase.model.adaptations.low_rank import ADAPTER, adapted_layers, as_in_memory, as_saved, inject, merge_updates, settings, updates
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.adaptations.shared import Leaves, State, Way, load_whole, train_only_head
from trustbase.model.adaptations.targets import is_turned, refuse_absent, target_names, target_problems

_INITIAL = "trustbase_initial_update"


def prepare(model: nn.Module, options: AdaptOptions, *, seed: int) -> None:
    """Put the updates in place.

    Raises:
        RecipeError: a target names no layer of this model.
    """
    inject(model, _config(model, options, target_names(model, options.targets)), seed=seed)
    if options.init == "pissa":
        for layer in adapted_layers(model).values():
            start = {"lora_A": layer.lora_A[ADAPTER].weight.detach().clone(), "lora_B": layer.lora_B[ADAPTER].weight.detach().clone()}
            object.__setattr__(layer, _INITIAL, start)
    train_only_head(model, also="lora_")


def _config(model: nn.Module, options: AdaptOptions, names: Sequence[str], *, plain_start: bool = False) -> Any:
    """PEFT's configuration for these options; `plain_start` where weights will be loaded and no start is wanted."""
    return peft().LoraConfig(
        r=options.rank,
        lora_alpha=options.scale,
        lora_dropout=options.dropout,
        target_modules=list(names),
        use_dora=options.dora,
        use_rslora=options.rslora,
        init_lora_weights="pissa" if options.init == "pissa" and not plain_start else True,
        fan_in_fan_out=any(is_turned(model.get_submodule(name)) for name in names),
        bias="none",
    )


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Updates, head, and for PiSSA where the updates started."""
    state = updates(model)
    for name, layer in adapted_layers(model).items():
        for part, tensor in getattr(layer, _INITIAL, {}).items():
            state[f"{name}.initial_{part}"] = tensor
    return as_saved(state)


def _restore(model: nn.Module, options: AdaptOptions, settings: Mapping[str, Any], state: State) -> None:
    """Put saved updates and head into a model that holds the weights of the base.

    Raises:
        ModelError: something is missing from the saved state, or left over.
    """
    names = list(settings["target_modules"])
    refuse_absent(model, names)
    inject(model, _config(model, options, names, plain_start=True), seed=0)
    known = as_in_memory(state)
    if options.init == "pissa":
        for name, layer in adapted_layers(model).items():
            _subtract_start(layer, {part: known.pop(f"{name}.initial_{part}", None) for part in ("lora_A", "lora_B")}, name)
    load_whole(model, set(updates(model)), known)
    train_only_head(model, also="lora_")


def _subtract_start(layer: Any, start: dict[str, torch.Tensor | None], name: str) -> None:
    """PiSSA trains beside what is left of a weight after its start was taken out: W − s·B₀A₀, as PEFT computes it."""
    first, second = start["lora_A"], start["lora_B"]
    if first is None or second is None:
        raise ModelError(f"The saved adapter is not whole: where the update of '{name}' started is missing", hint="train again")
    weight = layer.get_base_layer().weight
    update = layer.scaling[ADAPTER] * second @ first
    weight.data = (weight.data.T - update).T if layer.fan_in_fan_out else weight.data - update
    object.__setattr__(layer, _INITIAL, {"lora_A": first.clone(), "lora_B": second.clone()})


LORA = Way(
    prepare,
    leaves=Leaves(lambda model, options: settings(model, options, _config), _state, _restore),
    merge=merge_updates,
    problems=target_problems,
)
