r"""The grammar of finding ids: `dimension.metric`, then optionally `[slice]`, `@dataset`, `#variant`, in this order.

A slice is `sex` (the gap over that column's groups), `sex,race` (the intersection, columns in recipe order),
`sex=Female` or `sex=Female,race=Black` (one group). Inside a slice, `\` escapes `,`, `=`, `]` and itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DIMENSIONS = ("quality", "fairness", "privacy", "explanation", "robustness", "safety", "efficiency", "compliance")

NOTHING = 1e-12  # under which a finding's number is what sums of floats leave of 0
OUT_OF_TIME = "out-of-time"  # the data set of later rows, as ids name it

_ID = re.compile(
    r"(?P<dimension>[a-z]+)\.(?P<metric>[a-z0-9_]+)"
    r"(?:\[(?P<slice>(?:\\.|[^\\\]])+)\])?"
    r"(?:@(?P<dataset>[\w.-]+))?(?:#(?P<variant>[\w.+-]+))?"
)
_TOKEN = re.compile(r"\\.|[^\\]", re.DOTALL)


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

    Only the canonical text of an id is one: `str(parse(text)) == text`, so that two texts never name the same finding.

    Raises:
        ValueError: the text is no finding id; the message says what one looks like.
    """
    match = _ID.fullmatch(text)
    if match is None or match["dimension"] not in DIMENSIONS:
        example = "fairness.demographic_parity_difference[sex]"
        raise ValueError(f"'{text}' is not a finding id: expected dimension.metric[slice]@dataset#variant, such as {example}")
    parts = _parse_slice(match["slice"], text) if match["slice"] else ()
    found = FindingId(match["dimension"], match["metric"], parts, match["dataset"], match["variant"])
    if str(found) != text:
        raise ValueError(f"'{text}' is not a finding id as it is written: '{found}' is (only , = ] and \\ are escaped)")
    return found


def make(
    dimension: str, metric: str, slice_: tuple[tuple[str, str | None], ...] = (), *, dataset: str | None = None, variant: str | None = None
) -> str:
    """The canonical text of a finding id."""
    return str(FindingId(dimension, metric, slice_, dataset, variant))


def _escape(text: str) -> str:
    return re.sub(r"([\\,=\]])", r"\\\1", text)


def _parse_slice(slice_: str, text: str) -> tuple[tuple[str, str | None], ...]:
    parts: list[tuple[str, str | None]] = []
    for part in _pieces(slice_, ","):
        pieces = [_unescape(piece) for piece in _pieces(part, "=")]
        if len(pieces) > 2 or "" in pieces:
            raise ValueError(
                f"'{text}' is not a finding id: '{part}' in its slice is neither a column nor column=group"
                " (a comma, = or ] inside a name is written with \\ before it)"
            )
        parts.append((pieces[0], pieces[1] if len(pieces) == 2 else None))
    return tuple(parts)


def _pieces(text: str, mark: str) -> list[str]:
    """The text split at every mark that is not escaped; escapes stay as they are."""
    pieces = [""]
    for token in _TOKEN.findall(text):
        if token == mark:
            pieces.append("")
        else:
            pieces[-1] += token
    return pieces


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
