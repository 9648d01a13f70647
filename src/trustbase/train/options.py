"""What a recipe may say under `train`. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trustbase import finding_id

STOPPING_METRICS = {
    "quality.accuracy": "higher",
    "quality.macro_f1": "higher",
    "quality.weighted_f1": "higher",
    "quality.micro_f1": "higher",
    "quality.exact_match": "higher",
    "quality.token_f1": "higher",
    "quality.entity_f1": "higher",
    "quality.entity_precision": "higher",
    "quality.entity_recall": "higher",
    "quality.log_loss": "lower",
    "quality.brier": "lower",
    "quality.rmse": "lower",
    "quality.mae": "lower",
    "quality.r2": "higher",
}
#: What can be watched, by answer kind; the first is watched where the recipe names none.
STOPPING_OF = {
    "classes": ("quality.log_loss", "quality.accuracy", "quality.macro_f1", "quality.weighted_f1", "quality.brier"),
    "labels": ("quality.log_loss", "quality.micro_f1", "quality.macro_f1", "quality.exact_match"),
    "tokens": ("quality.entity_f1", "quality.entity_precision", "quality.entity_recall", "quality.log_loss"),
    "span": ("quality.token_f1", "quality.exact_match"),
    "number": ("quality.rmse", "quality.mae", "quality.r2"),
}


class AveragingOptions(BaseModel):
    """Which average of the weights is evaluated and kept, in place of the last ones: a method's name alone, or a mapping."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: Literal["ema", "last"] = Field(
        description="ema: over all updates, the later the heavier; last: over the last evaluations, alike"
    )
    decay: float = Field(0.999, gt=0, lt=1, description="ema: share of the average that stays with each update")
    count: int = Field(3, ge=2, le=100, description="last: how many evaluations (one an epoch, or as `evaluate_every` says)")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _own_options(self) -> AveragingOptions:
        other, owner = ("count", "last") if self.method == "ema" else ("decay", "ema")
        if getattr(self, other) != type(self).model_fields[other].default:
            raise ValueError(f"{other} belongs to method {owner}, and the method is {self.method}: remove it")
        return self


class TrainOptions(BaseModel):
    """How parameters are trained."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: int = Field(3, ge=1, le=10_000, description="passes over the training rows")
    max_steps: int | None = Field(None, ge=1, description="stop after this many updates, whatever `epochs` says")
    tokens: int | None = Field(None, ge=1, description="train on this many tokens, padding included, in as many epochs as it takes")
    batch_tokens: int = Field(1024, ge=8, description="most tokens of a batch, padding included")
    accumulation: int = Field(1, ge=1, description="batches per update; every row of an update weighs the same")
    learning_rate: float = Field(1e-4, gt=0, lt=1, description="highest learning rate")
    head_learning_rate: float | None = Field(None, gt=0, lt=1, description="learning rate of the new head; like the body's where not given")
    feature_learning_rate: float = Field(
        1e-3, gt=0, lt=1, description="highest learning rate of the network that reads table columns (data.features)"
    )
    feature_epochs: int = Field(
        6, ge=0, le=1000, description="passes over the table columns alone, in seconds, before text and columns are trained together"
    )
    optimizer: Literal["adamw", "adafactor", "muon"] = Field(
        "adamw",
        description="adafactor: less memory, its learning rate is relative to each weight's size (1e-2 is usual); muon: orthogonal updates "
        "of hidden matrices at AdamW's learning rate, AdamW for the rest",
    )
    schedule: Literal["linear", "cosine", "wsd", "constant"] = Field(
        "linear", description="how the learning rate falls after warm-up; wsd: not before the last `cooldown`"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of all updates in which the learning rate rises")
    cooldown: float = Field(0.2, gt=0, le=1, description="wsd: share of all updates in which the learning rate falls, at the end")
    weight_decay: float = Field(0.01, ge=0, lt=1, description="weight decay, apart from the gradient; never applied to biases and norms")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW: decay of the mean of gradients")
    beta2: float = Field(0.999, ge=0, lt=1, description="AdamW: decay of the mean of squared gradients")
    epsilon: float = Field(1e-8, gt=0, description="AdamW: added to the denominator")
    momentum: float = Field(0.95, ge=0, lt=1, description="Muon: decay of the sum of gradients")
    dropout: float | None = Field(
        None, ge=0, lt=1, description="dropout of hidden states and attention; the base model's own where not given"
    )
    clip: float | None = Field(1.0, gt=0, description="longest gradient norm of an update; null for no clipping")
    gradient_guard: float | None = Field(
        None, gt=1, description="leave out an update whose gradient norm is more than so many times the median of the last 32"
    )
    spike: float | None = Field(
        None,
        gt=0,
        description="a loss this many standard deviations above the last 32: go back to the last checkpoint, leave those batches out",
    )
    z_loss: float = Field(0.0, ge=0, lt=1, description="causal: weight of the squared log of the softmax's sum, which keeps scores small")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each label that is spread evenly over all labels")
    class_weights: Literal["none", "balanced"] | dict[str, float] = Field(
        "none",
        description="weight of each label's losses: balanced (rare ones weigh more; scores are then no longer shares), or {label: weight}, "
        "1 where none is given",
    )
    r_drop: float = Field(
        0.0, ge=0, le=100, description="R-Drop: weight of the difference between answers under two dropout masks; doubles the work"
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="each layer's learning rate as a share of that of the layer above it; embeddings are the lowest"
    )
    averaging: AveragingOptions | None = Field(
        None, description="an average of the weights is evaluated and kept; the last ones if not given"
    )
    max_length: int = Field(128, ge=4, description="most tokens of a text; the rest is cut off (the data card counts how often)")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto takes bf16 where the hardware has it")
    early_stopping: int | None = Field(None, ge=1, description="stop after this many evaluations without improvement")
    early_stopping_metric: str | None = Field(
        None,
        description="finding of the validation split that chooses the best checkpoint; default: quality.log_loss, of numbers quality.rmse, "
        "of entities quality.entity_f1, of answers to questions quality.token_f1",
    )
    evaluate_every: int | None = Field(None, ge=1, description="also evaluate every so many updates, not only after each epoch")
    save_every: float = Field(60.0, gt=0, description="save at least every so many seconds")
    gradient_checkpointing: bool = Field(False, description="compute activations twice to save memory")
    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads; torch's own choice where not given")
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        (), description="experiment trackers to report to, where installed"
    )
    seed: int = Field(0, ge=0, description="seed of every random stream of training")
    members: int = Field(
        1,
        ge=1,
        le=20,
        description="trainings, alike but for their seeds, whose mean answers (an ensemble), at a cost that grows alike",
    )

    @field_validator("report_to", mode="before")
    @classmethod
    def _as_tuple(cls, value: object) -> object:
        if value in (None, "none"):
            return ()
        return (value,) if isinstance(value, str) else value

    @field_validator("early_stopping_metric")
    @classmethod
    def _known_metric(cls, value: str | None) -> str | None:
        if value is None:
            return None
        name = str(finding_id.parse(value if "." in value else f"quality.{value}"))
        if name not in STOPPING_METRICS:
            raise ValueError(f"early stopping can watch {', '.join(STOPPING_METRICS)}; got '{value}'")
        return name

    @field_validator("class_weights", mode="before")
    @classmethod
    def _labels_as_text(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {str(name).lower() if isinstance(name, bool) else str(name): weight for name, weight in value.items()}

    @field_validator("class_weights")
    @classmethod
    def _weights(cls, value: str | dict[str, float]) -> str | dict[str, float]:
        if isinstance(value, dict) and (not value or any(not 0 < weight < 1e6 for weight in value.values())):
            raise ValueError(f"expected none, balanced, or a weight above 0 for some labels, got {value}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> TrainOptions:
        if self.max_length > self.batch_tokens:
            raise ValueError(
                f"max_length ({self.max_length}) must be at most batch_tokens ({self.batch_tokens}), or a long text breaks the budget"
            )
        if self.r_drop and self.dropout == 0:
            raise ValueError("r_drop compares answers under two dropout masks, and dropout is 0: remove one of them")
        if self.schedule == "wsd" and self.warmup + self.cooldown > 1:
            raise ValueError(f"warmup ({self.warmup}) and cooldown ({self.cooldown}) are more than the whole training: lower one of them")
        return self
