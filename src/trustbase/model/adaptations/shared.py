"""What all adaptations agree on: what each must offer, how a model is marked, and that the head is always trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from trustbase.errors import ModelError, Problem
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.evaluating import evaluating
from trustbase.model.pretrained import body_prefix, config_of, head_names

ADDED = "added_"  # what our own modules are called, wherever they hang; PEFT's parts begin with `lora_`
_OPTIONS = "trustbase_adaptation"
_TRIAL_TOLERANCE = 1e-4  # of the largest number in the body's output, fp32

State = Mapping[str, torch.Tensor]


class Companion(Protocol):
    """What an adaptation does around each update of a training, and what of it a checkpoint must hold."""

    def before(self) -> None:
        """Gradients of all rows are there: it may add its own."""

    def after(self, step: int) -> None:
        """Update `step` (from 1) was made; its gradients are still there."""

    def state(self) -> dict[str, torch.Tensor]:
        """What it knows, beside the parameters."""

    def load(self, state: State) -> None:
        """Know what a checkpoint holds."""


class Prepare(Protocol):
    """Puts in place what an adaptation adds, and says which parameters are trained."""

    def __call__(self, model: nn.Module, options: AdaptOptions, *, seed: int) -> None: ...


@dataclass(frozen=True)
class Leaves:
    """What an adaptation leaves beside its base, and how that comes back.

    Attributes:
        settings: model and options → `adapter_config.json`, without the base's name.
        state: model → the tensors of `adapter_model.safetensors`, by the names they have there.
        restore: model with the base's weights, options, settings, state → the adapted model, in place.
    """

    settings: Callable[[nn.Module, AdaptOptions], dict[str, Any]]
    state: Callable[[nn.Module], dict[str, torch.Tensor]]
    restore: Callable[[nn.Module, AdaptOptions, Mapping[str, Any], State], None]


@dataclass(frozen=True)
class Way:
    """One adaptation, as the registry names it.

    Attributes:
        prepare: makes a model ready for training.
        leaves: for those that leave an adapter.
        merge: model → the same with what was added in its weights, in place; for those that leave an adapter and can.
        problems: a model without weights (on torch's meta device) and options → what cannot work, before any weight is read.
        places: the same → how many of the positions of a text it takes.
        companion: model, options, updates in all → what goes along with the training.
    """

    prepare: Prepare
    leaves: Leaves | None = None
    merge: Callable[[nn.Module], None] | None = None
    problems: Callable[[nn.Module, AdaptOptions], list[Problem]] = lambda model, options: []
    places: Callable[[nn.Module, AdaptOptions], int] = lambda model, options: 0
    companion: Callable[[nn.Module, AdaptOptions, int], Companion] | None = None


def mark(model: nn.Module, options: AdaptOptions | None) -> None:
    """Remember on the model itself how it was adapted; None forgets it."""
    if options is None:
        model.__dict__.pop(_OPTIONS, None)
    else:
        object.__setattr__(model, _OPTIONS, options)


def adapted_with(model: nn.Module) -> AdaptOptions | None:
    """The options a model was adapted with; None for one that was not, or was merged."""
    options: AdaptOptions | None = getattr(model, _OPTIONS, None)
    return options


def trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Names and parameters that training changes."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def train_only_head(model: nn.Module, *, also: str | None = None) -> None:
    """Train the head, and parameters with `also` in their name."""
    head = set(head_names(model))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in head or (also is not None and also in name))


def is_added(name: str) -> bool:
    """Whether a parameter belongs to a module of ours that was put beside the model's own."""
    return any(part.startswith(ADDED) for part in name.split("."))


def has_added(model: nn.Module) -> bool:
    """Whether a model holds modules of ours, which run beside its own."""
    return any(is_added(name) for name, _ in model.named_modules())


def in_front(body: nn.Module) -> bool:
    """Whether a prefix or prompt of ours acts on the body's whole forward, which must then be the body's own."""
    return any(name.startswith(ADDED) for name, _ in body.named_children())


def body_of(model: nn.Module) -> Any:
    """The model below the head."""
    return getattr(model, body_prefix(model))


def added_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What we added, and the head."""
    head = set(head_names(model))
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if name in head or is_added(name)}


def added_settings(model: nn.Module, options: AdaptOptions) -> dict[str, Any]:
    """How modules of ours were made: PEFT does not know them, so this is no file of its format."""
    return {"trustbase_adaptation": options.model_dump(mode="json", exclude_unset=True)}


def added(prepare: Prepare) -> Leaves:
    """What is left by an adaptation whose `prepare` puts its modules in place, whatever they then hold."""

    def restore(model: nn.Module, options: AdaptOptions, settings: Mapping[str, Any], state: State) -> None:
        prepare(model, options, seed=0)
        load_whole(model, set(added_state(model)), state)

    return Leaves(added_settings, added_state, restore)


def load_whole(model: nn.Module, wanted: set[str], state: State) -> None:
    """Load a saved state that must hold exactly the wanted names.

    Raises:
        ModelError: something is missing from it, left over, or of another shape.
    """
    if wanted != set(state):
        lost, surplus = sorted(wanted - set(state)), sorted(set(state) - wanted)
        problems = [Problem("", f"{what}: {', '.join(some[:5])}") for what, some in (("missing", lost), ("left over", surplus)) if some]
        raise ModelError("The saved adapter is not whole", problems=problems, hint="train again, or take the adapter from a sound copy")
    try:
        model.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:  # torch's way to say that shapes differ
        raise ModelError(f"The saved adapter does not fit the base model: {error}", hint="use the base model it was trained on") from error


def accepts(body: nn.Module, name: str) -> bool:
    """Whether a body's forward takes an argument of this name."""
    return name in inspect.signature(body.forward).parameters


def named_arguments(body: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a body was called with, by name; absent ones left out."""
    names = list(inspect.signature(body.forward).parameters)
    return {name: value for name, value in (*zip(names, args, strict=False), *kwargs.items()) if value is not None}


def first_position(model: nn.Module) -> int:
    """Position of a text's first token: RoBERTa and its like count from behind the padding token's number."""
    config = config_of(model)
    return int(config.pad_token_id) + 1 if config.model_type in {"roberta", "xlm-roberta", "camembert"} else 0


def text_mask(call: Mapping[str, Any], tokens: torch.Tensor, what: str) -> torch.Tensor:
    """The attention mask of a call, `(rows, length)`; all ones where it has none.

    Raises:
        ModelError: it is of another form.
    """
    mask = call.get("attention_mask")
    if mask is None:
        return torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device)
    if mask.dim() != 2:
        raise ModelError(f"adapt: {what} needs an attention mask (rows, length), got one of {mask.dim()} dimensions")
    return mask  # type: ignore[no-any-return]


def refuse_unlike(model: nn.Module, what: str, hidden: Callable[[], Any]) -> None:
    """Compare a body whose additions nobody can see with the body as it was: all else must have stayed as it is.

    Args:
        model: with the additions in place.
        what: the adaptation.
        hidden: a context in which the additions are masked out.

    Raises:
        ModelError: the architecture does not work with them.
    """
    body, config = body_of(model), config_of(model)
    ids = torch.tensor([[5, 6, 7, 8], [7, 6, 0, 0]]) % config.vocab_size
    batch = {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])}
    real = batch["attention_mask"].bool()
    try:
        with evaluating(model), torch.no_grad():
            with hidden():
                masked = body(**batch).last_hidden_state[real]
            shown = body(**batch).last_hidden_state[real]
            with without_hooks(body):
                plain = body(**batch).last_hidden_state[real]
    except Exception as error:  # architectures differ in what their forward accepts; the cause is kept
        raise _no_place(model, what, f"{type(error).__name__}: {error}") from error
    difference, limit = float((masked - plain).abs().max()), _TRIAL_TOLERANCE * max(1.0, float(plain.abs().max()))
    if not difference <= limit:
        raise _no_place(model, what, f"the text's own outputs move by {difference:.2g} when nothing of it can be seen")
    if torch.equal(shown, plain):
        raise _no_place(model, what, "it does not reach the model's outputs")


def _no_place(model: nn.Module, what: str, why: str) -> ModelError:
    return ModelError(f"adapt: {what} does not work for {type(model).__name__}: {why}", hint="use adapt: lora, which does")


class Prepended(nn.Module):
    """What stands in front of every text, from the position that a first token has; it can be masked out to see that it changes nothing."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first, self._seen = first, True

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Masked out, while the context lasts."""
        self._seen = False
        try:
            yield
        finally:
            self._seen = True


def places_in_front(model: nn.Module, options: AdaptOptions) -> int:
    """Positions of a text that what stands in front of it takes: none where a text can be told its own."""
    return 0 if accepts(body_of(model), "position_ids") else options.length


@contextmanager
def without_hooks(body: nn.Module) -> Iterator[None]:
    """The body as transformers wrote it, while the context lasts."""
    hooks = (body._forward_pre_hooks, body._forward_hooks)
    kept = [dict(each) for each in hooks]
    for each in hooks:
        each.clear()
    try:
        yield
    finally:
        for each, before in zip(hooks, kept, strict=True):
            each.update(before)
