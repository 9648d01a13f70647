"""Everything that a recipe may name exists, says what it is, and is counted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trustbase.data.truth.base import truth_of
from trustbase.outputs.answers.base import answering
from trustbase.recipe import entries, lookup

TABLES = {
    "tasks": (lookup.TASKS, 8),
    "answer_kinds": (lookup.ANSWER_KINDS, 5),
    "adaptations": (lookup.ADAPTATIONS, 8),
    "sources": (lookup.SOURCES, 10),
    "objectives": (lookup.OBJECTIVES, 16),
    "audits": (lookup.AUDITS, 30),
    "rivals": (lookup.RIVALS, 8),
    "runtimes": (lookup.RUNTIMES, 4),
    "plain models": (lookup.PLAIN_MODELS, 4),
    "perturbations": (lookup.PERTURBATIONS, 15),
    "mitigations": (lookup.MITIGATIONS, 0),
}
ENTRIES = [(table, name, entry) for table, (entries, _) in TABLES.items() for name, entry in entries.items()]


def test_how_many_things_are_covered() -> None:
    assert {table: len(entries) for table, (entries, _) in TABLES.items()} == {table: count for table, (_, count) in TABLES.items()}
    assert len(ENTRIES) == 108
    tables_in_module = {name for name in vars(lookup) if name.isupper()}
    assert len(tables_in_module) == len(TABLES), f"a table is not covered here: {tables_in_module}"


@pytest.mark.parametrize(("table", "name", "entry"), ENTRIES, ids=[f"{table}-{name}" for table, name, _ in ENTRIES])
def test_every_entry_resolves_and_says_what_it_is(table: str, name: object, entry: lookup.Entry) -> None:
    targets = [entry.target, *entry.others.values()] if isinstance(entry, lookup.Rival) else [entry.target]
    assert any(targets), f"{name} leads nowhere"
    for target in filter(None, targets):  # a rival without a first target has no sense for classes
        assert callable(entries.load_named(target)) or table in ("tasks", "answer_kinds", "adaptations"), target
    assert 10 < len(entry.about) < 120


@pytest.mark.parametrize("kind", list(lookup.ANSWER_KINDS))
def test_every_answer_kind_has_all_that_a_task_needs(kind: str) -> None:
    """Truth, decisions, a question, audits of what every model is asked for, and a rival to beat."""
    from trustbase.audit.challenge import contrasting
    from trustbase.model.questions import KINDS
    from trustbase.train.options import STOPPING_OF

    assert truth_of(kind) is entries.load_named(lookup.ANSWER_KINDS[kind].truth) and answering(kind).unit
    assert lookup.ANSWER_KINDS[kind].question in KINDS and STOPPING_OF[kind]
    assert not lookup.ANSWER_KINDS[kind].contrasts or contrasting(kind).main, "an empty one is refused by compare, with the reason"
    assert {"quality", "fairness", "efficiency"} <= set(lookup.audited_dimensions(kind))
    simplest = {"tokens": {"dictionary", "window"}, "span": {"shared_words", "no_answer"}}.get(kind, {"bag_of_words", "boosting"})
    assert simplest <= set(lookup.rivals_of(kind))
    assert [name for name, task in lookup.TASKS.items() if task.answers == kind]


@pytest.mark.parametrize("table", sorted(name for name in vars(lookup) if name.isupper()))
def test_every_table_is_read_by_the_stage_that_dispatches_through_it(table: str) -> None:
    """A row that nothing looks up would be decoration: each table is imported by a stage beside the recipe's own check."""
    root = Path(lookup.__file__).parents[1]
    readers = [path for path in root.rglob("*.py") if path.parent.name != "recipe" and re.search(rf"\b{table}\b", path.read_text("utf-8"))]
    assert readers or not getattr(lookup, table), f"{table} is read by no stage"
