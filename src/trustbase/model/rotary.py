"""Encoders with rotary positions: transformers' RoFormer, the head for pairs that it lacks, and the rotation for our quicker routes.

Why they are the usual encoder of a new model: a small BERT on few tokens stays for thousands of updates where it only knows how frequent
each word is, since its learned positions must first become a notion of distance; rotary positions have it from the start. Of one toy
language BERT knew 3.5 nats a word after 400 updates, and the same shape with rotary positions 1.4 (docs/log.md, where this is told).

Source: Su et al. (2021), RoFormer: Enhanced transformer with rotary position embedding, section 3.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import RoFormerForMaskedLM


class RoFormerForPreTraining(RoFormerForMaskedLM):  # type: ignore[misc]
    """RoFormer with heads for words and for pairs of segments, as `BertForPreTraining` has them; without a pooler.

    Without the second head it is transformers' `RoFormerForMaskedLM`, which loads its folder too.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.cls.seq_relationship = nn.Linear(config.hidden_size, 2)
        self.post_init()


def angles(body: Any, length: int) -> tuple[Tensor, Tensor]:
    """Sines and cosines of every position and frequency of a RoFormer body, `(length, head width / 2)` each."""
    table: Tensor = body.encoder.embed_positions.weight[:length]
    sine, cosine = table.detach().chunk(2, dim=-1)
    return sine, cosine


def turned(x: Tensor, sine: Tensor, cosine: Tensor) -> Tensor:
    """Queries or keys `(…, length, head width)` turned by the angles of their positions, `(…, length, head width / 2)`.

    Neighbouring numbers are a pair, as in RoFormer.
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1).flatten(-2)
