"""What a recipe may say under `gates:`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, RootModel, field_validator

#: The key that names a risk owner's policy file beside limits that tighten it.
FROM = "from"


class GateOptions(RootModel[dict[str, Any]]):
    """Limits on findings, set before anything is measured.

    Three forms: a mapping `{finding id: ">= 0.75"}` (or `{finding id: {limit: ">= 0.75", judge: value}}`, or a list of
    limits); the path of a policy file; or both, `{from: policy.yaml, finding id: …}`, where the recipe may tighten the
    file's limits and add more, but never loosen one. The limits themselves are read by `gate.policy.read_policy`.
    """

    root: dict[str, Any] = Field(default_factory=dict, description="limits on findings, a policy file, or both")

    @field_validator("root", mode="before")
    @classmethod
    def _forms(cls, value: Any) -> Any:
        if value is None:
            return {}
        if isinstance(value, str):
            if not value.strip():
                raise ValueError("names no policy file: expected a path, or a mapping of finding ids to limits")
            return {FROM: value}
        if not isinstance(value, dict):
            raise ValueError(f"must be a mapping of finding ids to limits, or the path of a policy file, got {type(value).__name__}")
        return value
