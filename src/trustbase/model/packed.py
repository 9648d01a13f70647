"""BERT and RoFormer encoders without padding: an own forward pass over the weights of a transformers model, for scoring only.

Tokens of all rows lie one after another, so that linear layers, norms and activations see real tokens only; attention
runs per group of rows of equal (or nearly equal) length. Where only the first token is read (classification heads of
BERT), the last layer computes that token alone: the others would be thrown away. In fp32 the outcome equals the
transformers forward to 1e-5 (tests hold that); anything that is not exactly this architecture is not taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the field's own name)
from numpy.typing import NDArray

from trustbase.model.adaptations.four_bits import packed_layers
from trustbase.model.adaptations.shared import body_of, has_added
from trustbase.model.fused import network_of
from trustbase.model.rotary import angles, turned

Segments = Sequence[NDArray[np.integer]] | None  # of each row, for each token: 1 in the second text of a pair

_GROUP_TOKENS = 8  # starting another attention group costs about as much time as this many tokens of padding
_BLOCK_BYTES = 2 << 20  # of attention scores that a CPU holds at once: beyond a core's cache, rows of 384 tokens took 2.3 times as long
_KNOWN = frozenset(
    f"{family}For{what}"
    for family in ("Bert", "RoFormer")
    for what in ("SequenceClassification", "TokenClassification", "QuestionAnswering")
)


@dataclass(frozen=True)
class Group:
    """Neighbouring rows that attend together: `rows × length` places of the packed tokens."""

    start: int
    rows: int
    length: int
    padded: bool


def plan_groups(lengths: NDArray[np.integer]) -> list[Group]:
    """Cut rows (sorted by length, ascending) into groups that waste at most a few tokens each."""
    groups: list[Group] = []
    end = len(lengths)
    sizes = [int(length) for length in lengths]
    while end:
        longest, first, waste = sizes[end - 1], end - 1, 0
        while first and waste + longest - sizes[first - 1] <= _GROUP_TOKENS:
            first -= 1
            waste += longest - sizes[first]
        groups.append(Group(0, end - first, longest, waste > 0))
        end = first
    groups.reverse()
    start, placed = 0, []
    for group in groups:
        placed.append(Group(start, group.rows, group.length, group.padded))
        start += group.rows * group.length
    return placed


def cut_groups(groups: Sequence[Group], most_scores: int) -> list[Group]:
    """Groups whose rows have at most `most_scores` attention scores of one head together, or are single rows."""
    blocks = []
    for group in groups:
        rows = max(most_scores // group.length**2, 1)
        for first in range(0, group.rows, rows):
            count = min(rows, group.rows - first)
            blocks.append(Group(group.start + first * group.length, count, group.length, group.padded))
    return blocks


def packed_tokens(lengths: NDArray[np.integer]) -> int:
    """Tokens that a packed batch computes, its little padding included."""
    return sum(group.rows * group.length for group in plan_groups(np.sort(lengths)))


def unsupported(model: Any) -> str | None:
    """Why this model cannot take the packed path, or None where it can."""
    config = model.config
    if type(model).__name__ not in _KNOWN:
        return f"{type(model).__name__} is not on the white list"
    if has_added(body_of(model)):
        return "it holds modules beside its own"
    if any("lora_" in name for name, _ in model.named_parameters()):
        return "it holds updates that are not merged"
    if packed_layers(model):
        return "its weights are held in 4 bits"
    if config.hidden_act != "gelu":
        return f"activation {config.hidden_act}"
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        return f"positions are {config.position_embedding_type}"
    if config.is_decoder or config.add_cross_attention:
        return "it is a decoder"
    if getattr(config, "rotary_value", False) or getattr(config, "embedding_size", config.hidden_size) != config.hidden_size:
        return "its values are turned, or its embeddings are of another width"
    return None


def head_layer(model: Any) -> Any:
    """The last layer of a classifier, or of a head for spans."""
    return model.qa_outputs if hasattr(model, "qa_outputs") else model.classifier


class Linear:
    """A linear layer; on a CPU with weights reordered once for oneDNN, GELU (and in fp32 the residual sum) inside the product."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype) -> None:
        self._weight = weight.detach().to(dtype).contiguous()
        self._bias = bias.detach().to(dtype).contiguous()
        self._packed = _reordered(self._weight)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._packed is None:
            return F.linear(x, self._weight, self._bias)
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "none")  # type: ignore[no-any-return]

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        if self._packed is None:
            return F.gelu(F.linear(x, self._weight, self._bias))
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "gelu", [], "none")  # type: ignore[no-any-return]

    def plus(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product plus an fp32 residual, in fp32: summed in bf16, the residual stream loses most of what bf16 costs."""
        if self._packed is None or x.dtype != residual.dtype:
            return residual + self(x)
        return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._packed, self._bias, "add")  # type: ignore[no-any-return]


def _reordered(weight: torch.Tensor) -> torch.Tensor | None:
    """The weight in oneDNN's blocked form, or None where this torch or device has no such operation."""
    operations = torch.ops.mkldnn
    if weight.device.type != "cpu" or not torch._C._has_mkldnn or not hasattr(operations, "_linear_pointwise"):
        return None
    try:
        packed: torch.Tensor = operations._reorder_linear_weight(weight)
    except (RuntimeError, TypeError):  # other torch versions spell it otherwise; F.linear gives the same numbers
        return None
    return packed


class _Norm:
    """Layer norm of the residual stream, which stays fp32 in every precision."""

    def __init__(self, norm: Any) -> None:
        self._weight = norm.weight.detach()
        self._bias = norm.bias.detach()
        self._eps = norm.eps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, self._weight.shape, self._weight, self._bias, self._eps)


class _Layer:
    """Weights of one encoder layer; query is scaled by 1/sqrt(head width) beforehand.

    The last layer's work on first tokens alone is so little that it is done in fp32 whatever the format of the rest.
    """

    def __init__(self, layer: Any, heads: int, dtype: torch.dtype, *, last: bool) -> None:
        attention = layer.attention.self
        scale = 1.0 / math.sqrt(attention.query.weight.shape[0] // heads)
        query, query_bias = attention.query.weight * scale, attention.query.bias * scale
        key_value = [attention.key.weight, attention.value.weight]
        key_value_bias = [attention.key.bias, attention.value.bias]
        self._dtype = dtype
        self.query_key_value = Linear(torch.cat([query, *key_value]), torch.cat([query_bias, *key_value_bias]), dtype)
        self.query = Linear(query, query_bias, torch.float32) if last else None
        self.key_value = Linear(torch.cat(key_value), torch.cat(key_value_bias), dtype) if last else None
        self.output = Linear(layer.attention.output.dense.weight, layer.attention.output.dense.bias, dtype)
        self.output_norm = _Norm(layer.attention.output.LayerNorm)
        self.up = Linear(layer.intermediate.dense.weight, layer.intermediate.dense.bias, dtype)
        self.down = Linear(layer.output.dense.weight, layer.output.dense.bias, dtype)
        self.down_norm = _Norm(layer.output.LayerNorm)

    def after_attention(self, context: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The rest of the layer, from contexts in the layer's format and the fp32 residual stream `x`, both `(tokens, width)`."""
        x = self.output_norm(self.output.plus(context, x))
        return self.down_norm(self.down.plus(self.up.gelu(x.to(self._dtype)), x))


class PackedBert:
    """Scores of a BERT or RoFormer with a head for texts or for tokens, from packed tokens.

    Args:
        model: the transformers model, in fp32, already on its device; its embeddings and head are used as they are.
        dtype: number format of the encoder layers.

    Raises:
        ValueError: not an architecture of the white list.
    """

    def __init__(self, model: Any, *, dtype: torch.dtype) -> None:
        reason = unsupported(model)
        if reason is not None:
            raise ValueError(f"the packed path does not know this model: {reason}")
        self._dtype = dtype
        self._heads: int = model.config.num_attention_heads
        body = model.base_model
        embeddings, kinds = body.embeddings, body.embeddings.token_type_embeddings.weight
        kind = kinds[0]
        self._second = (kinds[1] - kind).detach() if len(kinds) > 1 else None  # what the second text of a pair has in place of the first's
        self._words: torch.Tensor = embeddings.word_embeddings.weight.detach()
        self._turns = angles(body, model.config.max_position_embeddings) if hasattr(body.encoder, "embed_positions") else None
        positions = model.config.max_position_embeddings
        learned = kind.expand(positions, -1) if self._turns is not None else embeddings.position_embeddings.weight + kind
        self._places = learned.detach()
        self._norm = _Norm(embeddings.LayerNorm)
        layers = list(body.encoder.layer)
        self._layers = [_Layer(layer, self._heads, dtype, last=layer is layers[-1]) for layer in layers]
        self._last_rows = _Layer(layers[-1], self._heads, torch.float32, last=True)
        self._pooler, self._classifier, self._network = getattr(body, "pooler", None), head_layer(model), network_of(model)

    def logits(self, rows: Sequence[NDArray[np.integer]], segments: Segments = None, columns: torch.Tensor | None = None) -> torch.Tensor:
        """Class logits, fp32 `(rows, classes)`.

        Args:
            rows: token ids, sorted by length.
            segments: which text of a pair each token belongs to.
            columns: places and codes of table columns, fp32 `(rows, columns)`, of a model that reads any.
        """
        x, groups, masks = self._enter(rows, segments)
        for layer in self._layers[:-1]:
            x = layer.after_attention(self._attend(layer.query_key_value(x.to(self._dtype)), groups, masks), x)
        first = self._last_layer_first_token(x, groups, masks)
        read = first.unsqueeze(1)
        if self._network is not None:
            self._network.shown.columns = columns
        logits: torch.Tensor = self._classifier(read if self._pooler is None else self._pooler(read))
        return logits

    def token_logits(
        self, rows: Sequence[NDArray[np.integer]], segments: Segments = None, *, asked: tuple[NDArray[np.int64], NDArray[np.int64]]
    ) -> torch.Tensor:
        """Logits of some tokens, fp32 `(asked, tags)`, from a head for tokens or spans; `asked` are the row and position of each."""
        x, groups, masks = self._enter(rows, segments)
        for layer in self._layers:
            x = layer.after_attention(self._attend(layer.query_key_value(x.to(self._dtype)), groups, masks), x)
        begins = np.concatenate([group.start + group.length * np.arange(group.rows) for group in groups])
        logits: torch.Tensor = self._classifier(x[torch.from_numpy(begins[asked[0]] + asked[1]).to(x.device)])
        return logits

    def embedding(self, rows: Sequence[NDArray[np.integer]], segments: Segments = None) -> torch.Tensor:
        """Mean of the last hidden states over the real tokens, fp32 `(rows, width)`."""
        x, groups, masks = self._enter(rows, segments)
        for layer in self._layers:
            x = layer.after_attention(self._attend(layer.query_key_value(x.to(self._dtype)), groups, masks), x)
        means = []
        for group, mask in zip(groups, masks, strict=True):
            block = x[group.start : group.start + group.rows * group.length].view(group.rows, group.length, -1)
            if mask is None:
                means.append(block.mean(dim=1))
            else:
                real = (mask.float().view(group.rows, group.length, 1) == 0).float()
                means.append((block * real).sum(dim=1) / real.sum(dim=1))
        return torch.cat(means)

    def _enter(
        self, rows: Sequence[NDArray[np.integer]], segments: Segments
    ) -> tuple[torch.Tensor, list[Group], list[torch.Tensor | None]]:
        """Embedded tokens `(tokens, width)`, their groups, and each group's additive mask `(rows, 1, length)` or None."""
        lengths = np.array([len(row) for row in rows])
        groups = plan_groups(lengths)
        if self._words.device.type == "cpu":
            groups = cut_groups(groups, _BLOCK_BYTES // (self._heads * self._dtype.itemsize))
        ids = np.zeros(sum(group.rows * group.length for group in groups), dtype=np.int64)
        places, kinds = np.empty_like(ids), np.zeros(ids.shape, dtype=np.float32)
        masks: list[torch.Tensor | None] = []
        device = self._words.device
        number = 0
        for group in groups:
            block = ids[group.start : group.start + group.rows * group.length].reshape(group.rows, group.length)
            places[group.start : group.start + group.rows * group.length].reshape(group.rows, group.length)[:] = np.arange(group.length)
            for row in range(group.rows):
                block[row, : lengths[number + row]] = rows[number + row]
                if segments is not None:
                    begin = group.start + row * group.length
                    kinds[begin : begin + lengths[number + row]] = segments[number + row]
            masks.append(self._mask(lengths[number : number + group.rows], group.length) if group.padded else None)
            number += group.rows
        embedded = F.embedding(torch.from_numpy(ids).to(device), self._words) + F.embedding(
            torch.from_numpy(places).to(device), self._places
        )
        if segments is not None and self._second is not None:
            embedded = embedded + torch.from_numpy(kinds).to(device).unsqueeze(1) * self._second
        return self._norm(embedded), groups, masks

    def _mask(self, lengths: NDArray[np.integer], length: int) -> torch.Tensor:
        hidden = np.where(np.arange(length) < lengths[:, None], 0.0, -30000.0).astype(
            np.float32
        )  # finite: exp() of it is 0 in either format
        return torch.from_numpy(hidden).to(self._words.device, self._dtype).unsqueeze(1)

    def _attend(self, mixed: torch.Tensor, groups: Sequence[Group], masks: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """Self-attention inside each group: queries, keys and values `(tokens, 3 × width)` → contexts `(tokens, width)`."""
        width = mixed.shape[1] // 3
        contexts = mixed.new_empty(mixed.shape[0], width)
        for group, mask in zip(groups, masks, strict=True):
            places = slice(group.start, group.start + group.rows * group.length)
            shape = (group.rows, group.length, 3, self._heads, width // self._heads)
            query, key, value = mixed[places].view(shape).permute(2, 0, 3, 1, 4)  # (rows, heads, length, head width) each
            query, key = self._turned(query), self._turned(key)
            context = self._weighted(query, key, value, mask)
            contexts[places].view(group.rows, group.length, self._heads, -1).copy_(context.transpose(1, 2))
        return contexts

    def _turned(self, x: torch.Tensor) -> torch.Tensor:
        """Queries or keys `(rows, heads, length, head width)` by rotary positions, where the model has such."""
        if self._turns is None:
            return x
        sine, cosine = (part[: x.shape[2]].to(x.dtype) for part in self._turns)
        return turned(x, sine, cosine)

    def _weighted(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """softmax(q kᵀ + mask) v. Source: Vaswani et al. 2017, section 3.2.1 (the scale is in the query weights)."""
        scores = query @ key.transpose(-1, -2)
        if mask is not None:
            scores += mask.unsqueeze(1)  # in place: memory for a second one costs more than the sum
        return torch.softmax(scores, dim=-1) @ value

    def _last_layer_first_token(self, x: torch.Tensor, groups: Sequence[Group], masks: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """The last layer for the first token of each row only, `(rows, width)`: no other token of it is read."""
        layer, alone = self._layers[-1], self._last_rows
        assert alone.query is not None and layer.key_value is not None  # made for the last layer in __init__
        firsts = torch.cat([torch.arange(g.rows, device=x.device) * g.length + g.start for g in groups])
        first = x[firsts]
        queries, mixed = alone.query(first), layer.key_value(x.to(self._dtype)).float()
        width = first.shape[1]
        contexts, number = [], 0
        for group, mask in zip(groups, masks, strict=True):
            shape = (group.rows, group.length, 2, self._heads, width // self._heads)
            key, value = mixed[group.start : group.start + group.rows * group.length].view(shape).permute(2, 0, 3, 1, 4)
            query = queries[number : number + group.rows].view(group.rows, self._heads, 1, -1)  # the first position turns nothing
            contexts.append(self._weighted(query, self._turned(key), value, mask).reshape(group.rows, width))
            number += group.rows
        return alone.after_attention(torch.cat(contexts), first)
