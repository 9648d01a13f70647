"""What a recipe can say about the explanation audit."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ExplanationOptions(BaseModel):
    """How much is asked to see whether explanations are true."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: Annotated[int, Field(ge=1, le=100_000, description="test rows that are explained")] = 100
    samples: Annotated[int, Field(ge=20, le=100_000, description="most inputs that LIME asks about, of each row")] = 500
    evaluations: Annotated[int, Field(ge=20, le=100_000, description="most inputs that Shapley values ask about, of each row")] = 300
    queries: Annotated[int, Field(ge=10, le=100_000, description="most edits of each row, when the smallest that turns it is sought")] = 100
    stability: Annotated[int, Field(ge=1, le=100_000, description="rows that are explained again: in other words, by another seed")] = 20
    fluent: Annotated[
        str | None,
        Field(
            min_length=1,
            description="masked language model that proposes the words of the smallest edit that turns an answer, and says which edits "
            "read well: hub id, path, package:NAME, an earlier run; where not given, words come from other rows, and nobody judges",
        ),
    ] = None
