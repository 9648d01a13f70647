"""Shares as a recipe may write them: 0.01, or 1%."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_PERCENT = re.compile(r"\s*(\d{1,3}(?:\.\d{1,10})?)\s*%\s*")


def share_of(value: Any) -> Any:
    """The share that a text such as `1%` names; anything else as it is."""
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) / 100 if match else value


Share = Annotated[float, BeforeValidator(share_of)]


def written_out(value: Any, counted: str, what: str) -> Any:
    """A tolerance in its short form as the mapping that it is short for; a mapping as it is.

    Args:
        value: N, a share, or a mapping.
        counted: the key of a number, such as "rows".
        what: what is tolerated, for the message.

    Raises:
        ValueError: it is none of these.
    """
    short = share_of(value)
    if isinstance(short, bool) or not isinstance(short, int | float | dict):
        raise ValueError(f"must be a number of {what} (20), a share below 1 (0.01 or 1%), or {{{counted}: N, share: S}}, got {value}")
    if isinstance(short, int):
        return {counted: short}
    return {"share": short} if isinstance(short, float) else short
