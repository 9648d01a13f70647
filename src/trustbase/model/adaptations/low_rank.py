"""What LoRA and AdaLoRA share: PEFT's layers put in place of linear ones, saved under PEFT's names, added into the weights at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trustbase.errors import ModelError
from trustbase.model.adaptations.libraries import peft
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.adaptations.shared import trainable
from trustbase.model.pretrained import head_names
from trustbase.seeds import stream_seed

ADAPTER = "default"
_PREFIX = "base_model.model."  # PEFT's own, so that its tools can read the adapter
_PARTS = ("lora_A", "lora_B", "lora_E", "lora_magnitude_vector")

Configure = Callable[[nn.Module, AdaptOptions, Sequence[str]], Any]  # model, options, names of layers → PEFT's configuration


def inject(model: nn.Module, config: Any, *, seed: int) -> None:
    """Put PEFT's layers in place of the named ones; they are drawn from the stream `lora`, and no other random state is touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "lora"))
        peft().inject_adapter_in_model(config, model, adapter_name=ADAPTER)


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """Layers with low-rank updates, by their full name."""
    kind = peft().tuners.lora.LoraLayer
    return {name: module for name, module in model.named_modules() if isinstance(module, kind)}


def updates(model: nn.Module) -> dict[str, torch.Tensor]:
    """Updates and head, by their names in the model."""
    head = set(head_names(model))
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if "lora_" in name or name in head}


def settings(model: nn.Module, options: AdaptOptions, configure: Configure) -> dict[str, Any]:
    """PEFT's `adapter_config.json`; PEFT shortens long lists of names to endings, which must not be left to it."""
    names = sorted(adapted_layers(model))
    heads = sorted({name.rsplit(".", 1)[0] for name, _ in trainable(model) if "lora_" not in name})
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in configure(model, options, names).to_dict().items()}
    return config | {"target_modules": names, "modules_to_save": heads}


def as_saved(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names as PEFT writes them."""
    return {_PREFIX + (name + ".").replace(f".{ADAPTER}.", ".").removesuffix("."): tensor for name, tensor in state.items()}


def as_in_memory(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`base_model.model.….lora_A.weight` → `….lora_A.default.weight`, as layers in memory call it; other names lose the prefix alone."""
    found = {}
    for name, tensor in state.items():
        name = name.removeprefix(_PREFIX)
        for part in _PARTS:
            if name.endswith(f".{part}"):
                name = f"{name}.{ADAPTER}"
            name = name.replace(f".{part}.weight", f".{part}.{ADAPTER}.weight")
        found[name] = tensor
    return found


def merge_updates(model: nn.Module) -> None:
    """Add the updates into the weights, and put the plain layers back.

    Raises:
        ModelError: a merged weight is not finite.
    """
    for name, layer in adapted_layers(model).items():
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:  # PEFT's way to say NaN
            raise ModelError(f"The update of '{name}' cannot be merged: {error}", hint="lower the learning rate and train again") from error
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    forget_peft(model)


def forget_peft(model: nn.Module) -> None:
    """Take away what PEFT left on a model whose layers are plain again."""
    for stray in ("peft_config", "_hf_peft_config_loaded"):
        model.__dict__.pop(stray, None)
