"""What became of the entities of a text model: which were found, and what kind of error the others are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustbase.audit.catalogue import ENTITY_FATES
from trustbase.report.formats import show
from trustbase.report.words import Words

Block = dict[str, Any]

_ONE_SIDED = {"missed": 0, "spurious": 1}  # only true entities can be missed, only answered ones spurious


def entity_blocks(errors: Any, t: Words) -> list[Block]:
    """The table of errors, and the types that are taken for one another; nothing where the evidence holds no entities."""
    if not isinstance(errors, Mapping):
        return []
    sides = [errors.get("true") or {}, errors.get("answered") or {}]
    totals = [sum(side.values()) for side in sides]
    rows = []
    for fate in ENTITY_FATES:
        cells = [_cell(side.get(fate, 0), total, t) for side, total in zip(sides, totals, strict=True)]
        if fate in _ONE_SIDED:
            cells[1 - _ONE_SIDED[fate]] = "–"
        rows.append((t.of("fate", fate), cells))
    heads = [t("entities.true"), t("entities.answered")]
    about = t("entities.about", true=f"{totals[0]:,}", answered=f"{totals[1]:,}")
    blocks = [{"kind": "table", "title": t("entities.title"), "about": about, "first": t("entities.fate"), "heads": heads, "rows": rows}]
    mixed = errors.get("mixed_up") or []
    if mixed:
        pairs = [(t("confusion.pair", truth=row["truth"], answer=row["answer"]), [f"{row['n']:,}"]) for row in mixed]
        words = {"title": t("entities.mixed"), "about": t("entities.mixed_about"), "first": t("table.name"), "heads": ["n"]}
        blocks.append({"kind": "table", **words, "rows": pairs})
    return blocks


def _cell(count: int, total: int, t: Words) -> str:
    return f"{count:,} ({show(count / total, 'percent', t)})" if total else f"{count:,}"
