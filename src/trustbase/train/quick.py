"""A quicker way through a BERT classifier while it is trained: the same parameters and the same mathematics, less work.

What is saved, and why it changes no answer:

* only the first token's output reaches the pooler, so the last layer computes queries, feed-forward and norms for it alone;
* query, key and value are one product instead of three; a batch without padding needs no mask;
* dropout takes 15 random bits per element from a named stream (`seeds`) and masks bits, some ten times cheaper than torch's
  on a CPU; a step's masks depend on its number alone, so a resumed run repeats them.

`trustbase.train.loop` compares this route with the model's own forward before it is used, and falls back if they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trustbase import seeds


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


class QuickBert:
    """The quicker forward of one `BertForSequenceClassification` (also with LoRA inside)."""

    def __init__(self, classifier: Any, dropout: Dropout) -> None:
        self._model = classifier
        self._dropout = dropout

    @staticmethod
    def serves(model: Any) -> bool:
        """Whether this route knows the model: a bidirectional BERT classifier with its own pooler."""
        config = getattr(model, "config", None)
        return (
            type(model).__name__ == "BertForSequenceClassification"
            and config is not None
            and not config.is_decoder
            and not config.add_cross_attention
            and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
            and model.bert.pooler is not None
        )

    def logits(self, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """Scores before softmax, `(rows, classes)`; `dtype` is that of the residual stream."""
        bert = self._model.bert
        x = self._dropout(bert.embeddings.LayerNorm(self._embed(inputs)).to(dtype), bert.embeddings.dropout.p)  # (rows, length, width)
        mask = _additive_mask(inputs.get("attention_mask"), dtype)
        layers = bert.encoder.layer
        for layer in layers[:-1]:
            x = self._layer(layer, x, x, mask)
        first = self._layer(layers[-1], x, x[:, :1], mask)[:, 0]  # (rows, width)
        pooled = bert.pooler.activation(bert.pooler.dense(first))
        head: Tensor = self._model.classifier(self._dropout(pooled, self._model.dropout.p))
        return head

    def _embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        table, ids = self._model.bert.embeddings, inputs["input_ids"]
        types = inputs.get("token_type_ids")
        kind = table.token_type_embeddings.weight[0] if types is None else table.token_type_embeddings(types)
        total: Tensor = table.word_embeddings(ids) + kind + table.position_embeddings.weight[: ids.shape[1]]
        return total

    def _layer(self, layer: Any, x: Tensor, queries: Tensor, mask: Tensor | None) -> Tensor:
        """One encoder layer; `queries` `(rows, asked, width)` are the positions whose output is wanted."""
        out = layer.attention.output
        mixed = self._attend(layer.attention.self, x, queries, mask)
        y = out.LayerNorm(self._dropout(out.dense(mixed), out.dropout.p) + queries)
        z = layer.output.dense(layer.intermediate.intermediate_act_fn(layer.intermediate.dense(y)))
        result: Tensor = layer.output.LayerNorm(self._dropout(z, layer.output.dropout.p) + y)
        return result

    def _attend(self, attention: Any, x: Tensor, queries: Tensor, mask: Tensor | None) -> Tensor:
        heads, width = attention.num_attention_heads, attention.attention_head_size
        rows, length = x.shape[:2]
        q, k, v = _project(attention, x, queries)
        q = q.reshape(rows, -1, heads, width).transpose(1, 2)  # (rows, heads, asked, width)
        k = k.reshape(rows, length, heads, width).permute(0, 2, 3, 1)  # (rows, heads, width, length)
        v = v.reshape(rows, length, heads, width).transpose(1, 2)
        scores = torch.matmul(q * attention.scaling, k)
        weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
        weights = self._dropout(weights, attention.dropout.p)
        return torch.matmul(weights, v).transpose(1, 2).reshape(rows, -1, heads * width)


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
