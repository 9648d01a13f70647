"""A text with two entities marked in it, as one string: what a relation is asked of.

So a row is hashed, kept, handed to other processes and asked about as any other text is; only what renders it, what makes tokens of it
(`model.token_marks`) and what finds words in it know. The marks stand around the entities' words, so that the text stays readable as it is.

Source: Baldini Soares et al. (2019), "Matching the Blanks", section 3.2 (entity markers).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

HEAD, TAIL = "\x0e", "\x0f"  # before and after the first and the second entity; control characters that no text holds
TYPED = "\x02"  # "start of text": stands between an entity's type, which may be empty, and its words
_MARKED = re.compile(f"([{HEAD}{TAIL}])([^{HEAD}{TAIL}{TYPED}]*){TYPED}([^{HEAD}{TAIL}{TYPED}]+)\\1")
_SHORT = re.compile(r"\s*(-?\d{1,18})\s*:\s*(-?\d{1,18})\s*")
_FORMS = 'expected [start, end], {"start", "end", "type"} or start:end'


@dataclass(frozen=True)
class Span:
    """An entity: characters `start` to `end` (exclusive, counted from 0) of a text, and its type where one is told."""

    start: int
    end: int
    type: str = ""


@dataclass(frozen=True)
class Marked:
    """What a marked string says.

    Attributes:
        before, between, after: the text around the two entities, in the order of the text.
        head, tail: the entities' words; `types` what they are, "" where that is not told.
        head_first: whether the head stands before the tail.
    """

    before: str
    between: str
    after: str
    head: str
    tail: str
    types: tuple[str, str]
    head_first: bool


def columns_of(text: str, head: str, tail: str) -> str:
    """Three columns as one template, which `TextTemplate.parse` takes."""
    return f"{text}{HEAD}{head}{TAIL}{tail}"


def three_columns(template: str) -> tuple[str, str, str] | None:
    """Inverse of `columns_of`; None of any other template."""
    text, marked, rest = template.partition(HEAD)
    head, _, tail = rest.partition(TAIL)
    return (text, head, tail) if marked else None


def read_span(cell: str) -> Span:
    """An entity as a cell tells it: `[3, 9]`, `{"start": 3, "end": 9, "type": "person"}` or `3:9`.

    Raises:
        ValueError: it is none of these.
    """
    if short := _SHORT.fullmatch(cell):
        return Span(int(short[1]), int(short[2]))
    try:
        value: Any = json.loads(cell)
    except (ValueError, RecursionError):
        raise ValueError(f"is no span: {_FORMS}") from None
    kind: Any = ""
    if isinstance(value, dict):
        unknown = sorted(set(value) - {"start", "end", "type"})
        if unknown or not {"start", "end"} <= set(value):
            raise ValueError(f"is no span: {_FORMS}")
        kind, value = value.get("type") or "", [value["start"], value["end"]]
    if not isinstance(value, list) or len(value) != 2 or not all(type(place) is int for place in value) or not isinstance(kind, str):
        raise ValueError(f"is no span: {_FORMS}")
    if any(mark in kind for mark in (HEAD, TAIL, TYPED)):
        raise ValueError("has a type with a control character")
    return Span(value[0], value[1], kind.strip())


def mark(text: str, head: Span, tail: Span) -> str:
    """The text with marks around both entities.

    Raises:
        ValueError: an entity lies outside the text, holds nothing, or both overlap.
    """
    for name, span in (("head", head), ("tail", tail)):
        if reason := _why_not(text, span):
            raise ValueError(f"{name} {reason}")
    if head.start < tail.end and tail.start < head.end:
        raise ValueError("head and tail overlap")
    (first, one), (second, two) = sorted(((head, HEAD), (tail, TAIL)), key=lambda item: item[0].start)
    return "".join(
        (text[: first.start], _around(text, first, one), text[first.end : second.start], _around(text, second, two), text[second.end :])
    )


def marked_cells(text: str, head: str, tail: str) -> str:
    """The marked string of a row's three cells.

    Raises:
        ValueError: what is wrong with them.
    """
    return mark(text, read_span(head), read_span(tail))


def parts(text: str) -> Marked | None:
    """What a marked string says; None of any other string."""
    if HEAD not in text:
        return None
    found = list(_MARKED.finditer(text))
    if len(found) != 2 or found[0][1] == found[1][1]:
        return None
    one, two = found
    head, tail = (one, two) if one[1] == HEAD else (two, one)
    between = text[one.end() : two.start()]
    return Marked(text[: one.start()], between, text[two.end() :], head[3], tail[3], (head[2], tail[2]), one[1] == HEAD)


def unmark(text: str) -> tuple[str, Span, Span]:
    """Inverse of `mark`: the text, head and tail.

    Raises:
        ValueError: no two entities are marked in it.
    """
    found = parts(text)
    if found is None:
        raise ValueError("no two entities are marked in this text")
    one, two = (found.head, found.tail) if found.head_first else (found.tail, found.head)
    starts = len(found.before), len(found.before) + len(one) + len(found.between)
    at, other = starts if found.head_first else starts[::-1]
    whole = "".join((found.before, one, found.between, two, found.after))
    spans = Span(at, at + len(found.head), found.types[0]), Span(other, other + len(found.tail), found.types[1])
    return whole, *spans


def types_in(texts: Iterable[str]) -> tuple[str, ...]:
    """The types of entities that marked texts tell, sorted; none where they tell none."""
    told = (parts(text) for text in texts)
    return tuple(sorted({kind for found in told if found is not None for kind in found.types} - {""}))


def readable(text: str) -> str:
    """The same for people to read: a marked text with brackets, three columns of a template with their meaning."""
    if parts(text) is not None:
        return _MARKED.sub(lambda found: f"[{'head' if found[1] == HEAD else 'tail'}{found[2] and ' ' + found[2]}: {found[3]}]", text)
    named = three_columns(text)
    return text if named is None else f"{named[0]} (head: {named[1]}, tail: {named[2]})"


def faults(table: pa.Table, columns: Sequence[str]) -> Mapping[int, tuple[list[str], str]]:
    """Rows that cannot be marked → kinds (which hold no value of the data) and a detail.

    Args:
        table: string columns; null is an empty cell.
        columns: of text, head and tail.
    """
    found: dict[int, tuple[list[str], str]] = {}
    for row, cells in enumerate(zip(*(table[name].to_pylist() for name in columns), strict=True)):
        kinds, details, spans = [], [], []
        for name, cell in zip(columns[1:], cells[1:], strict=True):
            try:
                span = read_span(cell or "") if cell else None
                reason = "is empty" if span is None else _why_not(cells[0], span) if cells[0] else ""
            except ValueError as error:
                span, reason = None, str(error)
            if reason:
                kinds.append(f"column '{name}' {reason}")
                details += [] if cell is None else [cell if len(cell) <= 60 else f"{cell[:60]}…"]
            elif span is not None:
                spans.append(span)
        if len(spans) == 2 and spans[0].start < spans[1].end and spans[1].start < spans[0].end:
            kinds.append(f"columns '{columns[1]}' and '{columns[2]}' overlap")
            details.append(f"{cells[1]} and {cells[2]}")
        if kinds:
            found[row] = (kinds, f"got {', '.join(details)}" if details else "")
    return found


def _why_not(text: str, span: Span) -> str:
    """Why a span is no part of a text; "" where it is."""
    if span.start < 0 or span.end > len(text):
        return "lies outside the text"
    if span.start >= span.end:
        return "ends where it begins, or before"
    return "" if text[span.start : span.end].strip() else "holds nothing but white space"


def _around(text: str, span: Span, sign: str) -> str:
    return f"{sign}{span.type}{TYPED}{text[span.start : span.end]}{sign}"
