"""A quicker way through a BERT or RoFormer encoder while it is trained: the same parameters and the same mathematics, less work.

What is saved, and why it changes no answer:

* only the first token's output reaches a classifier's pooler, and in pretraining only the tokens to be found are asked for, so the
  last layer computes queries, feed-forward and norms for these alone;
* query, key and value are one product instead of three; a batch without padding needs no mask;
* dropout takes 15 random bits per element from a named stream (`seeds`) and masks bits, some ten times cheaper than torch's
  on a CPU; a step's masks depend on its number alone, so a resumed run repeats them;
* on an accelerator attention is one fused kernel, where transformers' RoFormer writes every weight to memory.

`forward` and `trial` compare this route with the model's own forward before it is used, and fall back if they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

from trustbase import seeds
from trustbase.model.fused import show_columns
from trustbase.model.rotary import angles, turned

_OF_TOKENS = frozenset(f"{family}For{what}" for family in ("Bert", "RoFormer") for what in ("TokenClassification", "QuestionAnswering"))
_FEW = 0.6  # of a row: where more outputs are wanted, the last layer computes all


class Dropout:
    """Dropout whose masks come from a named stream; `p` is rounded to 1/32768."""

    def __init__(self) -> None:
        self._bits: np.random.SFC64 | None = None

    def start(self, seed: int, *names: str | int) -> None:
        """Begin the masks of one batch."""
        self._bits = np.random.SFC64(seeds.stream_seed(seed, *names))

    def stop(self) -> None:
        """No dropout until the next `start` (scoring)."""
        self._bits = None

    @property
    def on(self) -> bool:
        """Whether anything is dropped: between `start` and `stop`."""
        return self._bits is not None

    def __call__(self, x: Tensor, p: float) -> Tensor:
        """Zero each element of `x` with probability `p` and scale the others by 1/(1-p)."""
        dropped = round(p * 32768)
        if self._bits is None or dropped == 0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, p)
        count = x.numel()
        raw = self._bits.random_raw((count + 3) // 4).view(np.int16)[:count]
        # all bits of an element where it is kept, none where it is dropped: 15 random bits against the limit, sign spread
        keep = torch.from_numpy(raw).view(x.shape).bitwise_right_shift_(1).neg_().add_(dropped - 16385).bitwise_right_shift_(15)
        return _Masked.apply(x, keep, 32768 / (32768 - dropped))  # type: ignore[no-any-return, no-untyped-call]


class _Masked(torch.autograd.Function):
    """`x` where `keep` (int16, all bits or none) is set, times `scale`; bits are masked, which costs a third of a product with booleans."""

    @staticmethod
    def forward(context: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        context.save_for_backward(keep)
        context.scale = scale
        return _masked(x, keep, scale)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = context.saved_tensors
        return _masked(gradients[0], keep, context.scale), None, None


def _masked(x: Tensor, keep: Tensor, scale: float) -> Tensor:
    if x.dtype.itemsize == 2:
        return (x.view(torch.int16) & keep).view(x.dtype).mul_(scale)
    return (x * keep).mul_(-scale)  # all bits set is -1


class QuickBody:
    """The quicker forward of one `BertModel`, `RoFormerModel` or `ElectraModel` (also with LoRA or bottlenecks inside)."""

    def __init__(self, body: Any, dropout: Dropout, *, frozen: int = 0) -> None:
        self._body = body
        self._dropout = dropout
        self._frozen = frozen  # layers whose outputs come as `states`, where they come

    @staticmethod
    def serves(body: Any) -> bool:
        """Whether this route knows the model: bidirectional, with learned absolute positions or rotary ones."""
        config = getattr(body, "config", None)
        return (
            type(body).__name__ in {"BertModel", "RoFormerModel", "ElectraModel"}
            and not getattr(config, "rotary_value", False)
            and config is not None
            and not config.is_decoder
            and not config.add_cross_attention
            and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        )

    def firsts(self, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """Output of each row's first token, `(rows, width)`; `dtype` is that of the residual stream.

        Where the inputs hold `states`, `(rows, length, width)`, the embeddings and the first `frozen` layers are not run.
        """
        x, (*layers, last) = self._enter(inputs, dtype)
        mask = _additive_mask(inputs.get("attention_mask"), dtype)
        turns = self._turns(x)
        for layer in layers:
            x = self._layer(layer, x, x, mask, turns)
        return self._layer(last, x, x[:, :1], mask, turns and turns.first())[:, 0]

    def states(self, inputs: Mapping[str, Tensor], places: Tensor, dtype: torch.dtype) -> Tensor:
        """Outputs at some places of the flat batch, `(places,)` → `(places, width)`: the last layer computes no others."""
        x, (*layers, last) = self._enter(inputs, dtype)
        mask = block_mask(inputs, dtype)
        turns = self._turns(x)
        for layer in layers:
            x = self._layer(layer, x, x, mask, turns)
        asked = Asked.of(places, x.shape[1], x.shape[0])
        if asked.most > _FEW * x.shape[1]:
            return self._layer(last, x, x, mask, turns).flatten(0, 1).index_select(0, places)
        queries = x.flatten(0, 1).index_select(0, asked.padded.flatten()).view(*asked.padded.shape, -1)
        rows = None if mask is None else mask if mask.shape[2] == 1 else asked.of_mask(mask)
        outputs = self._layer(last, x, queries, rows, turns and turns.at(asked.padded % x.shape[1]))
        return outputs.flatten(0, 1).index_select(0, asked.found)

    def _enter(self, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> tuple[Tensor, Sequence[Any]]:
        """What the first layer that is run is given, `(rows, length, width)`, and the layers that are run."""
        states = inputs.get("states")
        if states is None:
            return self._embed(inputs, dtype), self._body.encoder.layer
        return states.to(dtype), self._body.encoder.layer[self._frozen :]

    def _embed(self, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        table, ids = self._body.embeddings, inputs["input_ids"]
        types, positions = inputs.get("token_type_ids"), inputs.get("position_ids")
        kind = table.token_type_embeddings.weight[0] if types is None else table.token_type_embeddings(types)
        total: Tensor = table.word_embeddings(ids) + kind
        if hasattr(table, "position_embeddings"):
            known = table.position_embeddings.weight[: ids.shape[1]] if positions is None else table.position_embeddings(positions)
            total = total + known
        x = self._dropout(table.LayerNorm(total).to(dtype), table.dropout.p)
        return self._body.embeddings_project(x) if hasattr(self._body, "embeddings_project") else x

    def _turns(self, x: Tensor) -> Turns | None:
        """What rotary positions do to queries and keys; None where positions stand in the embeddings."""
        if not hasattr(self._body.encoder, "embed_positions"):
            return None
        sine, cosine = (part.to(x.dtype) for part in angles(self._body, x.shape[1]))
        return Turns(sine, cosine, sine, cosine)

    def _layer(self, layer: Any, x: Tensor, queries: Tensor, mask: Tensor | None, turns: Turns | None) -> Tensor:
        """One encoder layer; `queries` `(rows, asked, width)` are the positions whose output is wanted."""
        out = layer.attention.output
        mixed = self._attend(layer.attention.self, x, queries, mask, turns)
        y = out.LayerNorm(self._dropout(out.dense(mixed), out.dropout.p) + queries)
        z = layer.output.dense(layer.intermediate.intermediate_act_fn(layer.intermediate.dense(y)))
        result: Tensor = layer.output.LayerNorm(self._dropout(z, layer.output.dropout.p) + y)
        return result

    def _attend(self, attention: Any, x: Tensor, queries: Tensor, mask: Tensor | None, turns: Turns | None) -> Tensor:
        heads, width = attention.num_attention_heads, attention.attention_head_size
        rows, length = x.shape[:2]
        q, k, v = _project(attention, x, queries)
        q = q.reshape(rows, -1, heads, width).transpose(1, 2)  # (rows, heads, asked, width)
        k = k.reshape(rows, length, heads, width).transpose(1, 2)
        v = v.reshape(rows, length, heads, width).transpose(1, 2)
        if turns is not None:
            q, k = turned(q, turns.sine, turns.cosine), turned(k, turns.key_sine, turns.key_cosine)
        attend = self._attended if x.device.type == "cpu" else self._fused
        return attend(q, k, v, mask, attention.dropout.p).transpose(1, 2).reshape(rows, -1, heads * width)

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float) -> Tensor:
        """What queries find, each `(rows, heads, asked | length, width)`; the weights' dropout is our own."""
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(2, 3))
        weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
        return torch.matmul(self._dropout(weights, p), v)

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float) -> Tensor:
        """The same by one kernel of the accelerator, which keeps no weights; its dropout follows the device's random state."""
        seen = None if mask is None else mask.to(v.dtype)
        kept = p if self._dropout.on else 0.0
        return functional.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=seen, dropout_p=kept)


@dataclass(frozen=True, eq=False)
class Turns:
    """Sines and cosines of the positions of queries, `(asked, half)` or `(rows, 1, asked, half)`, and of keys, `(length, half)`."""

    sine: Tensor
    cosine: Tensor
    key_sine: Tensor
    key_cosine: Tensor

    def at(self, positions: Tensor) -> Turns:
        """For queries at these positions of each row, `(rows, asked)`."""
        sine, cosine = self.key_sine[positions][:, None], self.key_cosine[positions][:, None]
        return Turns(sine, cosine, self.key_sine, self.key_cosine)

    def first(self) -> Turns:
        """For a query at each row's first token."""
        return Turns(self.key_sine[:1], self.key_cosine[:1], self.key_sine, self.key_cosine)


class QuickBert:
    """The quicker forward of a BERT or RoFormer with a head for texts or for tokens."""

    def __init__(self, classifier: Any, dropout: Dropout, *, frozen: int = 0) -> None:
        self._model = classifier
        self._body = QuickBody(classifier.base_model, dropout, frozen=frozen)
        self._dropout = dropout

    @staticmethod
    def serves(model: Any) -> bool:
        """Whether this route knows the model: a bidirectional BERT classifier with its own pooler, or RoFormer's; or a tagger of either."""
        if type(model).__name__ in _OF_TOKENS:
            return QuickBody.serves(model.base_model)
        if type(model).__name__ == "RoFormerForSequenceClassification":
            return QuickBody.serves(model.roformer)
        return type(model).__name__ == "BertForSequenceClassification" and QuickBody.serves(model.bert) and model.bert.pooler is not None

    def logits(self, inputs: Mapping[str, Tensor], dtype: torch.dtype, places: Tensor | None = None) -> Tensor:
        """Scores before softmax, `(rows, classes)`; of a head for tokens those at `places` of the flat batch, `(places, tags)`, of one for
        spans those of all tokens, `(rows, length, 2)`.

        `dtype` is that of the residual stream.
        """
        if hasattr(self._model, "qa_outputs"):
            rows, length = inputs["input_ids"].shape
            every = torch.arange(rows * length, device=inputs["input_ids"].device)
            ends: Tensor = self._model.qa_outputs(self._body.states(inputs, every, dtype))
            return ends.view(rows, length, -1)
        if places is not None:
            tags: Tensor = self._model.classifier(self._dropout(self._body.states(inputs, places, dtype), self._model.dropout.p))
            return tags
        firsts, head = self._body.firsts(inputs, dtype), self._model.classifier
        show_columns(self._model, inputs)
        if hasattr(head, "out_proj"):
            p = head.dropout.p
            inner = ACT2FN[head.config.hidden_act](head.dense(self._dropout(firsts, p)))
            scores: Tensor = head.out_proj(self._dropout(inner, p))
        else:
            pooler = self._model.bert.pooler
            scores = head(self._dropout(pooler.activation(pooler.dense(firsts)), self._model.dropout.p))
        return scores


@dataclass(frozen=True, eq=False)
class Asked:
    """Places of a batch whose outputs are wanted, as many in each row, the missing filled up.

    Attributes:
        padded: places of the flat batch, `(rows, most)`.
        found: where each wanted place lies among these, flat, `(places,)`.
        most: wanted in one row at most.
    """

    padded: Tensor
    found: Tensor
    most: int

    @classmethod
    def of(cls, places: Tensor, length: int, rows: int) -> Asked:
        """From places of the flat batch `(places,)` in any order."""
        ordered, order = torch.sort(places)
        row = ordered // length
        counts = torch.bincount(row, minlength=rows)
        most = max(1, int(counts.max()))
        column = torch.arange(len(places), device=places.device) - (torch.cumsum(counts, 0) - counts)[row]
        padded = (torch.arange(rows, device=places.device) * length)[:, None].repeat(1, most)
        padded[row, column] = ordered
        found = torch.empty_like(places)
        found[order] = row * most + column
        return cls(padded, found, most)

    def of_mask(self, mask: Tensor) -> Tensor:
        """The rows of an attention mask `(rows, 1, length, length)` that belong to these places, `(rows, 1, most, length)`."""
        return mask.flatten(0, 2).index_select(0, self.padded.flatten()).view(mask.shape[0], 1, -1, mask.shape[3])


def _project(attention: Any, x: Tensor, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value; in one product where they are plain layers over the same positions."""
    parts = (attention.query, attention.key, attention.value)
    if any(type(part) is not nn.Linear for part in parts):
        return attention.query(queries), attention.key(x), attention.value(x)
    joined = parts if queries is x else parts[1:]
    weight, bias = torch.cat([part.weight for part in joined]), torch.cat([part.bias for part in joined])
    pieces = functional.linear(x, weight, bias).chunk(len(joined), dim=-1)
    if queries is x:
        return pieces[0], pieces[1], pieces[2]
    return attention.query(queries), pieces[0], pieces[1]


def _additive_mask(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """0 where a token stands and a very negative number at padding, `(rows, 1, 1, length)`; None without padding."""
    if mask is None or bool(mask.all()):
        return None
    return ((1 - mask[:, None, None, :]) * torch.finfo(torch.float32).min / 2).to(dtype)


def block_mask(inputs: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor | None:
    """The same for rows of several pieces, `(rows, 1, length, length)`: a token sees those of its own piece."""
    pieces = inputs.get("pieces")
    if pieces is None:
        return _additive_mask(inputs.get("attention_mask"), dtype)
    apart = pieces[:, None, :, None] != pieces[:, None, None, :]
    return apart.to(dtype).mul_(torch.finfo(torch.float32).min / 2)
