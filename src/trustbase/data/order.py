"""What entities and times say about the parts: how many entities each has, which stand in two, from when to when the rows are."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data import split
from trustbase.data.facts import pairs_of
from trustbase.data.gather import Source
from trustbase.data.markdown import in_code, plain, section
from trustbase.data.options import DataOptions
from trustbase.records import Split

_PAIRS = (*pairwise(split.SPLITS), ("train", "test"))


def order_facts(options: DataOptions, splits: Mapping[str, Split], sources: Mapping[str, Source]) -> dict[str, Any]:
    """Facts for the card where rows were divided by entity or time: `parts`, `shared`, `warnings`; empty where they were not."""
    by = options.split.by
    if isinstance(by, str):
        return {}
    rows = {name: _indices(part, sources.get(name, sources["train"])) for name, part in splits.items()}
    if by.entity is not None:
        entities = {
            name: source.entities[rows[name]] for name in splits if (source := sources.get(name, sources["train"])).entities is not None
        }
        return _entity_facts(by.entity, entities)
    ranks: dict[str, NDArray[np.int64]] = {}
    names: tuple[str, ...] = ()
    for name in splits:
        moments = sources.get(name, sources["train"]).moments
        assert moments is not None
        ranks[name], names = moments.ranks[rows[name]], moments.names
    return _time_facts(str(by.time), ranks, names)


def _indices(part: Split, source: Source) -> NDArray[np.int64]:
    return np.searchsorted(source.raw.row_numbers, part.row_numbers).astype(np.int64)


def _entity_facts(column: str, entities: Mapping[str, NDArray[np.uint64]]) -> dict[str, Any]:
    parts = {name: _counted(column, values) for name, values in entities.items()}
    shared, warnings = {}, []
    for one, other in pairs_of(entities):
        common = split.overlap_of_keys(entities[one], entities[other])
        shared[f"{one}/{other}"] = common
        if common:
            warnings.append(
                f"{common:,} of {len(entities[other]):,} {other} rows are of an entity (column '{column}') that also has rows in {one}: "
                "the files divide them so"
            )
    test = parts["test"]
    if test["entities"] < test["rows"]:
        warnings.append(
            f"the {test['rows']:,} test rows are of {test['entities']:,} entities (column '{column}'), {test['rows_per_entity']:.2f} rows "
            "each on average: quality and fairness findings are widened for that (entities are drawn, not rows); intervals of rates, "
            "slices and curves in the evidence take rows as independent, and are too narrow as far as rows of one entity resemble each "
            f"other: in variance by 1 + (m - 1) r, here with m = {test['weighted']:.2f} (the mean weighted by size) and r their correlation"
        )  # Source: Kish, Survey Sampling (1965), section 5.4; m weighted by size where entities have unequally many rows
    return {"parts": parts, "shared": shared, "warnings": warnings}


def _counted(column: str, values: NDArray[np.uint64]) -> dict[str, Any]:
    counts = np.unique(values, return_counts=True)[1]
    rows, entities = int(counts.sum()), len(counts)
    return {
        "column": column,
        "entities": entities,
        "rows": rows,
        "rows_per_entity": rows / entities,
        "weighted": float((counts.astype(np.float64) ** 2).sum() / rows),
        "largest": int(counts.max()),
    }


def _time_facts(column: str, ranks: Mapping[str, NDArray[np.int64]], names: tuple[str, ...]) -> dict[str, Any]:
    parts = {}
    for name, own in ranks.items():
        first, last = names[int(own.min())], names[int(own.max())]
        parts[name] = {"column": column, "first": first, "last": last, "times": len(np.unique(own))}
    shared, warnings = {}, []
    for one, other in _PAIRS:
        early = int((ranks[other] <= ranks[one].max()).sum())
        shared[f"{one}/{other}"] = early
        if early:
            warnings.append(
                f"{early:,} of {len(ranks[other]):,} {other} rows are not later (column '{column}') than the last of {one}: "
                "files or a split column divide them so"
            )
    return {"parts": parts, "shared": shared, "warnings": warnings}


def order_page(card: Mapping[str, Any]) -> str:
    """Entities or times of the parts, and what they mean for the numbers; empty where rows were divided by neither."""
    if not card.get("order"):
        return ""
    found = {name: part["order"] for name, part in card["splits"].items()}
    column = in_code(next(iter(found.values()))["column"])
    if all("entities" in part for part in found.values()):
        rows = [[n, f"{p['entities']:,}", f"{p['rows_per_entity']:.2f}", f"{p['largest']:,}"] for n, p in found.items()]
        table = section(f"Entities (column {column})", ["split", "entities", "rows of one, mean", "rows of one, most"], rows)
    else:
        rows = [[name, plain(part["first"]), plain(part["last"]), f"{part['times']:,}"] for name, part in found.items()]
        table = section(f"Times (column {column})", ["split", "first", "last", "distinct times"], rows)
    return "\n\n".join([table, *(f"**Warning**: {plain(text)}" for text in card["order"]["warnings"])])
