"""What a recipe can say about the audit; every field has a default, so `audit` may be left out."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trustbase.audit.explain.options import ExplanationOptions
from trustbase.audit.robustness.options import RobustnessOptions
from trustbase.audit.safety.options import SafetyOptions
from trustbase.errors import Problem, UsageError

Dimension = Literal["quality", "fairness", "privacy", "explanation", "robustness", "safety", "efficiency", "compliance"]
_BUDGETS = ("explanation", "robustness", "safety")


class CostOptions(BaseModel):
    """What `efficiency.cost_per_1000` and the energy finding assume; assumptions, not measurements, and printed as such."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    price_per_hour: Annotated[float, Field(ge=0, description="price of one hour of the machine that answers")] = 0.40
    currency: Annotated[str, Field(min_length=1, description="currency of that price, as it is to be printed")] = "USD"
    watts: Annotated[float, Field(ge=0, description="power that the machine draws while it answers, in watts")] = 65.0
    carbon_grams_per_kwh: Annotated[float, Field(ge=0, description="grams of CO2-equivalent per kilowatt-hour of the grid")] = 480.0


class AuditOptions(BaseModel):
    """Options of the audit. A list is short for `dimensions`, and may carry their options: `[quality, {explanation: {texts: 50}}]`."""

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
    explanation: Annotated[ExplanationOptions, Field(description="budget of the explanation audit")] = ExplanationOptions()
    robustness: Annotated[RobustnessOptions, Field(description="budget of the robustness audit")] = RobustnessOptions()
    safety: Annotated[SafetyOptions, Field(description="budget of the safety audit")] = SafetyOptions()

    @model_validator(mode="before")
    @classmethod
    def _list_is_short_for_dimensions(cls, value: Any) -> Any:
        return from_list(value) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _dimensions_once_each(self) -> AuditOptions:
        named = self.dimensions
        if named is not None and (not named or len(set(named)) != len(named)):
            raise ValueError(f"dimensions must name at least one dimension, each once; got {named}")
        return self


def from_list(value: Sequence[Any]) -> dict[str, Any]:
    """The section that a list is short for; an item that is a mapping of one key names a dimension and its options."""
    found: dict[str, Any] = {"dimensions": [_name(item) for item in value]}
    for item in value:
        if _name(item) is not item:
            found |= item
    return found


def _name(item: Any) -> Any:
    """The dimension that an item of the list names; whatever else it is, as it is."""
    return next(iter(item)) if isinstance(item, Mapping) and len(item) == 1 else item


def options_of(dimensions: Sequence[str], budget: Mapping[str, Mapping[str, Any]]) -> AuditOptions:
    """The options of an audit that no recipe names.

    Args:
        dimensions: to measure; every one that exists where there are none.
        budget: options by dimension, such as `{"explanation": {"texts": 20}}`.

    Raises:
        UsageError: a dimension without a budget, or a value that cannot be; every one of them.
    """
    problems = [Problem(f"--budget {name}", "has no budget", f"one of {', '.join(_BUDGETS)}") for name in budget if name not in _BUDGETS]
    idle = [name for name in budget if name in _BUDGETS and dimensions and name not in dimensions]
    problems += [Problem(f"--budget {name}", "is not measured by this audit", "name it in --only, or leave it out") for name in idle]
    known = {name: dict(options) for name, options in budget.items() if name in _BUDGETS}
    try:
        found = AuditOptions.model_validate({"dimensions": list(dimensions) or None, **known})
    except ValidationError as error:
        problems += [_told(item["loc"], item["type"], item["msg"], item["input"]) for item in error.errors()]
        found = AuditOptions()
    if problems:
        raise UsageError("this audit cannot start", problems=problems, hint="such as --budget explanation.texts=20")
    return found


def _told(place: Sequence[int | str], kind: str, said: str, got: Any) -> Problem:
    """What is wrong with one option of a budget; where there is no such option, which there are."""
    name = ".".join(map(str, place))
    if kind != "extra_forbidden":
        return Problem(f"--budget {name}", f"{said}, got {got!r}")
    known = AuditOptions.model_fields[str(place[0])].annotation
    names = list(known.model_fields) if isinstance(known, type) and issubclass(known, BaseModel) else []
    near = difflib.get_close_matches(str(place[-1]), names, n=1)
    return Problem(f"--budget {name}", "is no option", f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}")
