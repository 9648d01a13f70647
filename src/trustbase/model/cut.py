"""A model cut between two of its layers: what lies below says the same of a row in every epoch, what lies above is trained on that.

Nothing is copied: for the time of a call the stack of layers is a shorter one, and the first layer above the cut is handed the states
in place of what reaches it. So each architecture runs in its own forward, with its own masks and positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trustbase.errors import ModelError
from trustbase.model.evaluating import evaluating
from trustbase.model.fused import COLUMNS, is_column_part
from trustbase.model.heads import outputs_of
from trustbase.model.pretrained import body_prefix, config_of
from trustbase.model.quiet import quiet

_TRIAL_TOLERANCE = 1e-4  # of the largest score, fp32


class NoStackError(Exception):
    """A model without one stack of layers; says what it has in place of one."""


def layer_stack(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Name and layers of a model's one stack of two layers or more.

    Raises:
        NoStackError: there is none (layers that share one set of weights are none), or several (an encoder and a decoder).
    """
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) > 1]
    stacks = [(name, module) for name, module in found if not is_column_part(name)]  # what reads columns hangs on the head
    outer = [(name, module) for name, module in stacks if not any(name.startswith(f"{other}.") for other, _ in stacks)]
    if len(outer) != 1:
        raise NoStackError("several stacks of layers" if outer else "no stack of two layers or more")
    return outer[0]


class _Reached(Exception):  # noqa: N818 - no error: it ends a forward whose rest is not wanted
    """The states that reached the first layer above the cut."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


class Cut:
    """A classifier cut above its first `layers` layers.

    Args:
        model: the classifier, which stays as it is.
        layers: how many layers lie below, with the embeddings; fewer than it has.
    """

    def __init__(self, model: nn.Module, layers: int) -> None:
        name, stack = layer_stack(model)
        place, _, self._attribute = name.rpartition(".")
        self._model, self._name, self.layers = model, name, layers
        self._owner = model.get_submodule(place)
        self._first: Any = stack[layers]
        self._up_to_first, self._above = nn.ModuleList(list(stack)[: layers + 1]), nn.ModuleList(list(stack)[layers:])

    def states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What reaches the first layer above the cut, `(rows, length, width)`.

        Raises:
            ModelError: nothing reaches it, or nothing of this form.
        """

        def take(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Reached(args[0] if args else kwargs["hidden_states"])

        body: Any = getattr(self._model, body_prefix(self._model))
        with self._standing(self._up_to_first, take):
            try:
                body(**{name: each for name, each in inputs.items() if name != COLUMNS})
            except _Reached as reached:
                if reached.states.shape[:-1] != inputs["input_ids"].shape:
                    raise self._impossible(f"its layers take {tuple(reached.states.shape)}, not (rows, length, width)") from None
                return reached.states
        raise self._impossible("its layers do not run one after another")

    def logits(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Scores before softmax, `(rows, classes)`, from `states` and the rest of a batch's inputs."""
        rest = dict(inputs)
        states = rest.pop("states").to(next(self._first.parameters()).dtype)  # under autocast as the layer would be given them

        def hand(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return ((states, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": states})

        with self._standing(self._above, hand):
            found: Tensor = outputs_of(self._model(**rest))
        return found

    def below(self) -> set[str]:
        """Names of the parameters that the states depend on, and of what stands before the first layer.

        Found by following gradients, so that what the layers share is among them.

        Raises:
            ModelError: the model cannot be cut there.
        """
        asked = [parameter.requires_grad for parameter in self._model.parameters()]
        named = list(self._model.named_parameters())
        batch = {"input_ids": torch.tensor([[5, 6, 7, 8]], device=named[0][1].device) % config_of(self._model).vocab_size}
        try:
            self._model.requires_grad_(True)
            with self._tried(), torch.enable_grad():
                states = self.states({**batch, "attention_mask": torch.ones_like(batch["input_ids"])})
                gradients = torch.autograd.grad(states.float().sum(), [parameter for _, parameter in named], allow_unused=True)
        finally:
            for (_, parameter), before in zip(named, asked, strict=True):
                parameter.requires_grad_(before)
        inside = tuple(f"{self._name}.{number}." for number in range(self.layers))
        first = next(number for number, (name, _) in enumerate(named) if name.startswith(f"{self._name}."))
        return {
            name
            for number, ((name, _), gradient) in enumerate(zip(named, gradients, strict=True))
            if number < first or name.startswith(inside) or gradient is not None
        }

    def check(self, inputs: Mapping[str, Tensor]) -> None:
        """Compare the cut model with the whole one on some rows, so that no architecture is trained on what it would not compute itself.

        Args:
            inputs: rows of several lengths: what stands at padding may not matter.

        Raises:
            ModelError: it cannot be cut there.
        """
        with self._tried(), torch.no_grad():
            whole, states, real = outputs_of(self._model(**inputs)), self.states(inputs), inputs["attention_mask"].bool()
            last = states[torch.arange(len(states), device=states.device), real.sum(dim=1) - 1]
            filled = torch.where(real[:, :, None], states, last[:, None])  # as `train.batches.StateRows` fills rows up
            parts = self.logits({**inputs, "states": filled})
            if whole.dim() > 2:
                whole, parts = whole[real], parts[real]
        difference = float((whole - parts).abs().max())
        if not difference <= _TRIAL_TOLERANCE * max(1.0, float(whole.abs().max())):
            raise self._impossible(f"its logits then differ by {difference:.2g} from those of the whole model")

    @contextmanager
    def _tried(self) -> Iterator[None]:
        """The model without dropout; what goes wrong says that it cannot be cut."""
        try:
            with evaluating(self._model), quiet():
                yield
        except ModelError:
            raise
        except Exception as error:  # architectures differ in what their forward accepts; the cause is kept
            raise self._impossible(f"{type(error).__name__}: {error}") from error

    @contextmanager
    def _standing(self, layers: nn.ModuleList, hook: Callable[..., Any]) -> Iterator[None]:
        """The model with these layers alone, and a hook before the first one above the cut."""
        whole = self._owner._modules[self._attribute]
        handle = self._first.register_forward_pre_hook(hook, with_kwargs=True)
        self._owner._modules[self._attribute] = layers
        try:
            yield
        finally:
            self._owner._modules[self._attribute] = whole
            handle.remove()

    def _impossible(self, why: str) -> ModelError:
        kind = type(self._model).__name__
        message = f"adapt: {{method: frozen, layers: {self.layers}}} does not work for {kind}: it cannot be cut between two layers ({why})"
        return ModelError(message, hint="use adapt: lora or adapt: full")
