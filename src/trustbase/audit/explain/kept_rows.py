"""A few explained rows as a person reads them: the text, where its units stand, and what each adds. Rows of the user, so no evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trustbase.audit.context import AuditContext, EvidenceBeside
from trustbase.audit.explain.subject import Item, units_of
from trustbase.data import marked
from trustbase.data.cells import Reading
from trustbase.data.pair import CELL, SEPARATOR

KEPT = 5  # rows
_BETWEEN = " · "  # fields
_READABLE = str.maketrans({SEPARATOR: "\n", marked.HEAD: " ", marked.TAIL: " ", marked.TYPED: " "})  # each as long as it was


def keep_rows(context: AuditContext, items: Sequence[Item], told: Sequence[Mapping[str, Any] | None]) -> None:
    """Keep the first rows that were explained, for the folder of the run or audit; of rows beside the test rows none."""
    assert context.artifact is not None
    if isinstance(context.evidence, EvidenceBeside):
        return
    reading, names = Reading.of(context.artifact), context.artifact.labels.names
    for item, row in zip(items, told, strict=True):
        if row is not None and len(context.shown.rows) < KEPT:
            text, spans = _in_columns(row["units"], item["row"]) if row["kind"] == "fields" else _in_text(reading, item)
            context.shown.rows.append({"label": names[row["target"]], "text": text, "spans": spans, "weights": list(row["shapley"])})


def _in_text(reading: Reading, item: Item) -> tuple[str, list[list[int] | None]]:
    """The text, and where its words stand; cells beside it have no place in it."""
    units = units_of(reading, item["text"], item["row"])
    spans = [None if span is None else list(span) for span in units.spans]
    return item["text"].split(CELL, 1)[0].translate(_READABLE), spans


def _in_columns(names: Sequence[str], row: Mapping[str, Any]) -> tuple[str, list[list[int] | None]]:
    """The cells one after another, each with its column's name."""
    cells = [f"{name}: {'' if row.get(name) is None else row[name]}" for name in names]
    starts = [sum(len(cell) + len(_BETWEEN) for cell in cells[:place]) for place in range(len(cells))]
    return _BETWEEN.join(cells), [[start, start + len(cell)] for start, cell in zip(starts, cells, strict=True)]
