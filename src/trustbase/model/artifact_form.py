"""`artifact.json` as it must be: every field that something depends on, of its own type. Also read from folders that nobody signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

_SHOWN = 3  # problems that are told of a file that has more
_MOST_TOKENS = 10**9
_MOST_MEMBERS = 1000

Word = Annotated[str, Field(min_length=1, max_length=40)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Labels(_Strict):
    names: list[str]
    positive: str
    favourable: str
    positive_assumed: bool = True
    favourable_assumed: bool = True
    center: Finite = 0.0
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    neutral: str | None = None


class _Decision(_Strict):
    threshold: Finite | None
    method: str
    cost: dict[str, Finite]
    interval: dict[str, Finite] = {}


class _Artifact(_Strict):
    task: str
    answer_kind: Word
    labels: _Labels
    runtime: Word
    precision: Word
    max_length: Annotated[int, Field(ge=0, le=_MOST_TOKENS)]
    stride: Annotated[int, Field(ge=0, le=_MOST_TOKENS)] | None = None
    answer_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    text: str | None
    columns: list[str] = []
    numbers: list[str] = []
    features: dict[str, list[str]] = {}
    members: Annotated[int, Field(ge=1, le=_MOST_MEMBERS)] = 1
    base: str
    revision: str
    decision: _Decision
    facts: dict[str, Any]

    @model_validator(mode="after")
    def _labels_fit(self) -> _Artifact:
        names = self.labels.names
        if len(set(names)) != len(names):
            raise ValueError("labels.names: a label stands in it twice")
        if self.answer_kind == "classes" and (len(names) < 2 or not {self.labels.positive, self.labels.favourable} <= set(names)):
            raise ValueError("labels: classes need two names or more, the positive and the favourable label among them")
        return self


def check_form(said: Mapping[str, Any]) -> None:
    """Refuse what no artefact says of itself.

    Raises:
        ValueError: it is none; says where, and what was found.
    """
    try:
        _Artifact.model_validate(said)
    except ValidationError as error:
        raise ValueError(in_short(error)) from None


def in_short(error: ValidationError) -> str:
    """The first problems of a form, each with its place, what must be there and what was found; long texts cut off."""
    found = error.errors(include_url=False, include_context=False)
    told = [
        f"{'.'.join(map(str, each['loc']))[:100] or 'the file'}: {each['msg'][:200]}, got {str(each['input'])[:60]}"
        for each in found[:_SHOWN]
    ]
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(told) + more
