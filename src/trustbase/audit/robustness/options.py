"""What a recipe can say about the robustness audit."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RobustnessOptions(BaseModel):
    """How much is asked to see what changes of an input do to its answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: Annotated[int, Field(ge=1, le=100_000, description="test rows that are changed, and attacked")] = 200
    queries: Annotated[int, Field(ge=1, le=100_000, description="most inputs that an attack on one row may ask about")] = 100
