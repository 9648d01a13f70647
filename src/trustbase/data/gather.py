"""The files of a recipe together: what they hold, and what becomes of rows that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import ValidationError

from trustbase.data import choices, split
from trustbase.data.advice import advice, by_reason
from trustbase.data.coded import Coded, coded
from trustbase.data.options import DataOptions
from trustbase.data.reference import is_database
from trustbase.data.rows import BadRow, RawTable, check_rows
from trustbase.data.source import read_columns, read_table
from trustbase.data.split_options import ToleranceOptions
from trustbase.data.template import TextTemplate, unknown_column
from trustbase.data.times import Moments
from trustbase.data.truth.base import Read, Truth, truth_of
from trustbase.errors import DataError, Problem, problems_of
from trustbase.events import Emit
from trustbase.records import LabelSchema

_S = TypeVar("_S")


@dataclass
class Source:
    """One file, or what else one reference means: its rows, their texts, and which part each row is for."""

    reference: str
    raw: RawTable
    texts: list[str] = field(default_factory=list)
    parts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    named: tuple[str, ...] = ()  # parts that a split column names
    bad: list[BadRow] = field(default_factory=list)  # found after reading
    entities: NDArray[np.uint64] | None = None  # key of whose row each is, where rows are divided by entity
    moments: Moments | None = None  # when each happened, where they are divided by time
    truth: Read | None = None  # what the label column says

    def rows(self) -> NDArray[np.int64]:
        """Indices of all rows."""
        return np.arange(len(self.raw))

    def used(self) -> NDArray[np.bool_]:
        """Whether each row is in a part, `(rows,)`."""
        found = np.zeros(len(self.raw), dtype=bool)
        for rows in self.parts.values():
            found[rows] = True
        return found

    def coded(self, column: str, *, trimmed: bool = True) -> Coded:
        """A column whose values repeat: labels, entities, parts, times; `trimmed` without blanks around them."""
        values = self.raw.table[column]
        return coded(pc.utf8_trim_whitespace(values) if trimmed else values)

    def label_cells(self, column: str, rows: NDArray[np.int64]) -> pa.ChunkedArray:
        """What the training rows say of their labels."""
        return self.raw.table[column].take(pa.array(rows))

    def read_truth(self, truth: Truth, column: str, schema: LabelSchema, *, whose: str) -> Read:
        """The truth of all rows."""
        return truth.read(self.raw.table[column], schema, self.texts, whose=whose)

    def needed(
        self, truth: Truth, column: str, schema: LabelSchema, rows: NDArray[np.int64], taken: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Which of the taken rows show what no other one of `rows` does (`Truth.needed`), `(rows,)`."""
        assert self.truth is not None
        return truth.needed(self.truth.values[rows], taken, schema)

    def entity_keys(self, column: str) -> NDArray[np.uint64]:
        """A key for each row's entity (`split.entity_keys`)."""
        return split.entity_keys(self.coded(column))

    def keys(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Keys of the texts of these rows (`split.keys`)."""
        return split.keys([self.texts[row] for row in rows])


def options_of(values: Mapping[str, Any]) -> DataOptions:
    """The options of a call that has no recipe.

    Raises:
        DataError: they cannot be; every problem, by the name of its option.
    """
    try:
        return DataOptions.model_validate(dict(values))
    except ValidationError as error:
        problems = [
            Problem(".".join(map(str, item["loc"])) or "data", item["msg"].removeprefix("Value error, ")) for item in error.errors()
        ]
        raise DataError("the data cannot be read like this", problems=problems) from error


def check_columns(options: DataOptions, root: Path) -> list[Problem]:
    """What is wrong with files and columns as far as headers show it; cheap enough for reading a recipe."""
    problems: list[Problem] = []
    if options.query is not None and not is_database(options.train):
        problems.append(
            Problem("data.query", f"stands beside {options.train}, which is no database", "remove it, or give data.train a URL")
        )
    for name in (*split.PARTS, "out_of_time"):
        reference = getattr(options, name)
        if reference is None:
            continue
        try:
            columns = read_columns(reference, root=root, format=options.format, quoted=options.quoted, query=options.query)
        except DataError as error:
            where = f"data.{name}"
            problems += [replace(item, where=where, message=item.said) for item in problems_of(error, "")]
            continue
        found = _column_problems(options, columns, split_column=name == "train")
        problems += [problem for problem in found if problem not in problems]
    return problems


def read_sources(options: DataOptions, root: Path, answers: str = "classes") -> tuple[TextTemplate, dict[str, Source]]:
    """Every file's rows; problems of all files are raised together."""
    template = template_of(options, root)

    def read(name: str, reference: str) -> Source:
        raw = with_choices(_read(options, reference, template, root, answers, first=name == "train"), options.label, template)
        return Source(reference, raw, template.render_table(raw.table))

    return template, each_source(options, read)


def template_of(options: DataOptions, root: Path) -> TextTemplate:
    """How columns become text, once headers were found to be as described.

    Raises:
        DataError: they are not; every problem.
    """
    problems = check_columns(options, root)
    if problems:
        raise DataError("the data is not as described", problems=problems)
    columns = read_columns(options.train, root=root, format=options.format, quoted=options.quoted, query=options.query)
    return TextTemplate.parse(options.reading, columns, missing=options.missing, names=tuple(options.read_together))


def each_source(options: DataOptions, read: Callable[[str, str], _S]) -> dict[str, _S]:
    """What `read` makes of each file that the recipe names, by the name it has there; problems of all are raised together.

    Raises:
        DataError: `read` raised it for some of them.
    """
    sources: dict[str, _S] = {}
    problems: list[Problem] = []
    for name in split.PARTS:
        reference = getattr(options, name)
        if reference is None:
            continue
        try:
            sources[name] = read(name, reference)
        except DataError as error:
            problems += problems_of(error, f"data.{name}")
    if problems:
        raise DataError("the data cannot be read", problems=problems)
    return sources


def _read(options: DataOptions, reference: str, template: TextTemplate, root: Path, answers: str, *, first: bool) -> RawTable:
    asked, truth = asked_of(options, template, answers, first=first), truth_of(answers)
    raw = read_table(reference, root=root, format=options.format, quoted=options.quoted, query=options.query, **asked)
    table, notes = truth.tidy(raw.table, template.whole, options.label)
    return check_rows(replace(raw, table=table, notes=raw.notes + notes), unique=options.id, **checks_of(options, template))


def checks_of(options: DataOptions, template: TextTemplate) -> dict[str, Any]:
    """What `check_rows` asks of each row."""
    features = options.features
    return {
        "label": options.label,
        "text": template.whole,
        "shown": template.composed,
        "spans": template.entities,
        "cells": features.columns,
        "numeric": features.numeric,
    }


def asked_of(options: DataOptions, template: TextTemplate, answers: str = "classes", *, first: bool) -> dict[str, Any]:
    """The columns that are asked of a source, and which of them may lack or must be whole; `first` where a split column may stand in it."""
    extra = [options.split.column] if first and options.split.column else []
    extra += [options.id] if options.id else []
    key = options.split.key
    extra += [key] if key else []
    features, truth = options.features.columns, truth_of(answers)
    wanted = list(dict.fromkeys([*template.columns, *features, options.label, *options.groups, *extra]))
    optional = set(options.groups) - set(template.columns) - set(features) - {key}
    whole = [options.label] if answers == "classes" else []
    whole += [key] if key and options.split.by_entity else []  # 12 and 12.0 would be two labels, or two entities
    nested = [*([options.label] if truth.nested else []), *template.entities]
    nested += template.whole if truth.nested_text else []
    return {"columns": wanted, "optional": optional, "whole": tuple(whole), "nested": nested}


def with_choices(raw: RawTable, label: str, template: TextTemplate) -> RawTable:
    """The same rows, whose label cells name the right choice where there are choices."""
    names = choices.choice_names(template)
    if not names:
        return raw
    place = raw.table.column_names.index(label)
    return replace(raw, table=raw.table.set_column(place, label, choices.named(raw.table[label], names)))


def judge_bad_rows(options: DataOptions, sources: Mapping[str, Source], emit: Emit) -> None:
    """Stop on bad rows, or leave them out where the recipe tolerates that many.

    Raises:
        DataError: more bad rows than tolerated; every one is named.
    """
    for source in sources.values():
        found = _merge(source.bad)
        source.bad = found
        if found:
            gone = np.array([item.row for item in found], dtype=np.int64)
            places = np.minimum(np.searchsorted(source.raw.row_numbers, gone), len(source.raw) - 1)  # rows stand in their order
            keep = np.ones(len(source.raw), bool)
            keep[places[source.raw.row_numbers[places] == gone]] = False
            source.parts = {name: rows[keep[rows]] for name, rows in source.parts.items()}
    problems = [problem for source in sources.values() for problem in bad_problems(source)]
    total = sum(source.raw.total for source in sources.values())
    most = options.tolerance.most(total)
    if len(problems) > most:
        allowed = "none may be left out" if options.tolerance == ToleranceOptions(rows=0) else f"data.tolerance allows {most:,}"
        reasons = by_reason([item for source in sources.values() for item in all_bad(source)])
        raise DataError(
            f"{len(problems):,} of {total:,} rows cannot be used, and {allowed}{reasons}",
            problems=problems,
            hint=f"{_advice(sources)}; in a recipe, data.tolerance leaves up to that many out (counted and listed in the data card)",
        )
    if problems:
        emit("warning", text=f"{len(problems):,} of {total:,} rows cannot be used and are left out, as data.tolerance allows")


def _advice(sources: Mapping[str, Source]) -> str:
    """What to do about the bad rows of all files; each step once."""
    steps = [step for source in sources.values() for step in advice(all_bad(source), source.reference)]
    return "; ".join(dict.fromkeys(steps))


def _merge(bad: Sequence[BadRow]) -> list[BadRow]:
    """One entry for each row, with all its reasons."""
    by_row: dict[int, list[BadRow]] = {}
    for item in bad:
        by_row.setdefault(item.row, []).append(item)
    merged = []
    for _, items in sorted(by_row.items()):
        merged.append(
            replace(
                items[0],
                kind="; ".join(item.kind for item in items),
                detail="; ".join(item.detail for item in items if item.detail),
            )
        )
    return merged


def all_bad(source: Source) -> list[BadRow]:
    return sorted([*source.raw.bad_rows, *source.bad], key=lambda item: item.row)


def bad_problems(source: Source) -> list[Problem]:
    """`file:line: reason` of every bad row, found while it was read or after."""
    return [Problem(item.where(source.reference), item.reason) for item in all_bad(source)]


def _column_problems(options: DataOptions, columns: Sequence[str], *, split_column: bool) -> list[Problem]:
    """Columns that the recipe names and a file does not have."""
    problems = []
    try:
        template = TextTemplate.parse(options.reading, columns, missing=options.missing, names=tuple(options.read_together))
        if options.label in template.columns:
            problems.append(Problem("data.text", f"the template shows the label '{options.label}' to the model", "take it out"))
        for name in set(template.whole) & set(options.groups):
            message = f"'{name}' is the text itself, and nearly every row would be a group of its own"
            problems.append(Problem("data.groups", message, "name columns with few values"))
    except DataError as error:
        problems += error.problems
    named = [("data.label", options.label), *(("data.groups", name) for name in options.groups)]
    named += [(f"data.features.{kind}", name) for kind in ("numeric", "categorical") for name in getattr(options.features, kind)]
    if options.id is not None:
        named.append(("data.id", options.id))
    if options.split.key is not None:
        named.append((f"data.split.by.{'entity' if options.split.by_entity else 'time'}", options.split.key))
    if options.split.column is not None and split_column:
        named.append(("data.split.column", options.split.column))
    return problems + [unknown_column(where, name, columns) for where, name in named if name not in columns]
