"""What a recipe may say about pretraining beside the corpus and the shape. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trustbase.train.options import TrainOptions

_OF_LABELS = ("feature_learning_rate", "feature_epochs", "label_smoothing", "class_weights", "r_drop", "layer_decay", "members")
Whole = Literal["chinese", "all", "none"]


class PretrainOptions(TrainOptions):
    """How parameters are trained on raw text. Only what differs from fine-tuning stands here."""

    epochs: int = Field(1, ge=1, le=10_000, description="passes over the corpus; `tokens` says it as a number of tokens")
    batch_tokens: int = Field(8192, ge=8, description="tokens of a batch")
    max_length: int = Field(8, ge=4, description="not used here: model.context says how much is read")
    learning_rate: float = Field(5e-4, gt=0, lt=1, description="highest learning rate")
    warmup: float = Field(0.06, ge=0, lt=1, description="share of all updates in which the learning rate rises")
    gradient_guard: float | None = Field(
        20.0, gt=1, description="leave out an update whose gradient norm is more than so many times the median of the last 32; null: never"
    )
    spike: float | None = Field(
        10.0,
        gt=0,
        description="a loss this many standard deviations above the last 32: go back to the last checkpoint, leave those batches out; "
        "null: never",
    )

    @model_validator(mode="after")
    def _of_pretraining(self) -> PretrainOptions:
        if self.dropout is not None:
            raise ValueError("dropout is the model's own in pretraining: write model: {dropout: …}")
        if self.early_stopping is not None:
            raise ValueError("early_stopping chooses among checkpoints, and pretraining takes the last: remove it")
        if self.averaging is not None:
            raise ValueError("averaging was never tried in pretraining: remove it")
        if self.max_length != type(self).model_fields["max_length"].default or self.head_learning_rate is not None:
            raise ValueError("max_length and head_learning_rate belong to fine-tuning: model.context says how much is read")
        stray = [name for name in _OF_LABELS if getattr(self, name) != type(self).model_fields[name].default]
        if stray:
            raise ValueError(f"{', '.join(stray)} belong to labels, and pretraining has none: remove them")
        return self


class EstimateOptions(BaseModel):
    """What is measured before the first step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = Field(
        10.0, gt=0, le=600, description="of the trial from which time, energy and CO2 are estimated; 3 at most for the machine's peak"
    )
    range_test: bool = Field(False, description="also try growing learning rates on a copy, and say which one looks best")


class ProbeOptions(BaseModel):
    """A small labelled set that a linear classifier is fitted on, over the model's embeddings: does it know what the task needs?"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$", description="how the finding calls it: quality.probe_accuracy[name]")
    data: str = Field(min_length=1, description="the labelled set: a file or sample:NAME")
    text: str = Field("text", description="column of the text")
    label: str = Field("label", description="column of the label")
    rows: int = Field(2000, ge=100, le=50_000, description="most rows that the classifier is fitted on; as many are tested")
    live: bool = Field(False, description="also at every evaluation during training, not only in the end")
