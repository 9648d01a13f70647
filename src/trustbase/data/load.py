"""From files to splits: read, check, render, divide, and only then make the records that every later stage uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase import files, seeds
from trustbase.data import clean, groups, labels, split
from trustbase.data.advice import advice
from trustbase.data.apart import refuse_no_numbers, take_columns, told
from trustbase.data.cells import inputs_of, with_cells
from trustbase.data.choices import choice_names, known
from trustbase.data.digest import digest_numbers, digest_rows
from trustbase.data.divide import cut_calibration, divide, read_keys
from trustbase.data.doubtful import far_labels
from trustbase.data.facts import facts_across, shared_texts, source_facts, split_facts
from trustbase.data.gather import Source, all_bad, bad_problems, check_columns, judge_bad_rows, options_of, read_sources
from trustbase.data.marked import three_columns
from trustbase.data.options import DataOptions, FeatureOptions
from trustbase.data.order import order_facts
from trustbase.data.pair import sides
from trustbase.data.reference import Format
from trustbase.data.source import source_digest
from trustbase.data.template import DEFAULT_MISSING, TextTemplate
from trustbase.data.truth.base import Named, Truth, truth_of
from trustbase.errors import DataError, Problem
from trustbase.events import Emit, ignore
from trustbase.records import LabelSchema, Split

__all__ = ["Dataset", "check_columns", "dataset_digest", "load", "load_single", "read_truth", "schema_of", "source_digests"]


_FEWEST = 2  # rows of a split


@dataclass(frozen=True, eq=False)
class Dataset:
    """All splits of a run, and what was found while they were made.

    Attributes:
        splits: "train", "validation", "test" → rows; "calibration" too, where rows are kept apart for the audit's thresholds.
        labels: the label schema.
        template: how columns become text.
        facts: counts and choices for the data card; aggregates only.
        digest: `sha256:…` over the splits' digests, the labels and the template.
        answers: answer kind of the task that the rows are for.
    """

    splits: Mapping[str, Split]
    labels: LabelSchema
    template: TextTemplate
    facts: dict[str, Any]
    digest: str
    answers: str = "classes"


def load(
    options: DataOptions,
    *,
    root: Path,
    seed: int,
    answers: str = "classes",
    apart: bool = False,
    calibrate: bool = False,
    emit: Emit = ignore,
) -> Dataset:
    """Read the rows that the recipe describes.

    Args:
        options: the recipe's `data` section.
        root: folder that relative paths start from.
        seed: seed of the run; only `data.sample` uses it.
        answers: answer kind of the task: how the label column is read.
        apart: whether the model reads the columns of a template one by one.
        calibrate: whether training rows are kept apart for calibration (`data.split.calibration`).
        emit: told what a reader of the log should know.

    Raises:
        DataError: files, columns, labels or rows are not as described; every problem is in it.
    """
    truth = truth_of(answers)
    template, sources = read_sources(options, root, answers)

    def make(schema: LabelSchema) -> Made:
        made = {name: make_split(name, options, schema, template, _source_of(name, sources), seed, truth) for name in parts_of(sources)}
        splits = {name: part for name, (part, _) in made.items()}
        return splits, {name: facts for name, (_, facts) in made.items()}, lambda: shared_texts(splits)

    return assemble(options, template, sources, make, answers, emit, apart=apart, calibrate=calibrate)


Made = tuple[dict[str, Split], dict[str, dict[str, Any]], Callable[[], dict[str, int]]]  # splits, their facts, texts that they share


def assemble(
    options: DataOptions,
    template: TextTemplate,
    sources: Mapping[str, Source],
    make: Callable[[LabelSchema], Made],
    answers: str,
    emit: Emit,
    *,
    apart: bool = False,
    calibrate: bool = False,
) -> Dataset:
    """From sources that were read to a data set: which part each row is for, which rows are bad, and what is known of all splits.

    Args:
        options: the recipe's `data` section.
        template: how columns become text.
        sources: what was read.
        make: the splits, once every row is known to be for a part and every label is known.
        answers: answer kind of the task.
        emit: told what a reader of the log should know.
        apart: whether the model reads the columns of a template one by one.
        calibrate: whether training rows are kept apart for calibration.

    Raises:
        DataError: rows, labels or parts are not as they must be; every problem is in it.
    """
    truth = truth_of(answers)
    divide(options, sources)
    columns = take_columns(template, sources) if apart and template.apart else {}
    schema = schema_of(options, sources, truth, template)
    read_truth(options, schema, sources, truth, whose=known(template, "of the training rows"))
    judge_bad_rows(options, sources, emit)
    if calibrate and (why := cut_calibration(options, sources, truth, schema)):
        emit("note", text=f"no rows are kept apart for calibration: {why}")
    if calibrate and answers == "number":  # mean and spread are learned too, and of training rows alone
        schema = schema_of(options, sources, truth, template)
    facts = source_facts(options, template, sources)
    _refuse_few({name: len(_source_of(name, sources).parts.get(name, ())) for name in split.SPLITS})
    for text in far_labels(truth, sources, options.label):
        emit("warning", text=text)
    splits, facts["splits"], shared = make(schema)
    _refuse_few({name: len(part) for name, part in splits.items()})
    if not choice_names(template):  # a choice is weighed by what it says, and not by its place
        _refuse_unlearnable(splits["train"], schema, truth)
    facts.update(facts_across(splits, facts, schema, shared()))
    if columns:
        facts["columns"] = columns
        emit("note", text=f"columns are read one by one, {told(columns)}")
    _add_order(facts, order_facts(options, splits, sources), emit)
    for text in facts["notes"]:
        emit("note", text=text)
    return Dataset(splits, schema, template, facts, dataset_digest(splits, schema, template), answers)


def parts_of(sources: Mapping[str, Source]) -> tuple[str, ...]:
    """The parts that there are: those that every run has, and one for calibration where some rows are for it."""
    apart = any(len(source.parts.get(split.CALIBRATION, ())) for source in sources.values())
    return split.PARTS if apart else split.SPLITS


def _add_order(facts: dict[str, Any], order: Mapping[str, Any], emit: Emit) -> None:
    """What entities or times say, among the facts of each part, of all of them, and in the log."""
    if not order:
        return
    for name, found in order["parts"].items():
        facts["splits"][name]["order"] = found
    facts["order"] = {"shared": order["shared"], "warnings": order["warnings"]}
    for text in order["warnings"]:
        emit("warning", text=text)


@contextmanager
def _no_recipe() -> Iterator[None]:
    """Nobody wrote a recipe here, so no section of one is named."""
    try:
        yield
    except DataError as error:
        told = [replace(item, where=item.where.removeprefix("data.")) for item in error.problems]
        raise DataError(error.message, hint=error.hint, problems=told) from error


@_no_recipe()
def load_single(
    path: str | Path,
    *,
    text: str,
    label: str,
    groups: Sequence[str] = (),
    labels: LabelSchema | None = None,
    name: str = "test",
    root: Path | None = None,
    format: Format | None = None,
    missing: str = DEFAULT_MISSING,
    positive: str | None = None,
    favourable: str | None = None,
    quoted: bool = True,
    answers: str = "classes",
    features: FeatureOptions | None = None,
    numbers: Sequence[str] = (),
    entity: str | None = None,
    time: tuple[str, str] | None = None,
    emit: Emit = ignore,
) -> tuple[Split, LabelSchema, TextTemplate]:
    """Read one file as one split, without dividing it; of a sample that has parts, the part called `name`.

    Args:
        path: the file, or `sample:NAME`.
        text: a column, or a template over columns; of texts that are read together, all (`trustbase.data.pair.join`); with entities,
            `marked.columns_of`.
        label: column of the true label.
        groups: columns to audit by.
        labels: the labels of a model that is to be audited; taken from the file where there are none.
        name: name of the split.
        root: folder that relative paths start from; the working folder by default.
        format: what the file is, where its name does not say it.
        missing: what the template writes for an empty cell.
        positive: label that thresholds speak about, where `labels` is not given.
        favourable: label that counts as selected, where `labels` is not given.
        quoted: whether cells of a csv or tsv file may be quoted.
        answers: answer kind of the model or task: how the label column is read.
        features: columns that the model reads beside the text.
        numbers: columns of the template that the model takes for numbers.
        entity: column of whom a row is about, where several rows may be of one; intervals then allow for it.
        time: column of times, which each row must have, and a time of the kind that they must be of.
        emit: told of labels that may be slips.

    Raises:
        DataError: the file, a column, or any row cannot be used; every problem is in it.
    """
    values = {"train": str(path), **_texts(text, answers), "label": label, "groups": list(groups)}
    named: dict[str, Any] = {"format": format, "missing": missing, "positive": positive, "favourable": favourable, "quoted": quoted}
    if features is not None:
        named["features"] = features.model_dump()
    if entity:
        named["split"] = {"by": {"entity": entity}}
    if time:
        named["split"] = {"by": {"time": time[0]}}
    options = options_of({**values, **named})
    truth = truth_of(answers)
    template, sources = read_sources(options, root or Path(), answers)
    source = sources["train"]
    rows = np.arange(len(source.raw))
    if options.split.column is not None:
        rows = split.by_column(source.coded(options.split.column, trimmed=False))[0].get(name, rows)
    source.parts = {name: rows}
    read_keys(options, sources, like=time[1] if time else None)
    refuse_no_numbers(sources, numbers)
    schema = schema_of(options, sources, truth, template, of=name) if labels is None else _renamed(labels, positive, favourable)
    read_truth(options, schema, sources, truth, whose=known(template, "that the model knows"))
    judge_bad_rows(options, sources, ignore)
    for warning in far_labels(truth, sources, options.label, of=name):
        emit("warning", text=warning)
    return make_split(name, options, schema, template, source, 0, truth)[0], schema, template


def _texts(text: str, answers: str) -> dict[str, Any]:
    """The options that say what the model reads, from what `DataOptions.reading` makes of them."""
    if (named := three_columns(text)) is not None:
        return dict(zip(("text", "head", "tail"), named, strict=True))
    first, *others = sides(text)
    if answers == "span" and len(others) == 1:
        return {"question": first, "text": others[0]}
    return {"text": first, "text_pair": others[0] if len(others) == 1 else None, "choices": others if len(others) > 1 else []}


def source_digests(options: DataOptions, *, root: Path) -> dict[str, str]:
    """`sha256:…` of every file that the recipe names, by the name it has there.

    Raises:
        DataError: a file is not there.
    """
    found = {}
    for name in split.PARTS:
        reference = getattr(options, name)
        if reference is not None:
            try:
                found[name] = source_digest(reference, root, options.query)
            except DataError as error:
                raise DataError(f"data.{name}: {error.message}", hint=error.hint, problems=error.problems) from error
    return found


def dataset_digest(splits: Mapping[str, Split], schema: LabelSchema, template: TextTemplate) -> str:
    """`sha256:…` of all that a later stage can see."""
    named = [schema.names, schema.positive, schema.favourable, *([] if schema.neutral is None else [schema.neutral])]
    told = {"splits": {name: part.digest for name, part in splits.items()}, "labels": named, "text": template.source}
    owners = {name: digest_numbers(part.entities) for name, part in splits.items() if part.entities is not None}
    return files.digest_json({**told, "entities": owners} if owners else told)


def schema_of(options: DataOptions, sources: Mapping[str, Source], truth: Truth, template: TextTemplate, of: str = "train") -> LabelSchema:
    """What scores stand for, from the training rows (from the only rows, where one file is read alone)."""
    source = sources["train"]
    rows = source.parts.get(of, np.zeros(0, np.int64))
    if not len(rows):
        if bad := all_bad(source):  # the bad rows may be the reason, so they are what to say
            whose = f"{of} " if of in split.PARTS else ""
            message = f"{source.reference}: no {whose}rows are left beside the bad rows, {len(bad):,} of {source.raw.total:,}"
            raise DataError(message, problems=bad_problems(source), hint="; ".join(advice(bad, source.reference)))
        raise DataError(f"{source.reference} has no {of} rows", hint="give more rows, or divide them in another way (data.split)")
    column = source.label_cells(options.label, rows)
    try:
        roles = Named(options.label, options.positive, options.favourable, source.reference, options.no_relation, choice_names(template))
        return truth.schema(column, roles)
    except DataError as error:
        if beside := bad_problems(source):
            problems = [*error.problems, *beside]
            raise DataError(f"{source.reference}: {error.message}, beside the bad rows", problems=problems) from error
        raise


def _renamed(schema: LabelSchema, positive: str | None, favourable: str | None) -> LabelSchema:
    """A model's own labels, with the positive and favourable ones that the caller names."""
    if positive is None and favourable is None:
        return schema
    one, other = positive or schema.positive, favourable or schema.favourable
    named = labels.make_schema(schema.names, positive=one, favourable=other, neutral=schema.neutral)
    assumed = (positive is None and schema.positive_assumed, favourable is None and schema.favourable_assumed)
    return replace(named, names=schema.names, positive_assumed=assumed[0], favourable_assumed=assumed[1])


def read_truth(options: DataOptions, schema: LabelSchema, sources: Mapping[str, Source], truth: Truth, *, whose: str) -> None:
    """Read the label columns; rows whose truth cannot be used become bad rows, as no model can answer them rightly."""
    for source in sources.values():
        source.truth = source.read_truth(truth, options.label, schema, whose=whose)
        used = source.used()
        for row, (kind, detail) in sorted(source.truth.bad.items()):
            if used[row]:
                source.bad.append(source.raw.as_bad(row, f"column '{options.label}' {kind}", detail))


def _source_of(name: str, sources: Mapping[str, Source]) -> Source:
    return sources.get(name, sources["train"])


def make_split(
    name: str, options: DataOptions, schema: LabelSchema, template: TextTemplate, source: Source, seed: int, truth: Truth
) -> tuple[Split, dict[str, Any]]:
    """One split and its facts.

    Raises:
        DataError: no row is for it.
    """
    rows = source.parts.get(name, np.zeros(0, np.int64))
    refuse_empty(name, rows, source)
    assert source.truth is not None
    values = source.truth.values
    found = len(rows)
    if options.deduplicate:
        own = source.raw.table.take(pa.array(rows))
        texts = pa.array(with_cells([source.texts[row] for row in rows], own, options.features.columns), pa.large_string())
        rows = rows[clean.one_of_each(texts, truth.codes(values[rows], schema))]
    distinct = len(rows)
    rows = sample(rows, getattr(options.sample, name, None), seed, name)
    table = source.raw.table.take(pa.array(rows))
    texts_, grouped = [source.texts[row] for row in rows.tolist()], groups.read_groups(table, options.groups)
    features = options.features.columns
    named = {column: groups_.tolist() for column, groups_ in grouped.items()}
    digest = digest_rows(with_cells(texts_, table, features), truth.write(values[rows], schema), named)
    made = Split(
        name=name,
        texts=texts_,
        labels=values[rows],
        groups=grouped,
        table=table.select(list(dict.fromkeys([*template.columns, *features]))),
        row_numbers=source.raw.row_numbers[rows],
        source=source.reference,
        digest=digest,
        features=features,
        entities=None if source.entities is None else source.entities[rows].view(np.int64),
    )
    used = dict.fromkeys([*template.columns, *features, *options.groups])
    missing = {column: table[column].null_count for column in used}
    counts: dict[str, Any] = {
        "rows_found": found,
        "duplicates_removed": found - distinct,
        "sampled_from": distinct if len(rows) < distinct else None,
    }
    trimmed = labels.label_texts(table[options.label])[1]
    repeats = clean.count_repeats(pa.array(inputs_of(made, features), pa.large_string()), truth.codes(made.labels, schema))
    counted: dict[str, Any] = {"repeats": repeats, "grouped": groups.count_groups(grouped), "missing": missing, "labels_trimmed": trimmed}
    return made, split_facts(made, schema, source, truth, **counted, **counts)


def refuse_empty(name: str, rows: NDArray[np.int64], source: Source) -> None:
    """A split needs a row.

    Raises:
        DataError: no row is for it.
    """
    if not len(rows):
        hint = f"give more rows, a larger data.split.{name}, or a file of its own"
        raise DataError(f"the {name} split has no rows ({source.reference} holds {len(source.raw):,} usable rows)", hint=hint)


def sample(rows: NDArray[np.int64], size: int | None, seed: int, name: str) -> NDArray[np.int64]:
    """A seeded part of the rows, in their order; all of them where there are not more."""
    if size is None or size >= len(rows):
        return rows
    return np.sort(seeds.generator(seed, "data", "sample", name).choice(rows, size, replace=False))


def _refuse_few(rows: Mapping[str, int]) -> None:
    """Choosing and measuring need rows: one alone says nothing (training needs one of each label, which is asked elsewhere)."""
    few = [
        Problem(f"data.{name}", f"rows for {name}: {count}")
        for name, count in rows.items()
        if (count < _FEWEST and name != "train") or not count
    ]
    if few:
        found = ", ".join(f"{name} {count:,}" for name, count in rows.items())
        raise DataError(
            f"too few rows: each split needs at least {_FEWEST}, found {found}",
            problems=few,
            hint="give more rows, larger shares (data.split.validation, data.split.test), larger data.sample, or files of their own",
        )


def _refuse_unlearnable(train: Split, schema: LabelSchema, truth: Truth) -> None:
    """What is learned must show in the training rows that are left after sampling."""
    problems = truth.refused(train.labels, schema)
    if problems:
        raise DataError(f"{len(train):,} sampled training rows do not show every label", problems=problems, hint="give more training rows")
