r"""The grammar of finding ids: `dimension.metric`, then optionally `[slice]`, `@dataset`, `#variant`, in this order.

A slice is `sex` (the gap over that column's groups), `sex,race` (the intersection, columns in recipe order),
`sex=Female` or `sex=Female,race=Black` (one group). Inside a slice, `\` escapes `,`, `=`, `]` and itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DIMENSIONS = ("quality", "fairness", "privacy", "explanation", "robustness", "safety", "efficiency", "compliance")

_ID = re.compile(
    r"(?P<dimension>[a-z]+)\.(?P<metric>[a-z0-9_]+)"
    r"(?:\[(?P<slice>(?:\\.|[^\\\]])+)\])?"
    r"(?:@(?P<dataset>[\w.-]+))?(?:#(?P<variant>[\w.+-]+))?"
)


@dataclass(frozen=True)
class FindingId:
    """A finding id in parts; `str()` gives the canonical text."""

    dimension: str
    metric: str
    slice: tuple[tuple[str, str | None], ...] = ()  # (column, group or None for the gap over the column)
    dataset: str | None = None
    variant: str | None = None

    def __str__(self) -> str:
        text = f"{self.dimension}.{self.metric}"
        if self.slice:
            text += f"[{format_slice(self.slice)}]"
        if self.dataset:
            text += f"@{self.dataset}"
        return f"{text}#{self.variant}" if self.variant else text


def format_slice(parts: tuple[tuple[str, str | None], ...]) -> str:
    """`(("sex", "Female"),)` → `sex=Female`."""
    return ",".join(_escape(column) if group is None else f"{_escape(column)}={_escape(group)}" for column, group in parts)


def parse(text: str) -> FindingId:
    """Parse a finding id.

    Raises:
        ValueError: the text is no finding id; the message says what one looks like.
    """
    match = _ID.fullmatch(text)
    if match is None or match["dimension"] not in DIMENSIONS:
        example = "fairness.demographic_parity_difference[sex]"
        raise ValueError(f"'{text}' is not a finding id: expected dimension.metric[slice]@dataset#variant, such as {example}")
    return FindingId(match["dimension"], match["metric"], _parse_slice(match["slice"] or ""), match["dataset"], match["variant"])


def make(
    dimension: str, metric: str, slice_: tuple[tuple[str, str | None], ...] = (), *, dataset: str | None = None, variant: str | None = None
) -> str:
    """The canonical text of a finding id."""
    return str(FindingId(dimension, metric, slice_, dataset, variant))


def _escape(text: str) -> str:
    return re.sub(r"([\\,=\]])", r"\\\1", text)


def _parse_slice(text: str) -> tuple[tuple[str, str | None], ...]:
    if not text:
        return ()
    parts = []
    for part in re.findall(r"((?:\\.|[^\\,])+)(?:,|$)", text):
        pieces = re.findall(r"(?:\\.|[^\\=])+", part)
        column, group = pieces[0], pieces[1] if len(pieces) > 1 else None
        parts.append((_unescape(column), None if group is None else _unescape(group)))
    return tuple(parts)


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
