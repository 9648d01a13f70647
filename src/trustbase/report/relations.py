"""What became of the relations between entities that a model found itself: which were right, and in which step the others were lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustbase.audit.catalogue import RELATION_FATES
from trustbase.report.formats import show
from trustbase.report.words import Words

Block = dict[str, Any]


def relation_blocks(evidence: Any, t: Words) -> list[Block]:
    """The table of errors of both steps; nothing where relations were not measured end to end."""
    if not isinstance(evidence, Mapping) or not isinstance(errors := evidence.get("relation_errors"), Mapping):
        return []
    sides = [errors.get("true") or {}, errors.get("answered") or {}]
    totals = [sum(side.values()) for side in sides]
    rows = [
        (t.of("relation_fate", fate), [_cell(side.get(fate, 0), total, t) for side, total in zip(sides, totals, strict=True)])
        for fate in RELATION_FATES
    ]
    counts = {name: f"{evidence.get(name) or 0:,}" for name in ("texts", "pairs", "unlisted")}
    about = t("relations.about", true=f"{totals[0]:,}", answered=f"{totals[1]:,}", **counts)
    if evidence.get("not_asked"):
        more = t("relations.not_asked", n=f"{evidence['not_asked']:,}", most=f"{evidence.get('most_pairs') or 0:,}")
        about = f"{about} {more}"
    heads = [t("relations.true"), t("relations.answered")]
    return [{"kind": "table", "title": t("relations.title"), "about": about, "first": t("entities.fate"), "heads": heads, "rows": rows}]


def _cell(count: int, total: int, t: Words) -> str:
    return f"{count:,} ({show(count / total, 'percent', t)})" if total else f"{count:,}"
