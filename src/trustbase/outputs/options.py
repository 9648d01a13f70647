"""What a recipe may say under `decision:`: how scores become an answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DecisionCost(BaseModel):
    """What each kind of error costs, in any unit; a right answer costs nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    false_negative: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="cost of answering the other label for a row of the positive label"
    )
    false_positive: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="cost of answering the positive label for a row of the other label"
    )

    @model_validator(mode="after")
    def _not_both_zero(self) -> DecisionCost:
        if self.false_negative == 0 and self.false_positive == 0:
            raise ValueError(
                "false_negative and false_positive are both 0, so every threshold costs the same: give at least one of them a cost above 0"
            )
        return self


class DecisionOptions(BaseModel):
    """How scores become an answer (binary tasks; with more labels the highest score answers)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: Literal["auto"] | float | None = Field(
        None,
        description="probability of the positive label from which it is the answer: a number in [0, 1]; auto: chosen on validation rows, "
        "to minimise the expected cost where a cost is given and to maximise macro F1 where none is; absent: the highest score answers",
    )
    cost: DecisionCost | None = Field(None, description="what each kind of error costs; also the unit of quality.expected_cost")
    coverage: float = Field(
        0.9, gt=0, lt=1, description="task regression: share of rows whose truth the interval around an answer is to hold"
    )

    max_answer_tokens: int = Field(30, ge=1, le=512, description="task question-answering: tokens of the longest answer that is looked for")

    @model_validator(mode="after")
    def _threshold_is_a_probability(self) -> DecisionOptions:
        if isinstance(self.threshold, float) and not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold must be 'auto' or a probability in [0, 1], got {self.threshold}")
        return self

    def costs(self) -> dict[str, float]:
        """The costs as a plain mapping; empty where the recipe gives none (then every error costs 1)."""
        return {} if self.cost is None else self.cost.model_dump()
