"""Gradients of a BERT's answers with respect to its words, without padding and without what nobody reads.

The way forth is that of `model.packed`, and the way back is written out: no weight needs a gradient, so each linear layer is one product
with its transposed weights, in oneDNN's form as on the way forth. Of the last layer only the first token is computed, whose keys and
values need not be made: `q · (K x)` is `(Kᵀ q) · x`, and a weighted sum of values is the value of a weighted sum.

The same way back carries relevance in place of gradients (`relevance=True`): products of two activations give each of them half of what
comes back, norms count as fixed scales, and an activation function as the factor by which it scales its input. What comes out, times the
words, is their relevance. Source: Achtibat et al. (2024), AttnLRP, ICML, section 3 (the rules), appendix B (as modified gradients).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the field's own name)
from torch import Tensor

from trustbase.model.packed import Linear, unsupported

Head = Callable[[Tensor], Tensor]  # what the head reads of each row `(rows, width)` → the value of each row, `(rows,)`


@dataclass(frozen=True)
class Block:
    """Rows of one length that attend together: `rows × length` tokens, end to end."""

    rows: int
    length: int

    @property
    def tokens(self) -> int:
        return self.rows * self.length


def bounds(blocks: Sequence[Block], *, rows: bool = False) -> list[tuple[int, int]]:
    """Where the tokens (or rows) of each block begin and end."""
    ends = [0]
    for block in blocks:
        ends.append(ends[-1] + (block.rows if rows else block.tokens))
    return list(pairwise(ends))


@dataclass(eq=False)
class _Kept:
    """What one layer's way back needs; of the last layer `mixed` holds the keys' side of its queries."""

    mixed: Tensor
    attention: list[Tensor]
    inner: Tensor
    first: tuple[Tensor, Tensor, Tensor] = field(init=False)  # the sum before a norm, its mean and its scale
    second: tuple[Tensor, Tensor, Tensor] = field(init=False)


class _Both:
    """A linear layer forth, and back."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.forth = Linear(weight, bias, torch.float32)
        self.back = Linear(weight.detach().t(), torch.zeros(weight.shape[1], device=weight.device), torch.float32)


class _Norm:
    """A layer norm forth, and back; as relevance its scale counts as fixed."""

    def __init__(self, norm: Any) -> None:
        self._weight, self._bias, self._eps = norm.weight.detach(), norm.bias.detach(), norm.eps

    def forth(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        out, mean, scale = torch.native_layer_norm(x, self._weight.shape, self._weight, self._bias, self._eps)
        return out, (x, mean, scale)

    def back(self, grad: Tensor, kept: tuple[Tensor, Tensor, Tensor], relevance: bool) -> Tensor:
        x, mean, scale = kept
        if relevance:
            scaled = grad * self._weight
            told: Tensor = (scaled - scaled.mean(-1, keepdim=True)) * scale
            return told
        wanted = [True, False, False]
        found: tuple[Tensor, ...] = torch.ops.aten.native_layer_norm_backward(
            grad, x, self._weight.shape, mean, scale, self._weight, self._bias, wanted
        )
        return found[0]


class _Layer:
    """One encoder layer, forth and back; the query is scaled by 1/sqrt(head width) beforehand."""

    def __init__(self, layer: Any, heads: int) -> None:
        attention = layer.attention.self
        scale = 1.0 / math.sqrt(attention.query.weight.shape[0] // heads)
        weights = torch.cat([attention.query.weight * scale, attention.key.weight, attention.value.weight]).detach()
        biases = torch.cat([attention.query.bias * scale, attention.key.bias, attention.value.bias]).detach()
        self.mixed = _Both(weights, biases)
        self.by_head = weights.view(3, heads, -1, weights.shape[1])  # (3, heads, head width, width): of queries, keys, values
        self.biases = biases.view(3, heads, -1)
        self._output = _Both(layer.attention.output.dense.weight, layer.attention.output.dense.bias)
        self._up = _Both(layer.intermediate.dense.weight, layer.intermediate.dense.bias)
        self._down = _Both(layer.output.dense.weight, layer.output.dense.bias)
        self._first, self._second = _Norm(layer.attention.output.LayerNorm), _Norm(layer.output.LayerNorm)

    def after_attention(self, context: Tensor, x: Tensor, kept: _Kept) -> Tensor:
        x, kept.first = self._first.forth(self._output.forth.plus(context, x))
        kept.inner = self._up.forth(x)
        x, kept.second = self._second.forth(self._down.forth.plus(F.gelu(kept.inner), x))
        return x

    def before_attention(self, grad: Tensor, kept: _Kept, relevance: bool) -> tuple[Tensor, Tensor]:
        """From what comes back of the layer's output, what reaches contexts and the residual stream."""
        grad = self._second.back(grad, kept.second, relevance)
        inner = self._down.back(grad)
        inner = inner * gelu_gate(kept.inner) if relevance else torch.ops.aten.gelu_backward(inner, kept.inner)
        grad = self._first.back(self._up.back.plus(inner, grad), kept.first, relevance)
        return self._output.back(grad), grad


def gelu_gate(x: Tensor) -> Tensor:
    """GELU(x) / x."""
    return 0.5 * (1.0 + torch.erf(x * math.sqrt(0.5)))


def no_way_back(model: Any) -> str | None:
    """Why this model cannot take this path, or None where it can."""
    return unsupported(model) or (
        None if type(model).__name__ == "BertForSequenceClassification" else "its positions are turned, or it tags"
    )


class PackedBackward:
    """Values of rows, and what comes back of them to their words.

    Args:
        model: the transformers model, in fp32; the packed path must know it (`packed.unsupported`).

    Raises:
        ValueError: it does not.
    """

    def __init__(self, model: Any) -> None:
        reason = no_way_back(model)
        if reason is not None:
            raise ValueError(f"the packed path does not know this model: {reason}")
        body = model.base_model
        kinds = body.embeddings.token_type_embeddings.weight.detach()
        self._heads: int = model.config.num_attention_heads
        self._places = body.embeddings.position_embeddings.weight.detach() + kinds[0]
        self._second = kinds[1] - kinds[0] if len(kinds) > 1 else None
        self._norm = _Norm(body.embeddings.LayerNorm)
        self._layers = [_Layer(layer, self._heads) for layer in body.encoder.layer]

    def values(self, words: Tensor, blocks: Sequence[Block], head: Head, *, segments: Tensor | None = None) -> Tensor:
        """The value of each row, `(rows,)`; arguments as of a call."""
        with torch.inference_mode():
            return head(self._forth(words, blocks, segments)[0])

    def __call__(
        self, words: Tensor, blocks: Sequence[Block], head: Head, *, segments: Tensor | None = None, relevance: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Values `(rows,)`, and gradients of their sum with respect to `words`, `(tokens, width)`.

        Args:
            words: word embeddings of all rows end to end, without positions, fp32 `(tokens, width)`.
            blocks: which rows they are.
            head: gives the values; through it gradients are torch's own, so it must know the rules of relevance itself.
            segments: 1 for tokens of the second text of a pair, `(tokens,)`.
            relevance: whether relevance is carried back in place of gradients.
        """
        with torch.inference_mode():
            first, tape, start = self._forth(words, blocks, segments)
        read = first.clone().requires_grad_()
        with torch.enable_grad():
            values = head(read)
            (grad,) = torch.autograd.grad(values.sum(), read)
        with torch.inference_mode():
            grad = self._last_back(grad, tape[-1][0], tape[-1][1], blocks, relevance)
            for layer, (kept, _) in zip(reversed(self._layers[:-1]), reversed(tape[:-1]), strict=True):
                context, grad = layer.before_attention(grad, kept, relevance)
                grad = layer.mixed.back.plus(self._attention_back(context, kept, blocks, relevance), grad)
            return values.detach(), self._norm.back(grad, start, relevance)

    def _forth(
        self, words: Tensor, blocks: Sequence[Block], segments: Tensor | None
    ) -> tuple[Tensor, list[tuple[_Kept, Tensor]], tuple[Tensor, Tensor, Tensor]]:
        """First tokens after the last layer `(rows, width)`; what each layer kept, and its input; what the first norm kept."""
        x = words.clone()
        for (begin, end), block in zip(bounds(blocks), blocks, strict=True):
            x[begin:end].view(block.rows, block.length, -1).add_(self._places[: block.length])
        if segments is not None and self._second is not None:
            x += segments.unsqueeze(1) * self._second
        x, start = self._norm.forth(x)
        tape = []
        for layer in self._layers[:-1]:
            kept = _Kept(layer.mixed.forth(x), [], x)
            before, x = x, layer.after_attention(self._attention(kept, blocks), x, kept)
            tape.append((kept, before))
        first, kept = self._last(x, blocks)
        return first, [*tape, (kept, x)], start

    # ---- attention -------------------------------------------------------------------------------------------------

    def _apart(self, mixed: Tensor, block: Block) -> Tensor:
        """Queries, keys and values of a block, `(3, rows, heads, length, head width)`."""
        return mixed.view(block.rows, block.length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)

    def _attention(self, kept: _Kept, blocks: Sequence[Block]) -> Tensor:
        """Contexts `(tokens, width)`; keeps what attends to what."""
        contexts = kept.mixed.new_empty(len(kept.mixed), kept.mixed.shape[1] // 3)
        for (begin, end), block in zip(bounds(blocks), blocks, strict=True):
            query, key, value = self._apart(kept.mixed[begin:end], block)
            shares = torch.softmax(query @ key.transpose(-1, -2), dim=-1)
            contexts[begin:end].view(block.rows, block.length, self._heads, -1).copy_((shares @ value).transpose(1, 2))
            kept.attention.append(shares)
        return contexts

    def _attention_back(self, grad: Tensor, kept: _Kept, blocks: Sequence[Block], relevance: bool) -> Tensor:
        """From contexts to queries, keys and values, `(tokens, 3 × width)`."""
        back = torch.empty_like(kept.mixed)
        for (begin, end), block, shares in zip(bounds(blocks), blocks, kept.attention, strict=True):
            query, key, value = self._apart(kept.mixed[begin:end], block)
            to_query, to_key, to_value = self._apart(back[begin:end], block)
            given = grad[begin:end].view(block.rows, block.length, self._heads, -1).transpose(1, 2)
            to_value.copy_(shares.transpose(-1, -2) @ given)
            scores = torch._softmax_backward_data(given @ value.transpose(-1, -2), shares, -1, torch.float32)
            to_query.copy_(scores @ key)
            to_key.copy_(scores.transpose(-1, -2) @ query)
            if relevance:  # halves of two products: shares with values, queries with keys
                to_value.mul_(0.5)
                to_query.mul_(0.25)
                to_key.mul_(0.25)
        return back

    # ---- the last layer, of first tokens alone -----------------------------------------------------------------------

    def _last(self, x: Tensor, blocks: Sequence[Block]) -> tuple[Tensor, _Kept]:
        layer = self._layers[-1]
        rows = self._rows(x, blocks)
        first = torch.cat([row[:, 0] for row in rows])
        query = torch.einsum("rw,hdw->rhd", first, layer.by_head[0]) + layer.biases[0]
        asked = torch.einsum("rhd,hdw->rhw", query, layer.by_head[1])  # the keys' bias moves all shares of a row alike
        kept, sums = _Kept(asked, [], x), []
        for (begin, end), row in zip(bounds(blocks, rows=True), rows, strict=True):
            kept.attention.append(torch.softmax(asked[begin:end] @ row.transpose(1, 2), dim=-1))
            sums.append(kept.attention[-1] @ row)
        context = torch.einsum("rhw,hdw->rhd", torch.cat(sums), layer.by_head[2]) + layer.biases[2]
        return layer.after_attention(context.reshape(first.shape), first, kept), kept

    def _last_back(self, grad: Tensor, kept: _Kept, x: Tensor, blocks: Sequence[Block], relevance: bool) -> Tensor:
        layer, half = self._layers[-1], 0.5 if relevance else 1.0
        context, grad = layer.before_attention(grad, kept, relevance)
        sums = half * torch.einsum("rhd,hdw->rhw", context.view(len(context), self._heads, -1), layer.by_head[2])
        back, asked = torch.empty_like(x), []
        rows = self._rows(x, blocks)
        for (begin, end), row, to_row, shares in zip(
            bounds(blocks, rows=True), rows, self._rows(back, blocks), kept.attention, strict=True
        ):
            given = sums[begin:end]
            scores = half * torch._softmax_backward_data(given @ row.transpose(1, 2), shares, -1, torch.float32)
            asked.append(scores @ row)
            both = torch.cat([shares, scores], 1).transpose(1, 2)
            torch.bmm(both, torch.cat([given, kept.mixed[begin:end]], 1), out=to_row)
        query = torch.einsum("rhw,hdw->rhd", torch.cat(asked), layer.by_head[1])
        grad = grad + torch.einsum("rhd,hdw->rw", query, layer.by_head[0])
        for (begin, end), to_row in zip(bounds(blocks, rows=True), self._rows(back, blocks), strict=True):
            to_row[:, 0] += grad[begin:end]
        return back

    def _rows(self, x: Tensor, blocks: Sequence[Block]) -> list[Tensor]:
        """`(tokens, width)` as `(rows, length, width)` of each block."""
        return [x[begin:end].view(block.rows, block.length, -1) for (begin, end), block in zip(bounds(blocks), blocks, strict=True)]
