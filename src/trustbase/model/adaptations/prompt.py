"""Prompt tuning: learned vectors in front of a text's own embeddings, which the body then reads as if they were words.

What comes out of the body is the text's own part again, so that heads find the tokens where they were. Tokens keep their positions
where the body can be told them; there the vectors all stand at the first. They start as the embeddings of words drawn at random. Whether
an architecture takes them is tried before training: masked out, they must change nothing.

Source: Lester et al. (2021), The power of scale for parameter-efficient prompt tuning, sections 2 and 2.1 (real words as a start).
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

_NAME = f"{ADDED}prompt"


class Prompt(Prepended):
    """Vectors `(length, width of an embedding)` that stand in front of every text."""

    def __init__(self, vectors: Tensor, *, first: int) -> None:
        super().__init__(first)
        self.vectors = nn.Parameter(vectors)

    def enter(self, body: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        """As a hook before the body's forward: embeddings in place of tokens, longer by the prompt."""
        call = named_arguments(body, args, kwargs)
        ids = call.pop("input_ids", None)
        text = call["inputs_embeds"] if ids is None else body.get_input_embeddings()(ids)
        mask = text_mask(call, text, "prompt")
        rows, length, count = text.shape[0], text.shape[1], len(self.vectors)
        call["inputs_embeds"] = torch.cat([self.vectors.to(text.dtype).expand(rows, -1, -1), text], dim=1)
        call["attention_mask"] = torch.cat([mask.new_full((rows, count), int(self._seen)), mask], dim=1)
        if "token_type_ids" in call:
            call["token_type_ids"] = torch.cat([call["token_type_ids"].new_zeros((rows, count)), call["token_type_ids"]], dim=1)
        if accepts(body, "position_ids"):
            own = torch.arange(self._first, self._first + length, device=text.device)[None].expand(rows, -1)
            own = call.get("position_ids", own)
            call["position_ids"] = torch.cat([torch.full((rows, count), self._first, device=text.device), own.expand(rows, -1)], dim=1)
        return (), call

    def leave(self, body: Any, args: tuple[Any, ...], output: Any) -> Any:
        """As a hook after it: the text's own part, pooled anew where the body has pooled."""
        count = len(self.vectors)
        output.last_hidden_state = output.last_hidden_state[:, count:]
        if getattr(output, "pooler_output", None) is not None:
            activation = getattr(body, "pooler_activation", None)  # ALBERT keeps it beside a plain linear pooler
            states = output.last_hidden_state
            output.pooler_output = body.pooler(states) if activation is None else activation(body.pooler(states[:, 0]))
        if getattr(output, "hidden_states", None) is not None:
            output.hidden_states = tuple(states[:, count:] for states in output.hidden_states)
        return output


def prepare(model: nn.Module, options: AdaptOptions, *, seed: int) -> None:
    """Put the prompt in place; its words are drawn from the stream `prompt`.

    Raises:
        ModelError: this architecture takes no prompt.
    """
    problems = _problems(model, options)
    if problems:
        raise ModelError(f"adapt: prompt: {problems[0].message}", hint=problems[0].hint)
    body = body_of(model)
    table = body.get_input_embeddings().weight
    stream = torch.Generator().manual_seed(stream_seed(seed, "prompt"))
    words = torch.randint(table.shape[0], (options.length,), generator=stream).to(table.device)
    prompt = Prompt(table.detach()[words].clone(), first=first_position(model))
    body.add_module(_NAME, prompt)
    body.register_forward_pre_hook(prompt.enter, with_kwargs=True)
    body.register_forward_hook(prompt.leave)
    refuse_unlike(model, "prompt", prompt.hidden)
    train_only_head(model, also=ADDED)


def _problems(model: nn.Module, options: AdaptOptions) -> list[Problem]:
    """Architectures that read tokens alone."""
    if accepts(body_of(model), "inputs_embeds") and not getattr(config_of(model), "is_encoder_decoder", False):
        return []
    what = f"{type(model).__name__} reads no vectors in place of tokens, or reads them in two halves, so that no prompt can stand there"
    return [Problem("adapt.method", what, "use adapt: lora, or adapter")]


PROMPT = Way(prepare, leaves=added(prepare), problems=_problems, places=places_in_front)
