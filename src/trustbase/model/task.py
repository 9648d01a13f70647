"""Tasks: what is predicted, the model that predicts it, its loss per row, and its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trustbase.errors import ModelError
from trustbase.model.folder import ADAPTER_WEIGHTS
from trustbase.model.heads import SEQUENCE
from trustbase.model.load import describe_base
from trustbase.model.metrics import Metrics, class_metrics, label_metrics, number_metrics
from trustbase.model.pretrained import Origin, config_of, load_classifier, set_origin
from trustbase.records import BaseModel, LabelSchema

Batch = Mapping[str, Any]
CHOICE = "choice"  # the name of the one output of a model that weighs choices


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
        loss: model and batch (tensors, with `labels`) → loss per row in fp32, `(rows,)`; of a head for tokens `(rows, length)`.
        row_losses: logits and labels → the same, where logits are at hand; of a head for tokens, of each unit.
        scores: logits → scores in fp32, `(rows, width)`: of classes, labels and tags probabilities, of a number standard deviations.
        targets: truth as in `Split.labels`, label schema and texts → what `labels` of a batch are cut from, `(rows, …)`; where units
            are tagged, an array of objects `(rows,)`, each the tags of a row.
        metrics: targets and scores `(rows, …)` → values of what early stopping may watch, by finding id; the first is the usual one.
        head: which head its models have (`heads.HEADS`).
    """

    name: str
    answer_kind: str
    build: Build
    loss: Callable[[nn.Module, Batch], torch.Tensor]
    row_losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    scores: Callable[[torch.Tensor], torch.Tensor]
    targets: Callable[[NDArray[Any], LabelSchema, Sequence[str]], NDArray[Any]]
    metrics: Metrics
    head: str = SEQUENCE


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
    if len(set(labels.names)) != len(labels.names) or len(labels.names) < 2:
        raise ModelError(
            f"Text classification needs at least two different labels, got {list(labels.names)}", hint="check the label column"
        )
    return build_scorer(base, labels.names, "text-classification", "single_label_classification", seed=seed, dropout=dropout)


def build_scorer(
    base: BaseModel, names: Sequence[str], task: str, problem_type: str | None, *, seed: int, dropout: float | None, head: str = SEQUENCE
) -> nn.Module:
    """A model with one logit for each name, of the whole text or, by its head, of each token; `problem_type` is what transformers calls
    what they mean.
    """
    from trustbase.model.tokenizer import load_tokenizer

    weights = None
    if (base.folder / ADAPTER_WEIGHTS).is_file():
        from trustbase.model.adapt import merge
        from trustbase.model.checkpoint import load_checkpoint

        weights = merge(load_checkpoint(base.folder)[0]).state_dict()
    tokenizer = load_tokenizer(base.folder)
    model = load_classifier(
        base.folder, label_names=names, seed=seed, dropout=dropout, pad_id=tokenizer.pad_token_id, weights=weights, head=head
    )
    _check_vocabulary(base, model, tokenizer)
    config_of(model).problem_type = problem_type
    set_origin(model, Origin(task, describe_base(base), base=base))
    return model


def build_pair_classifier(base: BaseModel, labels: LabelSchema, *, seed: int, dropout: float | None = None) -> nn.Module:
    """A classifier of pairs of texts, otherwise as `build_classifier`.

    Raises:
        ModelError: as there; or the tokenizer cannot tell two texts apart, or tells the model of a second text that it has no embedding of.
    """
    model = build_classifier(base, labels, seed=seed, dropout=dropout)
    check_pairs(base, model)
    set_origin(model, Origin("text-pair-classification", describe_base(base), base=base))
    return model


def check_pairs(base: BaseModel, model: nn.Module) -> None:
    """Whether a model can read two texts together.

    Raises:
        ModelError: the tokenizer cannot tell two texts apart, or tells the model of a second text that it has no embedding of.
    """
    from trustbase.model.token_pairs import pair_layout
    from trustbase.model.tokenizer import load_tokenizer

    layout = pair_layout(load_tokenizer(base.folder))
    kinds = getattr(config_of(model), "type_vocab_size", None)
    if layout.told and kinds is not None and kinds < 2:
        raise ModelError(
            f"base '{base.reference}' has one kind of token, but its tokenizer tells of two: it was not made for pairs of texts",
            hint="take token_type_ids out of model_input_names in its tokenizer_config.json, or take another base",
        )


def build_multiple_choice(base: BaseModel, labels: LabelSchema, *, seed: int, dropout: float | None = None) -> nn.Module:
    """A model of pairs of texts with one output: how well a choice answers a question.

    It is one for any number of choices. Where the head of sequences is one layer on the pooler, as in BERT, its weights are those of
    `…ForMultipleChoice` of transformers by name and meaning, which loads them.

    Raises:
        ModelError: as `build_pair_classifier`; one choice is none.
    """
    if len(labels.names) < 2:
        raise ModelError(f"Multiple choice needs at least two choices, got {list(labels.names)}", hint="name more columns in data.choices")
    model: nn.Module = build_scorer(base, (CHOICE,), "multiple-choice", None, seed=seed, dropout=dropout)
    check_pairs(base, model)
    return model


def build_relation_classifier(base: BaseModel, labels: LabelSchema, *, seed: int, dropout: float | None = None) -> nn.Module:
    """A classifier of texts with two marked entities, otherwise as `build_classifier`.

    Raises:
        ModelError: as there; or the tokenizer does not know the signs that are put around entities.
    """
    from trustbase.model.token_marks import check_signs
    from trustbase.model.tokenizer import load_tokenizer

    check_signs(load_tokenizer(base.folder), base.reference)
    model = build_classifier(base, labels, seed=seed, dropout=dropout)
    set_origin(model, Origin("relation-extraction", describe_base(base), base=base))
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


def choice_losses(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the right choice, `(rows,)`; the choices of a question stand one after another in the batch."""
    labels = batch["labels"]
    return cross_entropy(logits_of(model, batch).reshape(len(labels), -1), labels)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the true label in nats, in fp32 whatever the logits are, `(rows,)`."""
    return nn.functional.cross_entropy(logits.float(), labels, reduction="none")


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Softmax in fp32, `(rows, classes)`."""
    return logits.float().softmax(dim=-1)


def build_multi_label(base: BaseModel, labels: LabelSchema, *, seed: int, dropout: float | None = None) -> nn.Module:
    """A model of texts with one logit per label, each answered by itself, otherwise as `build_classifier`.

    Raises:
        ModelError: as there; one label is enough.
    """
    return build_scorer(base, labels.names, "multi-label-classification", "multi_label_classification", seed=seed, dropout=dropout)


def build_regression(base: BaseModel, labels: LabelSchema, *, seed: int, dropout: float | None = None) -> nn.Module:
    """A model of texts with one output, in standard deviations of the training rows, otherwise as `build_classifier`.

    Raises:
        ModelError: as there.
    """
    return build_scorer(base, labels.names, "regression", "regression", seed=seed, dropout=dropout)


def binary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the labels of each one's cross-entropy in nats, in fp32, `(rows,)`."""
    return nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none").mean(dim=-1)


def squared_error(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Squared difference from the true number, in fp32, `(rows,)`."""
    return (logits.float()[:, 0] - labels.float()) ** 2


def _loss_of(row_losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[nn.Module, Batch], torch.Tensor]:
    return lambda model, batch: row_losses(logits_of(model, batch), batch["labels"])


def _as_they_are(truth: NDArray[Any], labels: LabelSchema, texts: Sequence[str]) -> NDArray[Any]:
    return truth


def _standardised(truth: NDArray[Any], labels: LabelSchema, texts: Sequence[str]) -> NDArray[Any]:
    return np.asarray((truth - labels.center) / labels.scale, dtype=np.float32)


def _classes(name: str, build: Build) -> Task:
    loss = _loss_of(cross_entropy)
    return Task(name, "classes", build, loss, cross_entropy, probabilities, _as_they_are, class_metrics)


TEXT_CLASSIFICATION = _classes("text-classification", build_classifier)
TEXT_PAIR_CLASSIFICATION = _classes("text-pair-classification", build_pair_classifier)
RELATION_EXTRACTION = _classes("relation-extraction", build_relation_classifier)
MULTIPLE_CHOICE = Task(
    "multiple-choice", "classes", build_multiple_choice, choice_losses, cross_entropy, probabilities, _as_they_are, class_metrics
)
MULTI_LABEL_CLASSIFICATION = Task(
    "multi-label-classification",
    "labels",
    build_multi_label,
    _loss_of(binary_cross_entropy),
    binary_cross_entropy,
    lambda logits: logits.float().sigmoid(),
    lambda truth, labels, texts: truth.astype(np.float32),
    label_metrics,
)
REGRESSION = Task(
    "regression",
    "number",
    build_regression,
    _loss_of(squared_error),
    squared_error,
    lambda logits: logits.float(),
    _standardised,
    number_metrics,
)
