"""What a recipe can say about the audit; every field has a default, so `audit` may be left out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Dimension = Literal["quality", "fairness", "privacy", "explanation", "robustness", "safety", "efficiency", "compliance"]


class CostOptions(BaseModel):
    """What `efficiency.cost_per_1000` and the energy finding assume; assumptions, not measurements, and printed as such."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    price_per_hour: Annotated[float, Field(ge=0, description="price of one hour of the machine that answers")] = 0.40
    currency: Annotated[str, Field(min_length=1, description="currency of that price, as it is to be printed")] = "USD"
    watts: Annotated[float, Field(ge=0, description="power that the machine draws while it answers, in watts")] = 65.0
    carbon_grams_per_kwh: Annotated[float, Field(ge=0, description="grams of CO2-equivalent per kilowatt-hour of the grid")] = 480.0


class AuditOptions(BaseModel):
    """Options of the audit. A plain list is short for `dimensions`: `audit: [quality, fairness]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dimensions: Annotated[list[Dimension] | None, Field(description="dimensions to audit; every one that exists, where not given")] = None
    confidence: Annotated[float, Field(ge=0.5, lt=1, description="confidence of each interval, for that finding alone")] = 0.95
    minimum_cell: Annotated[
        int, Field(ge=2, description="smallest number of rows from which a rate is reported; a cell of fewer is insufficient")
    ] = 30
    replicates: Annotated[
        int, Field(ge=200, le=100_000, description="bootstrap replicates or simulated samples, where no closed form serves")
    ] = 1000
    bins: Annotated[int, Field(ge=2, le=100, description="equal-width bins of the reliability curve and the calibration error")] = 15
    cost: Annotated[CostOptions, Field(description="assumptions behind cost and energy per 1,000 answers")] = CostOptions()

    @model_validator(mode="before")
    @classmethod
    def _list_is_short_for_dimensions(cls, value: Any) -> Any:
        return {"dimensions": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _dimensions_once_each(self) -> AuditOptions:
        named = self.dimensions
        if named is not None and (not named or len(set(named)) != len(named)):
            raise ValueError(f"dimensions must name at least one dimension, each once; got {named}")
        return self
