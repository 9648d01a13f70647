"""The recipe as a whole, for either stage: only composes the options that each part owns."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator

from trustbase.audit.options import AuditOptions
from trustbase.compress.options import ReleaseOptions
from trustbase.data.canaries import CanaryOptions
from trustbase.data.corpus.options import CorpusOptions
from trustbase.data.options import DataOptions
from trustbase.gate.options import GateOptions
from trustbase.model.options import DEFAULT_BASE, AdaptOptions, ModelOptions, ScratchOptions, TokenizerOptions
from trustbase.model.plain.options import PLAIN_OPTIONS, BoostingOptions, LinearOptions, PlainOptions, RulesOptions, TreeOptions
from trustbase.outputs.options import DecisionOptions
from trustbase.train.cluster import ClusterOptions
from trustbase.train.options import TrainOptions
from trustbase.train.pretrain_options import EstimateOptions, PretrainOptions, ProbeOptions, Whole

SCHEMA = "trustbase/recipe/1"

#: Sections that a later version will read; naming one is refused, never ignored.
LATER_SECTIONS = ("federated", "monitor", "private", "search", "serve")
LATER_TASKS: tuple[str, ...] = ()


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


def _kind_of_base(value: Any) -> str:
    if isinstance(value, str) or value is None:
        return "name"
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if kind in PLAIN_OPTIONS else "scratch"


#: Told apart by their form, so that what is wrong with one is not also told of the other.
Base = Annotated[
    Annotated[str, Tag("name")]
    | Annotated[ScratchOptions, Tag("scratch")]
    | Annotated[LinearOptions, Tag("linear")]
    | Annotated[TreeOptions, Tag("tree")]
    | Annotated[RulesOptions, Tag("rules")]
    | Annotated[BoostingOptions, Tag("boosting")],
    Discriminator(_kind_of_base),
]
Schema = Annotated[Literal["trustbase/recipe/1"], Field(alias="schema", description="the recipe format")]
Purpose = Annotated[PurposeOptions, Field(description="what the model is for")]
Audit = Annotated[AuditOptions, Field(description="what is measured")]
Gates = Annotated[GateOptions, Field(default_factory=GateOptions, description="limits on findings, set before measuring")]
Report = Annotated[ReportOptions, Field(description="how the report is written")]


class Recipe(BaseModel):
    """What to build, on which data, with which guarantees and limits."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Schema = "trustbase/recipe/1"
    stage: Literal["finetune"] = Field("finetune", description="which journey to run")
    task: str = Field("text-classification", description="what is predicted")
    base: Base = Field(
        DEFAULT_BASE,
        description="hub id, path, package:NAME, an earlier run or bundle; {from: scratch, …} for random weights; or a model that a person "
        "can read: linear, tree, rules, boosting, or {kind: tree, …}",
    )
    data: DataOptions = Field(description="where the rows are, and which columns mean what")
    adapt: AdaptOptions = Field(default=AdaptOptions(), description="how parameters are trained")
    train: TrainOptions = Field(default=TrainOptions(), description="the loop")
    cluster: ClusterOptions | None = Field(None, description="several processes that train and audit one model; one where not given")
    decision: DecisionOptions = Field(default=DecisionOptions(), description="from scores to answers; chosen on validation")
    mitigate: dict[str, dict[str, Any]] = Field(default_factory=dict, description="what is done to improve a finding")
    release: ReleaseOptions = Field(default=ReleaseOptions(), description="runtime and precision of what is shipped")
    purpose: Purpose = PurposeOptions()
    audit: Audit = AuditOptions()
    gates: Gates
    report: Report = ReportOptions()

    @field_validator("base", mode="before")
    @classmethod
    def _by_form(cls, value: Any) -> Any:
        if isinstance(value, str) and value.strip() in PLAIN_OPTIONS:  # a folder of such a name is ./NAME
            return {"kind": value.strip()}
        if isinstance(value, dict) and "kind" in value and value["kind"] not in PLAIN_OPTIONS:
            raise ValueError(f"kind is no model that a person can read: expected {', '.join(PLAIN_OPTIONS)}, got {value['kind']!r}")
        if isinstance(value, dict) and not {"from", "kind"} & set(value):
            forms = "a hub id such as owner/name; or {from: scratch, …}, or {kind: tree, …}"
            raise ValueError(f"names no base model: write package:NAME, a folder, or {forms}")
        return value

    @field_validator("base")
    @classmethod
    def _not_empty(cls, value: str | ScratchOptions | PlainOptions) -> str | ScratchOptions | PlainOptions:
        if isinstance(value, str) and not value.strip():
            raise ValueError("names no base model: expected a hub id, a path, package:NAME, an earlier run or bundle")
        return value.strip() if isinstance(value, str) else value


class PretrainRecipe(BaseModel):
    """A base model to make from raw text: which text, which shape, what it learns from, and the limits it must meet."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Schema = "trustbase/recipe/1"
    stage: Literal["pretrain"] = Field("pretrain", description="which journey to run")
    corpus: CorpusOptions = Field(description="where the texts are, and how they are made ready")
    tokenizer: TokenizerOptions | None = Field(None, description="where the tokenizer comes from; absent: that of model.base")
    model: ModelOptions = Field(default=ModelOptions(), description="the shape of a new model, or {base: ID} to go on with one")
    objective: str | list[str] | dict[str, float] = Field(
        "masked", description="what is learned: a name, several joined by +, a list, or weights by name"
    )
    whole_words: Whole = Field("chinese", description="masked: which words are hidden whole; the segmenter is jieba")
    train: PretrainOptions = Field(default=PretrainOptions(), description="the loop")
    cluster: ClusterOptions | None = Field(None, description="train and audit on several workers of this machine, or of a Ray cluster")
    estimate: EstimateOptions = Field(default=EstimateOptions(), description="what is measured before the first step")
    probes: list[ProbeOptions] = Field(
        default_factory=list, description="labelled sets that a linear classifier is fitted on, during and after"
    )
    canaries: CanaryOptions | None = Field(None, description="made-up secrets planted in the training text, to measure what is memorised")
    purpose: Purpose = PurposeOptions()
    audit: Audit = AuditOptions()
    gates: Gates
    report: Report = ReportOptions()

    @field_validator("objective")
    @classmethod
    def _some(cls, value: str | list[str] | dict[str, float]) -> str | list[str] | dict[str, float]:
        if not value:
            raise ValueError("names no objective: write masked, causal, span_corruption …")
        return value


AnyRecipe = Recipe | PretrainRecipe
STAGES: dict[str, type[Recipe] | type[PretrainRecipe]] = {"finetune": Recipe, "pretrain": PretrainRecipe}
