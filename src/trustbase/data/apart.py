"""Columns that a model reads one by one: what each is taken for, which training rows say, and rows that do not fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from trustbase.data.columns import OF_NUMBERS, Kind, kind_of_column
from trustbase.data.gather import Source
from trustbase.data.markdown import in_code, section
from trustbase.data.rows import not_numbers
from trustbase.data.template import TextTemplate

_READ_AS = {"numbers": "numbers", "categories": "categories", "texts": "words"}


def take_columns(template: TextTemplate, sources: Mapping[str, Source]) -> dict[str, dict[str, Any]]:
    """What each column is taken for, and how many values training rows have in it; rows whose cell is no such number become bad rows."""
    source = sources["train"]
    table = source.raw.table.select(template.apart).take(pa.array(source.parts.get("train", np.zeros(0, np.int64))))
    cells = {name: table[name].to_pylist() for name in template.apart}
    found = {name: {"kind": kind_of_column(values), "values": len({value for value in values if value})} for name, values in cells.items()}
    refuse_no_numbers(sources, [name for name, kind in kinds_of(found).items() if kind == "numbers"])
    return found


def kinds_of(columns: Mapping[str, Mapping[str, Any]]) -> dict[str, Kind]:
    """The kind of each column, from what `take_columns` left among the facts."""
    return {name: found["kind"] for name, found in columns.items()}


def refuse_no_numbers(sources: Mapping[str, Source], columns: Collection[str]) -> None:
    """Make bad rows of those whose cell is no number in a column of numbers; an empty one is missing."""
    for source in sources.values():
        used = source.used()
        for name in columns:
            for row, (kind, detail) in not_numbers(source.raw.table[name]).items():
                if used[row]:
                    source.bad.append(source.raw.as_bad(row, f"column '{name}' {OF_NUMBERS} {kind}", detail))


def told(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """What each is taken for, in a line of the log."""
    said = {name: f"category ({found['values']:,})" for name, found in columns.items() if found["kind"] == "categories"}
    return "; ".join(f"{name}: {said.get(name, _READ_AS[found['kind']])}" for name, found in columns.items())


def columns_page(card: Mapping[str, Any]) -> str:
    """The same on the page of the data card; empty where the columns are not read one by one."""
    rows = [[in_code(name), _READ_AS[found["kind"]], f"{found['values']:,}"] for name, found in (card.get("columns") or {}).items()]
    return section("Columns read one by one", ["column", "taken for", "distinct values in train"], rows) if rows else ""
