"""How deep in a model a parameter lies, for learning rates that fall towards the words."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from trustbase.errors import UsageError
from trustbase.model.cut import NoStackError, layer_stack


def depths(model: nn.Module) -> Callable[[str], int]:
    """Layers between a parameter and the head, by its name: 0 in the last layer and above, one more with each layer below.

    What stands before the first layer (embeddings) counts as a layer of its own.

    Raises:
        UsageError: the model has no stack of layers, or several (an encoder and a decoder).
    """
    try:
        stack, layers = layer_stack(model)
    except NoStackError as what:
        raise UsageError(
            f"train.layer_decay lets learning rates fall from layer to layer, and {type(model).__name__} has {what}",
            hint="remove train.layer_decay",
        ) from what
    names = [name for name, _ in model.named_parameters()]
    first = next(number for number, name in enumerate(names) if name.startswith(f"{stack}."))
    before = set(names[:first])

    def depth(name: str) -> int:
        if name.startswith(f"{stack}."):
            return len(layers) - 1 - int(name[len(stack) + 1 :].split(".", 1)[0])
        return len(layers) if name in before else 0

    return depth
