"""The task of extractive question answering: its model, the loss of both ends of an answer, and what is watched while it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trustbase.data.answers import exact_match, texts_of, token_f1
from trustbase.data.pair import sides
from trustbase.model.heads import SPAN, outputs_of
from trustbase.model.ragged import Ragged, ragged
from trustbase.model.task import Task, build_scorer, check_pairs
from trustbase.records import BaseModel, LabelSchema

Batch = Mapping[str, Any]
ENDS = ("start", "end")
_HALF = 0.5


def build_answerer(base: BaseModel, labels: LabelSchema, *, seed: int, dropout: float | None = None) -> nn.Module:
    """A model of questions and texts with two outputs for each token, otherwise as `build_pair_classifier`.

    Raises:
        ModelError: as there.
    """
    model: nn.Module = build_scorer(base, ENDS, "question-answering", None, seed=seed, dropout=dropout, head=SPAN)
    check_pairs(base, model)
    return model


def end_losses(logits: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the first and the last token in nats, in fp32, `(sequences,)`.

    Args:
        logits: of every token to be either, `(sequences, length, 2)`.
        ends: which tokens are, `(sequences, 2)`.
    """
    losses = nn.functional.cross_entropy(logits.float(), ends, reduction="none")
    return losses.mean(dim=-1)


def masked(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Padding cannot be an answer, so that a loss does not depend on the company that a row has in its batch."""
    return logits.float().masked_fill(~mask.bool().unsqueeze(-1), torch.finfo(torch.float32).min / 4)


def truth_with_texts(truth: NDArray[Any], labels: LabelSchema, texts: Sequence[str]) -> Ragged:
    """The text of each row that is searched, and its answers, `(rows,)`."""
    return ragged((sides(text)[-1], spans) for text, spans in zip(texts, truth, strict=True))


def answer_metrics(truth: NDArray[Any], scores: NDArray[np.float64]) -> dict[str, float]:
    """Shares of rows answered exactly and the mean F1 over words, no answer being told where it is likelier than the best one."""
    exact, f1 = [], []
    for (context, spans), row in zip(truth, scores, strict=True):
        told = context[int(row[0]) : int(row[1])] if row[4] >= _HALF else None
        exact.append(exact_match(told, texts_of(context, spans)))
        f1.append(token_f1(told, texts_of(context, spans)))
    return {"quality.token_f1": float(np.mean(f1)), "quality.exact_match": float(np.mean(exact))}


def _loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    outputs = outputs_of(model(**{name: value for name, value in batch.items() if name != "labels"}))
    return end_losses(masked(outputs, batch["attention_mask"]), batch["labels"])


QUESTION_ANSWERING = Task(
    "question-answering",
    "span",
    build_answerer,
    _loss,
    end_losses,
    lambda logits: logits.float(),
    truth_with_texts,
    answer_metrics,
    SPAN,
)
