"""How deep in a model a parameter lies, for learning rates that fall towards the words."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from trustbase.errors import UsageError


def depths(model: nn.Module) -> Callable[[str], int]:
    """Layers between a parameter and the head, by its name: 0 in the last layer and above, one more with each layer below.

    What stands before the first layer (embeddings) counts as a layer of its own.

    Raises:
        UsageError: the model has no stack of layers, or several (an encoder and a decoder).
    """
    stacks = [(name, len(module)) for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) > 1]
    outer = [(name, size) for name, size in stacks if not any(name.startswith(f"{other}.") for other, _ in stacks)]
    if len(outer) != 1:
        what = "several stacks of layers" if outer else "no stack of two layers or more"
        raise UsageError(
            f"train.layer_decay lets learning rates fall from layer to layer, and {type(model).__name__} has {what}",
            hint="remove train.layer_decay",
        )
    stack, layers = outer[0]
    names = [name for name, _ in model.named_parameters()]
    first = next(number for number, name in enumerate(names) if name.startswith(f"{stack}."))
    before = set(names[:first])

    def depth(name: str) -> int:
        if name.startswith(f"{stack}."):
            return layers - 1 - int(name[len(stack) + 1 :].split(".", 1)[0])
        return layers if name in before else 0

    return depth
