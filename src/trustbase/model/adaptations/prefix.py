"""Prefix tuning: in every layer, learned keys and values that all tokens of a text attend to beside their own.

They are handed to the body as the cache of an earlier text would be, and start as the keys and values of words drawn at random. Tokens keep
their positions. Whether an architecture takes them is tried before training: masked out, they must change nothing.

Source: Li, Liang (2021), Prefix-Tuning, sections 4.2 (the prefix, here without the network that makes it) and 7.4 (real words as a start).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trustbase.errors import ModelError, Problem
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.adaptations.shared import (
    ADDED,
    Prepended,
    Way,
    accepts,
    added,
    body_of,
    first_position,
    named_arguments,
    places_in_front,
    refuse_unlike,
    text_mask,
    train_only_head,
)
from trustbase.model.pretrained import config_of
from trustbase.seeds import stream_seed

_NAME = f"{ADDED}prefix"


class Prefix(Prepended):
    """Keys and values `(layers, heads, length, width of a head)`, given to a body with every call."""

    def __init__(self, keys: Tensor, values: Tensor, *, first: int) -> None:
        super().__init__(first)
        self.keys, self.values = nn.Parameter(keys), nn.Parameter(values)

    def enter(self, body: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        """As a hook before the body's forward."""
        call = named_arguments(body, args, kwargs)
        tokens = call["input_ids"] if "input_ids" in call else call["inputs_embeds"]
        rows, length = tokens.shape[:2]
        mask = text_mask(call, tokens, "prefix")
        seen = torch.full((rows, self.keys.shape[2]), int(self._seen), dtype=mask.dtype, device=mask.device)
        call |= {"attention_mask": torch.cat([seen, mask], dim=1), "past_key_values": self._cache(rows)}
        if accepts(body, "position_ids") and "position_ids" not in call:
            call["position_ids"] = torch.arange(self._first, self._first + length, device=tokens.device)[None].expand(rows, -1)
        return (), call

    def _cache(self, rows: int) -> Any:
        from transformers.cache_utils import DynamicCache

        kind, cache = self.keys.device.type, DynamicCache()
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.keys.dtype
        for layer, (keys, values) in enumerate(zip(self.keys.to(dtype), self.values.to(dtype), strict=True)):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
        return cache


def prepare(model: nn.Module, options: AdaptOptions, *, seed: int) -> None:
    """Put the prefix in place; its words are drawn from the stream `prefix`.

    Raises:
        ModelError: this architecture takes no prefix.
    """
    problems = _problems(model, options)
    if problems:
        raise ModelError(f"adapt: prefix: {problems[0].message}", hint=problems[0].hint)
    body = body_of(model)
    prefix = Prefix(*_of_words(model, options.length, seed), first=first_position(model))
    body.add_module(_NAME, prefix)
    body.register_forward_pre_hook(prefix.enter, with_kwargs=True)
    refuse_unlike(model, "prefix", prefix.hidden)
    train_only_head(model, also=ADDED)


def _of_words(model: nn.Module, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Keys and values that the body computes for tokens drawn at random, each `(layers, heads, length, width of a head)`."""
    from transformers.cache_utils import DynamicCache

    body, cache, training = body_of(model), DynamicCache(), model.training
    stream = torch.Generator().manual_seed(stream_seed(seed, "prefix"))
    words = torch.randint(config_of(model).vocab_size, (1, length), generator=stream).to(next(model.parameters()).device)
    model.eval()
    try:
        with torch.no_grad():
            body(input_ids=words, past_key_values=cache)
    finally:
        model.train(training)
    if cache.get_seq_length() != length:
        raise ModelError(
            f"adapt: prefix does not work for {type(model).__name__}: its body keeps no keys and values", hint="use adapt: lora"
        )
    layers = [(layer.keys, layer.values) for layer in cache.layers]
    return torch.cat([keys for keys, _ in layers]).clone(), torch.cat([values for _, values in layers]).clone()


def _problems(model: nn.Module, options: AdaptOptions) -> list[Problem]:
    """Architectures that take no keys and values from outside."""
    if accepts(body_of(model), "past_key_values") and not getattr(config_of(model), "is_encoder_decoder", False):
        return []
    what = f"{type(model).__name__} takes no keys and values from outside its layers, so that no prefix can stand in front of them"
    return [Problem("adapt.method", what, "use adapt: lora, or adapter")]


PREFIX = Way(prepare, leaves=added(prepare), problems=_problems, places=places_in_front)
