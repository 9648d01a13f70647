"""What a recipe may say about the rows of each part: which they are, how many of them, and how many may be bad."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from trustbase.data.shares import Share, written_out


class SplitKeyOptions(BaseModel):
    """The column whose values say which rows belong together, or which come first: one of the two."""

    model_config = ConfigDict(extra="forbid")

    entity: str | None = Field(
        default=None, description="column of whom a row is about (a customer): all rows of one are in the same part, in every run"
    )
    time: str | None = Field(
        default=None,
        description="column of ISO dates, timestamps or numbers: training rows first, then validation, then test",
    )

    @model_serializer
    def _written(self) -> dict[str, str]:
        return {name: value for name, value in (("entity", self.entity), ("time", self.time)) if value is not None}


class SplitOptions(BaseModel):
    """Which rows are for training, for choosing, and for testing."""

    model_config = ConfigDict(extra="forbid")

    test: float = Field(default=0.2, gt=0, lt=1, description="share of the rows for testing, where no test rows are given")
    validation: float = Field(
        default=0.1, gt=0, lt=1, description="share of the training rows for choosing, where no validation rows are given"
    )
    calibration: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="share of the training rows that is kept apart for the audit's thresholds, by a hash of text or entity, whichever way "
        "the parts are divided; cut where robustness or safety is audited, unless it would have fewer than 30 rows",
    )
    by: Literal["content-hash"] | SplitKeyOptions = Field(
        default="content-hash",
        description="content-hash: a row's part follows from its text alone, so equal texts never straddle; or {entity: COLUMN}, or "
        "{time: COLUMN}",
    )
    column: str | None = Field(default=None, description="column that says train, validation, calibration or test for each row")

    @field_validator("by", mode="before")
    @classmethod
    def _one_way(cls, value: Any) -> Any:
        ways = "content-hash, {entity: COLUMN} or {time: COLUMN}"
        if isinstance(value, SplitKeyOptions) or value == "content-hash":
            return value
        if not isinstance(value, dict):
            raise ValueError(f"must be {ways}")
        given = {name: column for name, column in value.items() if column is not None}
        if len(given) != 1 or not set(given) <= {"entity", "time"}:
            raise ValueError(f"must be one of {ways}; its keys are {', '.join(map(str, given)) or 'none'}")
        ((name, column),) = given.items()
        if not isinstance(column, str) or not column.strip():
            raise ValueError(f"{name} must be the name of a column")
        return SplitKeyOptions(**given)

    @property
    def by_entity(self) -> bool:
        """Whether the rows of an entity stay together."""
        return isinstance(self.by, SplitKeyOptions) and self.by.entity is not None

    @property
    def key(self) -> str | None:
        """The column of entities or times, where rows are divided by one."""
        return None if isinstance(self.by, str) else self.by.entity or self.by.time

    @model_validator(mode="after")
    def _room_for_training(self) -> SplitOptions:
        if self.test + self.validation >= 1:
            raise ValueError(f"test ({self.test}) and validation ({self.validation}) leave no rows for training; their sum must be below 1")
        return self


class ToleranceOptions(BaseModel):
    """How many bad rows may be left out instead of stopping the run."""

    model_config = ConfigDict(extra="forbid")

    rows: int | None = Field(default=None, ge=0, description="at most this many bad rows, all files together")
    share: Share | None = Field(default=None, ge=0, lt=1, description="at most this share of all rows: `0.01`, or `1%`")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return value if isinstance(value, ToleranceOptions) else written_out(value, "rows", "rows")

    def most(self, rows: int) -> int:
        """How many of `rows` rows may be left out."""
        of_share = rows if self.share is None else math.floor(self.share * rows + 1e-9)  # 0.29 * 100 is 28.999…
        return min(of_share, self.rows) if self.rows is not None else of_share if self.share is not None else 0


class RowSampleOptions(BaseModel):
    """A seeded part of the rows of a split, in place of all of them."""

    model_config = ConfigDict(extra="forbid")

    train: int | None = Field(default=None, ge=1, description="training rows to use")
    validation: int | None = Field(default=None, ge=1, description="validation rows to use")
    test: int | None = Field(default=None, ge=1, description="test rows to use")
