"""Entities of each row: spans of characters with a type, none overlapping.

A cell is a JSON list of `{"start", "end", "label"}` or `[start, end, label]`, counted in characters of the text; `[]` says that a row has
none. Where the text is a list of tokens and the label one of their tags, `tidy` makes both of that form.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data.rows import in_quotes
from trustbase.data.sentences import joined, single_characters, spans_json
from trustbase.data.tags import Entity, is_tag, scheme_of, tag_names, types_of
from trustbase.data.truth.base import Named, Read, Truth, got, read_json, trimmed
from trustbase.data.units import ends_at_units, units
from trustbase.errors import DataError, Problem
from trustbase.records import LabelSchema

_FORM = "(label) is no JSON list of entities {start, end, label}"
_KEYS = (("start", "begin", "start_offset"), ("end", "stop", "end_offset"), ("label", "type", "entity"))


class Tokens(Truth):
    """A tuple of `(start, end, type)` of each row, in order."""

    nested = True
    nested_text = True

    def schema(self, column: pa.ChunkedArray, named: Named) -> LabelSchema:
        roles = (("data.positive", named.positive), ("data.favourable", named.favourable))
        problems = [Problem(where, f"names a label '{name}', and this task's truth are entities") for where, name in roles if name]
        found = {name for cell in set(trimmed(column)[0]) for _, _, name in _entities(cell)[0]}
        if not found:
            message = f"column '{named.column}' (label) names no entity in any row; it must hold lists of {{start, end, label}}"
            problems.append(Problem(named.source, message))
        if problems:
            raise DataError("the labels are not as described", problems=problems)
        names = tag_names(found)
        return LabelSchema(names, names[-1], names[-1])

    def read(self, column: pa.ChunkedArray, schema: LabelSchema, texts: Sequence[str], *, whose: str) -> Read:
        cells, changed = trimmed(column)
        types, values = set(types_of(schema.names)), np.empty(len(cells), dtype=object)
        bad: dict[int, tuple[str, str]] = {}
        off = 0
        for row, (cell, text) in enumerate(zip(cells, texts, strict=True)):
            entities, fault = _entities(cell, text)
            entities = sorted(entities)
            values[row] = tuple(entities)
            fault = fault or _faulty(entities, text, types, whose)
            if fault is not None:
                bad[row] = fault
            elif entities:
                off += ends_at_units(units(text), [(start, end) for start, end, _ in entities]).count(False)
        said = f"{off:,} entities begin or end within a word, where no model of units can find them; they count as missed"
        return Read(values, bad, changed, notes=(said,) if off else ())

    def write(self, values: NDArray[Any], schema: LabelSchema) -> list[str]:
        return [json.dumps([[start, end, name] for start, end, name in row], ensure_ascii=False) for row in values]

    def counts(self, values: NDArray[Any], schema: LabelSchema) -> dict[str, Any]:
        found = Counter(name for row in values for _, _, name in row)
        total = sum(found.values())
        return {
            "labels": {name: found[name] for name in types_of(schema.names)},
            "rows_without_label": sum(not row for row in values),
            "labels_a_row": total / len(values),
            "counted": "entities",
        }

    def from_arrow(self, column: pa.ChunkedArray, schema: LabelSchema) -> NDArray[Any]:
        values = np.empty(len(column), dtype=object)
        for row, cell in enumerate(column.to_pylist()):
            values[row] = tuple(_entities(cell)[0])
        return values

    def needed(self, values: NDArray[Any], taken: NDArray[np.bool_], schema: LabelSchema) -> NDArray[np.bool_]:
        left = {name for row in values[~taken] for _, _, name in row}
        return np.array([gone and any(name not in left for _, _, name in row) for row, gone in zip(values, taken, strict=True)], dtype=bool)

    def refused(self, values: NDArray[Any], schema: LabelSchema) -> list[Problem]:
        seen = {name for row in values for _, _, name in row}
        return [Problem("data.label", f"no training row has an entity '{name}'") for name in types_of(schema.names) if name not in seen]

    def tidy(self, table: pa.Table, text: Sequence[str], label: str) -> tuple[pa.Table, tuple[str, ...]]:
        """Lists of tokens and tags as text and spans; rows of any other form stay as they are."""
        if len(text) != 1:
            return table, ()
        pairs = [_tagged(one, other) for one, other in zip(table[text[0]].to_pylist(), table[label].to_pylist(), strict=True)]
        known = [pair for pair in pairs if pair is not None]
        if not known:
            return table, ()
        scheme, blank = scheme_of(tags for _, tags in known), not single_characters(tokens for tokens, _ in known)
        texts, cells, repaired = table[text[0]].to_pylist(), table[label].to_pylist(), 0
        for row, pair in enumerate(pairs):
            if pair is not None:
                texts[row], spans = joined(pair[0], blank=blank)
                entities, mended = spans_json(pair[1], spans, scheme)
                cells[row], repaired = json.dumps(entities, ensure_ascii=False), repaired + mended
            elif (tokens := _words(texts[row])) is not None and (not tokens or _words(cells[row]) == []):
                texts[row], cells[row] = texts[row] if tokens else None, None  # no tokens, or no tags: empty cells, not a text of brackets
        made = {text[0]: pa.array(texts, pa.string()), label: pa.array(cells, pa.string())}
        for name, column in made.items():
            table = table.set_column(table.column_names.index(name), name, column)
        return table, scheme_notes(scheme, repaired)


def scheme_notes(scheme: str, repaired: int) -> tuple[str, ...]:
    """What a reader should know of the tags of a file."""
    mended = f"; {repaired:,} tags do not fit the ones before them, and were read as conlleval reads them" if repaired else ""
    return (f"tags are written in {scheme}{mended}",)


def _tagged(text: str | None, label: str | None) -> tuple[list[str], list[str]] | None:
    """Tokens and tags of a row, where its cells are two such lists of one length."""
    tokens, tags = _words(text), _words(label)
    if tokens is None or tags is None or len(tokens) != len(tags) or not tokens:
        return None
    usable = all(token and not any(char.isspace() for char in token) for token in tokens) and all(map(is_tag, tags))
    return (tokens, tags) if usable else None


def _words(cell: str | None) -> list[str] | None:
    if cell is None or not cell.startswith("["):
        return None
    try:
        found = read_json(cell)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else None


def _entities(cell: str | None, text: str | None = None) -> tuple[list[Entity], tuple[str, str] | None]:
    """The entities in a cell, and why they are none; with the text that they stand in, also why they are not in it as they say."""
    shown = got(cell or "")
    try:
        items = read_json(cell or "")
    except ValueError as error:
        return [], (_FORM, got(cell or "", error))
    if not isinstance(items, list):
        return [], (_FORM, shown)
    if items and all(isinstance(item, str) for item in items):
        return [], ("(label) is a list of words, and not of one tag for each token of the text", shown)
    reasons = [_contradiction(item, text) for item in items if isinstance(item, dict)]
    if reason := next(filter(None, reasons), ""):
        return [], (f"(label) {reason}", shown)
    found = [_entity(item) for item in items]
    whole = [entity for entity in found if entity is not None]
    if len(whole) != len(found):
        return whole, (_FORM, shown)
    if not all(name for _, _, name in whole):
        return [entity for entity in whole if entity[2]], ("(label) names an entity of an empty type", shown)
    return whole, None


def types_in(cell: str) -> set[str] | None:
    """Types of the entities that a cell tells, as spans or as tags of a list of tokens; None where it is neither."""
    tags = _words(cell)
    if tags and all(map(is_tag, tags)):
        return set(types_of(tags))
    entities, fault = _entities(cell)
    return None if fault else {name for _, _, name in entities}


def _contradiction(item: dict[str, Any], text: str | None) -> str:
    """What an entity tells twice, and not alike; "" where there is nothing. A type may stand beside a word that is called `entity`."""
    told = [[item[key] for key in keys if key in item] for keys in _KEYS[:2]]
    if any(len(places) > 1 and (not all(type(place) is int for place in places) or len(set(places)) > 1) for places in told):
        return "names a span whose start or end is told twice, and not alike"
    if "label" in item and "type" in item and item["label"] != item["type"]:
        return "names an entity whose type is told twice, and not alike"
    own, entity = item.get("text"), _entity(item)
    if text is not None and isinstance(own, str) and entity is not None and 0 <= entity[0] < entity[1] <= len(text):
        return "" if text[entity[0] : entity[1]] == own else "names a span that does not hold the text that it says"
    return ""


def _entity(item: Any) -> Entity | None:
    if isinstance(item, dict):
        item = [next((item[key] for key in keys if key in item), None) for keys in _KEYS]
    if not isinstance(item, list) or len(item) != 3:
        return None
    start, end, name = item
    whole = all(isinstance(place, int) and not isinstance(place, bool) for place in (start, end))
    return (start, end, name.strip()) if whole and isinstance(name, str) else None


def _faulty(entities: Sequence[Entity], text: str, types: set[str], whose: str) -> tuple[str, str] | None:
    """Why the entities of a row cannot be its truth; None where they can."""
    before = (0, 0)
    for start, end, name in entities:
        shown = f"got [{start}, {end}) of {len(text)} characters"
        if end <= start:
            return "(label) names a span that ends where it begins, or before", shown
        if not 0 <= start < end <= len(text):
            return "(label) names a span that is not in the text", shown
        if text[start].isspace() or text[end - 1].isspace():
            return "(label) names a span that begins or ends with a blank", shown
        if start < before[1]:
            return "(label) names spans that overlap", f"got [{before[0]}, {before[1]}) and [{start}, {end})"
        if name not in types:
            return f"(label) names a type that is none {whose}", f"got {in_quotes(name)}"
        before = (start, end)
    return None


TOKENS = Tokens()
