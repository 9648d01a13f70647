"""Tasks: what is predicted, the model that predicts it, its loss per row, and its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from trustbase.errors import ModelError
from trustbase.model.folder import ADAPTER_WEIGHTS
from trustbase.model.load import describe_base
from trustbase.model.pretrained import Origin, config_of, load_classifier, set_origin
from trustbase.records import BaseModel, LabelSchema

Batch = Mapping[str, Any]


class Build(Protocol):
    """Makes the model of a task from a base model."""

    def __call__(self, base: BaseModel, labels: LabelSchema, *, seed: int, dropout: float | None = None) -> nn.Module: ...


@dataclass(frozen=True)
class Task:
    """A task: everything about it that the loop and the Predictor need to know.

    Attributes:
        name: as in the recipe.
        answer_kind: what an audit can ask about ("classes", …).
        build: base model and labels → a plain transformers model.
        loss: model and batch (tensors, with `labels`) → loss per row in fp32, `(rows,)`.
        row_losses: logits and labels → the same, where logits are at hand.
        scores: logits → scores in fp32; for classes probabilities `(rows, classes)`.
    """

    name: str
    answer_kind: str
    build: Build
    loss: Callable[[nn.Module, Batch], torch.Tensor]
    row_losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    scores: Callable[[torch.Tensor], torch.Tensor]


def build_classifier(base: BaseModel, labels: LabelSchema, *, seed: int, dropout: float | None = None) -> nn.Module:
    """A classifier of texts with one logit per label (two labels: two logits), its head drawn from the stream `head`.

    A base that already classifies exactly these labels, in this order, keeps its head. The global random state is
    neither used nor changed.

    Args:
        base: from `resolve_base`.
        labels: names in score order.
        seed: seed of the run.
        dropout: dropout everywhere in the model; None keeps the model's own.

    Raises:
        ModelError: no such architecture, weights that are not whole, a tokenizer of another model, or fewer than two labels.
    """
    from trustbase.model.tokenizer import load_tokenizer

    if len(set(labels.names)) != len(labels.names) or len(labels.names) < 2:
        raise ModelError(
            f"Text classification needs at least two different labels, got {list(labels.names)}", hint="check the label column"
        )
    weights = None
    if (base.folder / ADAPTER_WEIGHTS).is_file():
        from trustbase.model.adapt import merge
        from trustbase.model.checkpoint import load_checkpoint

        weights = merge(load_checkpoint(base.folder)[0]).state_dict()
    tokenizer = load_tokenizer(base.folder)
    model = load_classifier(
        base.folder, label_names=labels.names, seed=seed, dropout=dropout, pad_id=tokenizer.pad_token_id, weights=weights
    )
    _check_vocabulary(base, model, tokenizer)
    set_origin(model, Origin("text-classification", describe_base(base), base=base))
    return model


def build_pair_classifier(base: BaseModel, labels: LabelSchema, *, seed: int, dropout: float | None = None) -> nn.Module:
    """A classifier of pairs of texts, otherwise as `build_classifier`.

    Raises:
        ModelError: as there; or the tokenizer cannot tell two texts apart, or tells the model of a second text that it has no embedding of.
    """
    from trustbase.model.token_pairs import pair_layout
    from trustbase.model.tokenizer import load_tokenizer

    layout = pair_layout(load_tokenizer(base.folder))
    model = build_classifier(base, labels, seed=seed, dropout=dropout)
    kinds = getattr(config_of(model), "type_vocab_size", None)
    if layout.told and kinds is not None and kinds < 2:
        raise ModelError(
            f"base '{base.reference}' has one kind of token, but its tokenizer tells of two: it was not made for pairs of texts",
            hint="take token_type_ids out of model_input_names in its tokenizer_config.json, or take another base",
        )
    set_origin(model, Origin("text-pair-classification", describe_base(base), base=base))
    return model


def _check_vocabulary(base: BaseModel, model: nn.Module, tokenizer: Any) -> None:
    """A token without an embedding would stop training in the middle, with an index error that says nothing."""
    known = config_of(model).vocab_size
    if len(tokenizer) > known:
        raise ModelError(
            f"base '{base.reference}': its tokenizer has {len(tokenizer)} tokens, but the model has embeddings for {known}",
            hint="use the tokenizer that the model was trained with, or resize the model's embeddings and save it",
        )


def logits_of(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Logits `(rows, classes)` of a batch; `labels` in it are not shown to the model, whose own loss is not used."""
    logits: torch.Tensor = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    return logits


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the true label in nats, in fp32 whatever the logits are, `(rows,)`."""
    return nn.functional.cross_entropy(logits.float(), labels, reduction="none")


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Softmax in fp32, `(rows, classes)`."""
    return logits.float().softmax(dim=-1)


def _classification_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return cross_entropy(logits_of(model, batch), batch["labels"])


TEXT_CLASSIFICATION = Task("text-classification", "classes", build_classifier, _classification_loss, cross_entropy, probabilities)
TEXT_PAIR_CLASSIFICATION = Task(
    "text-pair-classification", "classes", build_pair_classifier, _classification_loss, cross_entropy, probabilities
)
