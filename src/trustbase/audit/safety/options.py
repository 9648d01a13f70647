"""What a recipe can say about the safety audit."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class SafetyOptions(BaseModel):
    """How much is asked, and what must not be answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    queries: Annotated[int, Field(ge=30, le=1_000_000, description="answers that a student may learn from who copies the model")] = 1000
