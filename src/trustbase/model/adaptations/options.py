"""What a recipe may say under `adapt:`. Imports no torch."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trustbase.recipe.lookup import ADAPTATIONS


class AdaptOptions(BaseModel):
    """How parameters are trained: a method's name alone, or a mapping with its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field(
        "full",
        description="full: every parameter; frozen: the head alone, or all above the first `layers`, on outputs computed once; "
        "lora, adalora: low-rank updates; qlora: the same beside weights of 4 bits; adapter: small bottlenecks; "
        "prefix, prompt: learned vectors in front of the text",
    )
    layers: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="frozen: freeze the embeddings and this many of the first layers, train all above; absent: the whole body is frozen",
    )
    rank: int = Field(
        8,
        ge=1,
        le=1024,
        description="lora, qlora, adalora: rank of the updates (adalora: the mean at the end); more learns more and costs more",
    )
    alpha: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="lora, qlora, adalora: scale of the updates; absent: twice the rank (adalora: of start_rank)",
    )
    targets: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="lora, qlora, adalora: layers that get updates, such as [query, value] or [all-linear]; absent: the architecture's "
        "usual ones (qlora, adalora: all linear ones)",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="lora, qlora, adalora: dropout on what enters an update")
    dora: bool = Field(False, description="lora: train size and direction of each weight apart (DoRA)")
    rslora: bool = Field(False, description="lora: scale by alpha / sqrt(rank), steadier at high ranks (rsLoRA)")
    init: Literal["default", "pissa"] = Field(
        "default", description="lora: where updates start; pissa: at the largest singular directions of each weight"
    )
    compute: Literal["fp32", "bf16"] | None = Field(
        None, description="qlora: what weights of 4 bits are multiplied in; absent: as all other layers, by train.precision"
    )
    double_quantisation: bool = Field(True, description="qlora: pack the scales of the blocks too, which saves 0.37 bits a weight")
    start_rank: int | None = Field(
        None, ge=2, le=2048, description="adalora: rank of every update at the start; absent: one and a half times the rank"
    )
    prune_from: float = Field(0.1, ge=0, lt=1, description="adalora: share of the updates after which ranks begin to be taken away")
    prune_until: float = Field(0.6, gt=0, le=0.95, description="adalora: share of the updates after which the ranks stay as they are")
    style: Literal["pfeiffer", "houlsby"] = Field(
        "pfeiffer", description="adapter: pfeiffer: after the feed-forward block of each layer; houlsby: after its attention too"
    )
    size: int = Field(32, ge=1, le=4096, description="adapter: width of the bottleneck")
    length: int = Field(16, ge=1, le=1024, description="prefix, prompt: how many vectors stand in front of the text")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value

    @field_validator("targets", mode="before")
    @classmethod
    def _one_target(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("method")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ADAPTATIONS:
            near = difflib.get_close_matches(value, ADAPTATIONS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"'{value}' is not an adaptation of this version, which knows {', '.join(ADAPTATIONS)}{hint}")
        return value

    @model_validator(mode="after")
    def _options_of_the_method(self) -> AdaptOptions:
        if self.method not in ADAPTATIONS:
            return self
        fields = type(self).model_fields
        own = {"method", *ADAPTATIONS[self.method].options}
        stray = [name for name in fields if name not in own and getattr(self, name) != fields[name].default]
        if stray:
            owners = list(dict.fromkeys(method for name in stray for method, entry in ADAPTATIONS.items() if name in entry.options))
            raise ValueError(
                f"{', '.join(stray)} belong to method {' or '.join(owners)}, but the method is {self.method}: remove them, "
                f"or write method: {owners[0]}"
            )
        if self.dora and self.init == "pissa":
            raise ValueError("dora and init: pissa cannot be combined: both redefine what the frozen weight is; choose one")
        if self.method == "adalora":
            self._refuse_ranks()
        return self

    def _refuse_ranks(self) -> None:
        problems = []
        if self.first_rank <= self.rank:
            problems.append(f"start_rank {self.first_rank} is not over rank {self.rank}, so that there would be no rank to take away")
        if self.prune_from >= self.prune_until:
            problems.append(f"prune_from {self.prune_from:g} is not before prune_until {self.prune_until:g}")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def first_rank(self) -> int:
        """adalora: the rank that every update starts with."""
        return max(self.rank + 1, round(1.5 * self.rank)) if self.start_rank is None else self.start_rank

    @property
    def scale(self) -> float:
        """Alpha as used: the given one, or twice the rank (that every update starts with)."""
        return float(2 * (self.first_rank if self.method == "adalora" else self.rank)) if self.alpha is None else self.alpha
