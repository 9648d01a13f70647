"""All rows that a reference means, undivided: described with their labels, or by their columns alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from trustbase.data.advice import advice, by_reason
from trustbase.data.choices import known
from trustbase.data.columns import fit_but_for_slips
from trustbase.data.dataset import Dataset, dataset_digest
from trustbase.data.doubtful import far_labels
from trustbase.data.facts import facts_across, public_name, shared_texts, source_facts
from trustbase.data.gather import all_bad, judge_bad_rows, options_of, read_sources
from trustbase.data.making import make_split
from trustbase.data.markdown import in_code, section, several, share
from trustbase.data.reference import Format
from trustbase.data.rows import RawTable
from trustbase.data.schema import read_truth, schema_of
from trustbase.data.source import read_columns, read_table
from trustbase.data.truth.base import truth_of
from trustbase.data.truth.labels import names_in
from trustbase.data.truth.span import answers_in
from trustbase.data.truth.tokens import types_in
from trustbase.errors import DataError
from trustbase.events import Emit, ignore

_MOST_READ = 2_000  # distinct cells of a column, from which its form is seen
COLUMNS_SCHEMA = "trustbase/columns-card/1"
ALL = "all"


def load_whole(values: Mapping[str, Any], *, root: Path, answers: str = "classes", emit: Emit = ignore) -> Dataset:
    """Read what a `data` section describes as one part, called `all`.

    Args:
        values: keys of a recipe's `data` section; those that divide rows have no meaning here.
        root: folder that relative paths start from.
        answers: answer kind of the task that the rows are for.
        emit: told of labels that may be slips.

    Raises:
        DataError: the file, a column, or any row cannot be used; every problem is in it.
    """
    options = options_of(values)
    truth = truth_of(answers)
    template, sources = read_sources(options, root, answers)
    source = sources["train"]
    source.parts = {ALL: np.arange(len(source.raw))}
    schema = schema_of(options, sources, truth, template, of=ALL)
    read_truth(options, schema, sources, truth, whose=known(template, "of these rows"))
    judge_bad_rows(options, sources, ignore)
    for told in far_labels(truth, sources, options.label, of=ALL):
        emit("warning", text=told)
    facts = source_facts(options, template, sources)
    part, facts["splits"][ALL] = make_split(ALL, options, schema, template, source, 0, truth)
    facts["sources"] = {ALL: facts["sources"]["train"]}
    facts["split"] = {"column": None, "by": None, "how": {ALL: "all rows, undivided"}}
    splits = {ALL: part}
    facts.update(facts_across(splits, facts, schema, shared_texts(splits)))
    assert not all_bad(source)  # nothing is tolerated here
    return Dataset(splits, schema, template, facts, dataset_digest(splits, schema, template), answers)


def columns_card(reference: str, *, root: Path, format: Format | None = None, query: str | None = None) -> dict[str, Any]:
    """What each column holds, counted, before anybody said which is text and which is label.

    Raises:
        DataError: the file or any row cannot be read; every problem is in it.
    """
    columns = read_columns(reference, root=root, format=format, query=query)
    raw = read_table(reference, root=root, format=format, query=query, nested=columns)  # any may be the one of labels
    if raw.bad:
        raise DataError(
            f"{len(raw.bad):,} of {raw.total:,} rows cannot be used{by_reason(raw.bad_rows)}",
            problems=raw.bad,
            hint="; ".join(advice(raw.bad_rows, raw.source)),
        )
    more: dict[str, Any] = {"files": len(raw.files)} if raw.files else {}
    more |= {"revision": raw.revision} if raw.revision else {}
    return {
        "schema": COLUMNS_SCHEMA,
        "source": {"name": public_name(reference), **more, "digest": raw.digest, "bytes": raw.size, "rows": raw.total},
        "columns": {name: _column(raw, name) for name in raw.table.column_names},
    }


def _column(raw: RawTable, name: str) -> dict[str, Any]:
    """Counts of one column: empty cells, distinct values, the characters of its longest cell; and the task whose labels it may be."""
    column = raw.table[name]
    blank = pc.sum(pc.equal(pc.utf8_trim_whitespace(column), "")).as_py() or 0
    longest = pc.max(pc.utf8_length(column)).as_py() or 0
    distinct = column.drop_null().unique()
    task = _task_of(distinct.slice(0, _MOST_READ).to_pylist())
    return {"empty": column.null_count + blank, "distinct": len(distinct), "longest": longest, **({"task": task} if task else {})}


def _task_of(cells: Sequence[str]) -> str:
    """The task whose labels are lists and objects of this form; "" where cells are texts, or of no form that is known."""
    if not cells or not all(cell.lstrip().startswith(("[", "{")) for cell in cells):
        return ""
    for task, read in (("token-classification", types_in), ("question-answering", answers_in), ("multi-label-classification", _listed)):
        found = [read(cell) for cell in cells]
        if any(found) and fit_but_for_slips(sum(each is not None for each in found), len(found)):
            return task
    return ""


def _listed(cell: str) -> list[str] | None:
    """The names of a list; None where the cell is none."""
    return names_in(cell.strip()) if cell.lstrip().startswith("[") else None


def columns_markdown(card: Mapping[str, Any]) -> str:
    """The columns as a Markdown page."""
    source = card["source"]
    rows = source["rows"]
    about = f"{several(source)}{rows:,} rows, {source['bytes']:,} bytes, `{source['digest']}`"
    head = f"# Columns\n\n- **File**: {in_code(source['name'])}, {about}"
    told = [
        [in_code(name), share(found["empty"], rows) if rows else "0", f"{found['distinct']:,}", f"{found['longest']:,}"]
        for name, found in card["columns"].items()
    ]
    page = f"{head}\n\n{section('Cells', ['column', 'empty', 'distinct values', 'longest, in characters'], told)}\n"
    labels = {name: found["task"] for name, found in card["columns"].items() if "task" in found}
    for name, task in labels.items():
        page += f"\nCells of {in_code(name)} may be labels of task {task}: `--text COLUMN --label {name} --task {task}` describes them.\n"
    return page
