"""Gradients of a score by a model's last parameters, one for each row: of the head as they are, of its last layer in random projections.

One way back serves all rows of a batch: a linear layer's gradient for a row is the sum over its tokens of what comes back times what went
in, and both are projected before they are multiplied, so that nothing as large as a layer's weights is made for a row.

Source: Park et al. (2023), TRAK, ICML, section 3.2 (random projections keep inner products); Choe et al. (2024), LoGra, arXiv 2405.13954,
section 3 (a projection on either side of a linear layer).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trustbase import seeds
from trustbase.audit.explain.inside import Inside
from trustbase.audit.explain.tokens import Tokens
from trustbase.errors import UsageError

Floats = NDArray[np.float64]

BUDGET = 4096  # tokens of a batch
_WHOLE = 2048  # parameters of a layer up to which its gradient is kept as it is
_SIDE = 16  # numbers that either side of a larger layer is projected to


@dataclass(frozen=True, eq=False)
class Features:
    """Rows by their gradients: score `(rows,)`, and its gradient by (projections of) parameters `(rows, parameters)`."""

    scores: Floats
    gradients: Floats


@dataclass(eq=False)
class _Watched:
    """A linear layer, its projections, and what one batch makes of it."""

    layer: nn.Linear
    before: Tensor | None
    behind: Tensor | None
    found: list[Tensor] = field(default_factory=list)


def gradient_features(inside: Inside, tokens: Sequence[Tokens], targets: Sequence[int], *, seed: int = 0, budget: int = BUDGET) -> Features:
    """The score of each row's target, and its gradient by the parameters of the head and of the last layer.

    Args:
        inside: the model.
        tokens: of each row.
        targets: which score of each.
        seed: of the projections; rows can be compared only under the same.
        budget: tokens of a batch.

    Raises:
        UsageError: the model's layers are not found.
    """
    watched = _watched(inside.model, seed)
    scores, gradients = np.zeros(len(tokens)), [np.zeros(0)] * len(tokens)
    for rows in _batches([len(each) for each in tokens], budget):
        told, found = _batch(inside, [tokens[row] for row in rows], [targets[row] for row in rows], watched)
        scores[rows] = told
        for row, gradient in zip(rows, found, strict=True):
            gradients[row] = gradient
    return Features(scores, np.stack(gradients) if gradients else np.zeros((0, 0)))


def _batch(inside: Inside, tokens: Sequence[Tokens], targets: Sequence[int], watched: Sequence[_Watched]) -> tuple[Floats, Floats]:
    longest = max(map(len, tokens))
    ids = torch.full((len(tokens), longest), inside.nothing, dtype=torch.long)
    mask, kinds = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, each in enumerate(tokens):
        ids[row, : len(each)] = torch.from_numpy(each.ids)
        mask[row, : len(each)] = 1
        kinds[row, : len(each)] = torch.from_numpy(each.kinds).long()
    call: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if any(each.segments is not None for each in tokens):
        call["token_type_ids"] = kinds
    with torch.enable_grad(), _watching(inside.model, watched) as begun:
        scores = inside.score(inside.model(**call).logits, torch.tensor(list(targets), dtype=torch.long))
        torch.autograd.grad(scores.sum(), begun)
    told = torch.cat([torch.stack(each.found).sum(0).flatten(1) for each in watched], dim=1)
    return scores.detach().double().numpy(), told.double().numpy()


@contextmanager
def _watching(model: Any, watched: Sequence[_Watched]) -> Iterator[list[Tensor]]:
    """Gradients begin at the last layer's input, and every watched layer leaves its own; gives what they begin at."""
    begun: list[Tensor] = []

    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        name = next((name for name in ("hidden_states", "x") if name in kwargs), None)
        hidden = (args[0] if name is None else kwargs[name]).detach().requires_grad_()
        begun.append(hidden)
        return ((hidden, *args[1:]), kwargs) if name is None else (args, {**kwargs, name: hidden})

    with ExitStack() as stack:
        stack.callback(_layers(model)[-1].register_forward_pre_hook(begin, with_kwargs=True).remove)
        for each in watched:
            each.found.clear()
            stack.callback(each.layer.register_forward_hook(_keeper(each)).remove)
        yield begun


def _keeper(watched: _Watched) -> Any:
    """The hook that keeps a layer's gradient for each row, `(rows, outputs, inputs + 1)` or its projection."""

    def keep(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        given = args[0].detach()
        given = torch.cat([given, torch.ones_like(given[..., :1])], dim=-1)  # the bias reads a 1
        given = given if watched.before is None else given @ watched.before

        def back(grad: Tensor) -> None:
            come = grad if watched.behind is None else grad @ watched.behind
            rows = len(come)
            come, went = come.reshape(rows, -1, come.shape[-1]), given.reshape(rows, -1, given.shape[-1])
            watched.found.append(torch.einsum("rto,rti->roi", come, went))

        output.register_hook(back)  # type: ignore[no-untyped-call]

    return keep


def _watched(model: Any, seed: int) -> list[_Watched]:
    body = model.base_model
    inside_body = {id(module) for module in body.modules()}
    named = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    last = {id(module) for module in _layers(model)[-1].modules()}
    pooler = getattr(body, "pooler", None)
    last |= set() if pooler is None else {id(module) for module in pooler.modules()}
    chosen = {name: module for name, module in named.items() if id(module) not in inside_body or id(module) in last}
    return [_Watched(module, *_projections(module, seed, name)) for name, module in chosen.items()]


def _projections(layer: nn.Linear, seed: int, name: str) -> tuple[Tensor | None, Tensor | None]:
    """Of what goes in and what comes back; None where it is kept as it is."""
    if layer.out_features * (layer.in_features + 1) <= _WHOLE:
        return None, None
    rng = seeds.generator(seed, "influence", name)
    sides = []
    for width in (layer.in_features + 1, layer.out_features):
        drawn = rng.standard_normal((width, _SIDE)) / np.sqrt(_SIDE)
        sides.append(torch.from_numpy(drawn).float() if width > _SIDE else None)
    return sides[0], sides[1]


def _layers(model: Any) -> nn.ModuleList:
    """The body's layers: its longest list of modules.

    Raises:
        UsageError: it has none.
    """
    lists = [module for module in model.base_model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not lists:
        raise UsageError(f"the layers of this {type(model).__name__} are not found, so what taught it cannot be followed")
    return max(lists, key=len)


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows of a batch, short ones first; padded they have at most `budget` tokens, or are one row."""
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if rows and (len(rows) + 1) * lengths[row] > budget:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows
