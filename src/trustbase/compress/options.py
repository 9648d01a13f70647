"""What a recipe may say about the artefact that is shipped."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class ReleaseOptions(BaseModel):
    """Runtime, precision and form of the weights that are audited and served."""

    model_config = ConfigDict(extra="forbid")

    runtime: Literal["auto", "torch", "onnx"] = Field(
        "auto", description="auto measures them on validation texts and takes the fastest that agrees with fp32"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="number format of the heavy arithmetic; bf16 must agree with fp32 on real rows"
    )
    weights: Literal["merged", "adapter"] = Field(
        "merged",
        description="ship one whole model (what was added is merged where it can be, and else stands beside the base's weights), or the "
        "adapter and the base by its digest",
    )
    max_difference: float = Field(0.02, gt=0, le=1, description="largest |Δ probability| from fp32 that any validation row may show")
    max_difference_p999: float = Field(0.005, gt=0, le=1, description="99.9 % quantile of |Δ probability| from fp32")
    max_label_flips: float = Field(
        0.002, ge=0, le=1, description="share of validation rows whose label, under the decision, may differ from fp32"
    )
    sample: int = Field(
        1000, ge=2, le=100_000, description="validation rows used to compare candidates (the first ones; all are used where fewer)"
    )

    @field_validator("precision", mode="before")
    @classmethod
    def _no_fp16(cls, value: Any) -> Any:
        if isinstance(value, str) and value.lower() in {"fp16", "float16", "half"}:
            raise ValueError(
                "fp16 cannot be shipped: torch computes fp32 in its place on a CPU, so it would mean nothing; use auto, bf16 or fp32"
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _later(cls, value: Any) -> Any:
        if isinstance(value, dict) and "quantize" in value:
            raise ValueError("release.quantize: this version cannot quantize; leave it out (precision: bf16 halves the arithmetic)")
        return value

    @model_validator(mode="after")
    def _possible(self) -> ReleaseOptions:
        problems = []
        if self.runtime == "onnx" and self.precision == "bf16":
            problems.append("runtime onnx is fp32 only in this version (set precision: auto or fp32, or runtime: torch)")
        if self.runtime == "onnx" and self.weights == "adapter":
            problems.append(
                "runtime onnx needs one graph, and an adapter that is not merged cannot be exported "
                "(set weights: merged, or runtime: torch)"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self
