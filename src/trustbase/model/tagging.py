"""The task of tagging units: its model, the cross-entropy of each unit's tag, and what is watched while it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trustbase.data.tags import tag_names, tags_of, types_of
from trustbase.data.units import touched, units
from trustbase.errors import ModelError
from trustbase.model.decoding import best_tags, entities_in
from trustbase.model.heads import TOKENS
from trustbase.model.ragged import Ragged, ragged
from trustbase.model.task import Task, build_scorer, logits_of
from trustbase.records import BaseModel, LabelSchema

Batch = Mapping[str, Any]
_LEAST = np.finfo(np.float64).eps


def build_tagger(base: BaseModel, labels: LabelSchema, *, seed: int, dropout: float | None = None) -> nn.Module:
    """A model of tokens with one logit for each tag, otherwise as `build_classifier`.

    Raises:
        ModelError: as there; or the labels are no tags of entities.
    """
    if not types_of(labels.names):
        raise ModelError(f"Tagging needs tags of at least one type of entity, got {list(labels.names)}", hint="check the label column")
    return build_scorer(base, labels.names, "token-classification", None, seed=seed, dropout=dropout, head=TOKENS)


def unit_tags(truth: NDArray[Any], labels: LabelSchema, texts: Sequence[str]) -> Ragged:
    """The place of each unit's tag among the labels, int64 `(units,)` of each row, from entities in characters.

    A unit that an entity covers in part is tagged as part of it.
    """
    found = []
    for row, text in zip(truth, texts, strict=True):
        bounds = units(text)
        entities = [(*touched(bounds, start, end), name) for start, end, name in row]
        found.append(tags_of(entities, len(bounds), labels.names))
    return ragged(found)


def mean_over_rows(losses: torch.Tensor, owners: torch.Tensor, rows: int) -> torch.Tensor:
    """The mean of the losses of each row's units, `(units,)` → `(rows,)`; 0 of a row without any."""
    counts = torch.bincount(owners, minlength=rows).clamp(min=1)
    return torch.zeros(rows, dtype=losses.dtype, device=losses.device).index_add(0, owners, losses) / counts


def unit_cross_entropy(logits: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each unit's true tag in nats, in fp32, `(units,)`."""
    return nn.functional.cross_entropy(logits.float(), tags, reduction="none")


def entity_metrics(names: Sequence[str], tags: Sequence[NDArray[np.integer]], chances: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """F1, precision and recall of whole entities, and the mean log loss of a unit.

    Args:
        names: the tags.
        tags: true tags of each row, `(units,)`.
        chances: probabilities of each row, `(units, tags)`.
    """
    hits = told = actual = 0
    loss = count = 0.0
    for truth, table in zip(tags, chances, strict=True):
        true, found = set(entities_in(truth, names)), set(entities_in(best_tags(table, names), names))
        hits, told, actual = hits + len(true & found), told + len(found), actual + len(true)
        own = table[np.arange(len(truth)), truth]
        loss, count = loss - float(np.log(np.clip(own, _LEAST, None)).sum()), count + len(truth)
    return {
        "quality.entity_f1": 2 * hits / max(1, told + actual),
        "quality.entity_precision": hits / max(1, told),
        "quality.entity_recall": hits / max(1, actual),
        "quality.log_loss": loss / max(1.0, count),
    }


def _metrics(tags: NDArray[Any], chances: NDArray[Any]) -> dict[str, float]:
    """In training the tags are those of `tag_names`, whose order tells types apart; what they are called does not matter."""
    width = next((table.shape[1] for table in chances), 1)
    names = tag_names(f"{number:06d}" for number in range((width - 1) // 2))
    return entity_metrics(names, list(tags), list(chances))


TOKEN_CLASSIFICATION = Task(
    "token-classification",
    "tokens",
    build_tagger,
    lambda model, batch: unit_cross_entropy(logits_of(model, batch).flatten(0, 1), batch["labels"].flatten()).view(batch["labels"].shape),
    unit_cross_entropy,
    lambda logits: logits.float().softmax(dim=-1),
    unit_tags,
    _metrics,
    TOKENS,
)
