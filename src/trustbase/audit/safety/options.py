"""What a recipe can say about the safety audit."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class SafetyOptions(BaseModel):
    """How much is asked, and what must not be answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    queries: Annotated[int, Field(ge=30, le=1_000_000, description="answers that a student may learn from who copies the model")] = 1000
    texts: Annotated[int, Field(ge=60, le=100_000, description="test rows into which words are inserted that may be triggers")] = 200
    searched: Annotated[int, Field(ge=100, le=1_000_000, description="most inputs that a search for a trigger begins with")] = 3000
    rows: Annotated[int, Field(ge=100, le=1_000_000, description="most training rows that are searched for wrong labels and poison")] = 2000
    encoder: Annotated[bool, Field(description="whether a student may read a public encoder's embeddings, where one is installed")] = True
    policy: Annotated[
        str | None,
        Field(
            min_length=1,
            description="YAML file of labels, words and patterns that must never be answered; `starter` is a short list that ships",
        ),
    ] = None
