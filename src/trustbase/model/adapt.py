"""Which parameters are trained: all, the head alone, or low-rank updates beside the frozen body. The head always is."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from trustbase.errors import ModelError, Problem, RecipeError
from trustbase.model.frozen import frozen_features, head_only
from trustbase.model.options import AdaptOptions
from trustbase.model.pretrained import (
    body_prefix,
    config_of,
    empty_classifier,
    head_names,
    origin_of,
    read_config,
    refuse_impossible,
    set_origin,
)
from trustbase.recipe.lookup import ADAPTATIONS, load
from trustbase.records import BaseModel
from trustbase.seeds import stream_seed

__all__ = [
    "adapt",
    "adapt_problems",
    "adapted_layers",
    "adapted_with",
    "frozen",
    "frozen_features",
    "full",
    "head_only",
    "lora",
    "merge",
    "trainable",
]

_OPTIONS = "trustbase_adaptation"
_ADAPTER = "default"
_INITIAL = "trustbase_initial_update"


def adapt(model: nn.Module, options: AdaptOptions, *, seed: int) -> nn.Module:
    """Prepare a model for training as the recipe's `adapt:` says; the method is found in the registry.

    Raises:
        RecipeError: a target names no layer of this model.
    """
    adapted: nn.Module = load(ADAPTATIONS[options.method])(model, options, seed=seed)
    object.__setattr__(adapted, _OPTIONS, options)
    return adapted


def full(model: nn.Module, options: AdaptOptions, *, seed: int) -> nn.Module:
    """Train every parameter."""
    return model.requires_grad_(True)


def frozen(model: nn.Module, options: AdaptOptions, *, seed: int) -> nn.Module:
    """Train the head alone; `frozen_features` and `head_only` then train it without running the body again."""
    _only_head(model)
    return model


def lora(model: nn.Module, options: AdaptOptions, *, seed: int) -> nn.Module:
    """Put low-rank updates beside chosen layers of the body; the head is trained as a whole.

    The model stays the transformers model it was: layers are replaced in place and its class does not change. Updates
    start from the stream `lora` of the seed; the global random state is neither used nor changed.

    Source: Hu et al. (2022), LoRA; Kalajdzievski (2023), rsLoRA; Liu et al. (2024), DoRA; Meng et al. (2024), PiSSA.

    Raises:
        RecipeError: a target names no layer of this model.
    """
    from peft import inject_adapter_in_model

    names = target_names(model, options.targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "lora"))
        inject_adapter_in_model(lora_config(model, options, names), model, adapter_name=_ADAPTER)
    if options.init == "pissa":
        for layer in adapted_layers(model).values():
            start = {"lora_A": layer.lora_A[_ADAPTER].weight.detach().clone(), "lora_B": layer.lora_B[_ADAPTER].weight.detach().clone()}
            object.__setattr__(layer, _INITIAL, start)
    _only_head(model, also="lora_")
    object.__setattr__(model, _OPTIONS, options)
    return model


def adapted_with(model: nn.Module) -> AdaptOptions | None:
    """The options a model was adapted with; None for one that was not, or was merged."""
    options: AdaptOptions | None = getattr(model, _OPTIONS, None)
    return options


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """Layers with low-rank updates, by their full name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Names and parameters that training changes."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def merge(model: nn.Module) -> nn.Module:
    """A plain transformers model that answers the same: low-rank updates added into the weights. The original stays.

    Raises:
        ModelError: a merged weight is not finite.
    """
    merged = copy.deepcopy(model)
    options, origin = adapted_with(model), origin_of(model)
    if options is not None and origin is not None:
        set_origin(merged, replace(origin, adaptation=options.model_dump(mode="json", exclude_unset=True)))
    for name, layer in adapted_layers(merged).items():
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:  # PEFT's way to say NaN
            raise ModelError(f"The update of '{name}' cannot be merged: {error}", hint="lower the learning rate and train again") from error
        parent, _, child = name.rpartition(".")
        setattr(merged.get_submodule(parent), child, layer.get_base_layer())
    for stray in ("peft_config", "_hf_peft_config_loaded", _OPTIONS):
        merged.__dict__.pop(stray, None)
    return merged.requires_grad_(True)


def target_names(model: nn.Module, targets: Sequence[str] | None) -> list[str]:
    """Full names of the body's layers that get updates.

    Args:
        model: the model.
        targets: last parts of layer names (`query`, `attention.output.dense`), `all-linear`, or None: what PEFT uses
            for the architecture, else all linear layers.

    Raises:
        RecipeError: a target names no layer of the body; all such targets at once, with the nearest name.
    """
    linear = _linear_layers(model)
    if targets is None:
        from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL

        usual = [name for name in linear if _ends_with(name, USUAL.get(config_of(model).model_type, ()))]
        return usual or linear
    if "all-linear" in targets:
        return linear
    problems = [_unknown_target(target, linear) for target in targets if not any(_ends_with(name, [target]) for name in linear)]
    if problems:
        raise RecipeError(
            f"Some LoRA targets are no layers of {type(model).__name__}", problems=problems, hint="name layers of the body, or [all-linear]"
        )
    return [name for name in linear if _ends_with(name, targets)]


def base_problems(base: BaseModel, options: AdaptOptions, *, max_length: int) -> list[Problem]:
    """What this base cannot do of what a recipe asks, found before any weight is read: its targets, its longest text.

    Args:
        base: the resolved base model.
        options: the adaptation.
        max_length: tokens of the longest text that the recipe lets in.

    Raises:
        ModelError: the architecture has no classification head at all, or its sizes are not those of the weights.
    """
    from trustbase.model.tokenizer import load_tokenizer, model_max_length

    refuse_impossible(base.folder)
    problems = adapt_problems(base, options)
    longest = model_max_length(read_config(base.folder), load_tokenizer(base.folder))
    if max_length > longest:
        message = f"is {max_length} tokens, and base '{base.reference}' reads at most {longest}"
        problems.append(Problem("train.max_length", message, f"set train.max_length: {longest} or less"))
    return problems


def adapt_problems(base: BaseModel, options: AdaptOptions) -> list[Problem]:
    """What cannot work about an adaptation of this base, found before any weight is read or trained.

    Raises:
        ModelError: the architecture has no classification head at all.
    """
    if options.method != "lora" or options.targets is None:
        return []
    try:
        target_names(empty_classifier(base.folder), options.targets)
    except RecipeError as error:
        return list(error.problems)
    return []


def lora_config(model: nn.Module, options: AdaptOptions, names: Sequence[str], *, plain_start: bool = False) -> Any:
    """PEFT's configuration for these options; `plain_start` where weights will be loaded and no start is wanted."""
    from peft import LoraConfig

    return LoraConfig(
        r=options.rank,
        lora_alpha=options.scale,
        lora_dropout=options.dropout,
        target_modules=list(names),
        use_dora=options.dora,
        use_rslora=options.rslora,
        init_lora_weights="pissa" if options.init == "pissa" and not plain_start else True,
        fan_in_fan_out=any(type(model.get_submodule(name)).__name__ == "Conv1D" for name in names),
        bias="none",
    )


def adapter_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What a LoRA checkpoint must hold beside the base: updates, head, and for PiSSA where the updates started."""
    head = set(head_names(model))
    state = {name: tensor.detach() for name, tensor in model.state_dict().items() if "lora_" in name or name in head}
    for name, layer in adapted_layers(model).items():
        for part, tensor in getattr(layer, _INITIAL, {}).items():
            state[f"{name}.initial_{part}"] = tensor
    return state


def restore_adapter(model: nn.Module, options: AdaptOptions, names: Sequence[str], state: Mapping[str, torch.Tensor]) -> nn.Module:
    """Put saved updates and head into a model that holds the weights of the base.

    Raises:
        ModelError: something is missing from the saved state, or left over.
    """
    from peft import inject_adapter_in_model

    absent = [name for name in names if name not in set(_linear_layers(model))]
    if absent:
        raise ModelError(
            f"The base model has no layers {', '.join(absent[:5])}, which the adapter updates", hint="use the base model it was trained on"
        )
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(lora_config(model, options, names, plain_start=True), model, adapter_name=_ADAPTER)
    state = dict(state)
    if options.init == "pissa":
        for name, layer in adapted_layers(model).items():
            _subtract_start(layer, {part: state.pop(f"{name}.initial_{part}", None) for part in ("lora_A", "lora_B")}, name)
    wanted = set(adapter_state(model)) - {name for name in adapter_state(model) if ".initial_lora_" in name}
    if wanted != set(state):
        lost, surplus = sorted(wanted - set(state)), sorted(set(state) - wanted)
        problems = [Problem("", f"{what}: {', '.join(some[:5])}") for what, some in (("missing", lost), ("left over", surplus)) if some]
        raise ModelError("The saved adapter is not whole", problems=problems, hint="train again, or take the adapter from a sound copy")
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # torch's way to say that shapes differ
        raise ModelError(f"The saved adapter does not fit the base model: {error}", hint="use the base model it was trained on") from error
    _only_head(model, also="lora_")
    object.__setattr__(model, _OPTIONS, options)
    return model


def _subtract_start(layer: Any, start: dict[str, torch.Tensor | None], name: str) -> None:
    """PiSSA trains beside what is left of a weight after its start was taken out: W − s·B₀A₀, as PEFT computes it."""
    first, second = start["lora_A"], start["lora_B"]
    if first is None or second is None:
        raise ModelError(f"The saved adapter is not whole: where the update of '{name}' started is missing", hint="train again")
    weight = layer.get_base_layer().weight
    update = layer.scaling[_ADAPTER] * second @ first
    weight.data = (weight.data.T - update).T if layer.fan_in_fan_out else weight.data - update
    object.__setattr__(layer, _INITIAL, {"lora_A": first.clone(), "lora_B": second.clone()})


def _only_head(model: nn.Module, *, also: str | None = None) -> None:
    head = set(head_names(model))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in head or (also is not None and also in name))


def _linear_layers(model: nn.Module) -> list[str]:
    """Full names of the linear layers of the body, without those of its pooler, which belongs to the head."""
    prefix = body_prefix(model)
    found = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"]
    return [name for name in found if name.startswith(f"{prefix}.") and not name.startswith(f"{prefix}.pooler.")]


def _ends_with(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.endswith("." + target) for target in targets)


def _unknown_target(target: str, linear: Sequence[str]) -> Problem:
    known = sorted({name.rsplit(".", 1)[-1] for name in linear})
    near = difflib.get_close_matches(target.rsplit(".", 1)[-1], known, n=1)
    return Problem(
        "adapt.targets",
        f"'{target}' names no linear layer of the body, which has {', '.join(known)}",
        f"did you mean '{near[0]}'?" if near else "",
    )
