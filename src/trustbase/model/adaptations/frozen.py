"""Train the head alone, or the layers above the first few: what is frozen is then not run again.

The whole body frozen: `frozen_features` and `head_only` (`model/frozen.py`). Its first layers: `Cut` and `frozen_states` (`model/cut.py`,
`model/states.py`).
"""

from __future__ import annotations

from torch import nn

from trustbase.errors import Problem, RecipeError
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.adaptations.shared import Way, train_only_head
from trustbase.model.cut import Cut, NoStackError, layer_stack


def prepare(model: nn.Module, options: AdaptOptions, *, seed: int) -> None:
    """What is frozen asks for no gradients: all but the head, or what the states above the first `layers` layers depend on.

    Raises:
        RecipeError: the model has no such layers, or no more than these.
        ModelError: it cannot be cut between two layers.
    """
    if options.layers is None:
        train_only_head(model)
        return
    found = problems(model, options)
    if found:
        raise RecipeError(f"adapt: frozen with layers does not work for {type(model).__name__}", problems=found)
    below = Cut(model, options.layers).below()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in below)


def problems(model: nn.Module, options: AdaptOptions) -> list[Problem]:
    """More layers to be frozen than there are, or no stack of layers at all."""
    if options.layers is None:
        return []
    try:
        _, layers = layer_stack(model)
    except NoStackError as what:
        return [Problem("adapt.layers", f"{type(model).__name__} has {what}, so that it has no first layers", "use adapt: lora")]
    if options.layers < len(layers):
        return []
    message = f"{options.layers} layers are to be frozen, and one of the {len(layers)} of {type(model).__name__} must be left to train"
    return [Problem("adapt.layers", message, f"set adapt.layers: {len(layers) - 1} or less, or adapt: frozen for the head alone")]


FROZEN = Way(prepare, problems=problems)
