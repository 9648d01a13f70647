"""Everything that a recipe may name exists, says what it is, and is counted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trustbase.recipe import lookup

TABLES = {
    "tasks": (lookup.TASKS, 2),
    "adaptations": (lookup.ADAPTATIONS, 7),
    "sources": (lookup.SOURCES, 7),
    "objectives": (lookup.OBJECTIVES, 10),
    "audits": (lookup.AUDITS, 7),
    "rivals": (lookup.RIVALS, 3),
    "runtimes": (lookup.RUNTIMES, 4),
    "plain models": (lookup.PLAIN_MODELS, 4),
    "mitigations": (lookup.MITIGATIONS, 0),
}
ENTRIES = [(table, name, entry) for table, (entries, _) in TABLES.items() for name, entry in entries.items()]


def test_how_many_things_are_covered() -> None:
    assert {table: len(entries) for table, (entries, _) in TABLES.items()} == {table: count for table, (_, count) in TABLES.items()}
    assert len(ENTRIES) == 44
    tables_in_module = {name for name in vars(lookup) if name.isupper()}
    assert len(tables_in_module) == len(TABLES), f"a table is not covered here: {tables_in_module}"


@pytest.mark.parametrize(("table", "name", "entry"), ENTRIES, ids=[f"{table}-{name}" for table, name, _ in ENTRIES])
def test_every_entry_resolves_and_says_what_it_is(table: str, name: object, entry: lookup.Entry) -> None:
    assert callable(lookup.load(entry)) or table in ("tasks", "adaptations"), entry.target
    assert 10 < len(entry.about) < 120


@pytest.mark.parametrize("table", sorted(name for name in vars(lookup) if name.isupper()))
def test_every_table_is_read_by_the_stage_that_dispatches_through_it(table: str) -> None:
    """A row that nothing looks up would be decoration: each table is imported by a stage beside the recipe's own check."""
    root = Path(lookup.__file__).parents[1]
    readers = [path for path in root.rglob("*.py") if path.parent.name != "recipe" and re.search(rf"\b{table}\b", path.read_text("utf-8"))]
    assert readers or not getattr(lookup, table), f"{table} is read by no stage"
