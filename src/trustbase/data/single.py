"""One file read alone, as rows that a model is asked about: nothing is divided, and nobody wrote a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data import split
from trustbase.data.apart import refuse_no_numbers
from trustbase.data.choices import known
from trustbase.data.divide import read_keys
from trustbase.data.doubtful import far_labels
from trustbase.data.gather import Source, judge_bad_rows, options_of, read_sources
from trustbase.data.labels import make_schema
from trustbase.data.making import make_split
from trustbase.data.marked import three_columns
from trustbase.data.options import DataOptions, FeatureOptions
from trustbase.data.pair import sides
from trustbase.data.reference import Format
from trustbase.data.schema import read_truth, schema_of
from trustbase.data.template import DEFAULT_MISSING, TextTemplate
from trustbase.data.truth.base import truth_of
from trustbase.errors import DataError
from trustbase.events import Emit, ignore
from trustbase.records import LabelSchema, Split


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
    values = {"train": str(path), **_texts(text, answers), "label": label, "groups": list(groups), **_divided_by(entity, time)}
    named: dict[str, Any] = {"format": format, "missing": missing, "positive": positive, "favourable": favourable, "quoted": quoted}
    options = options_of({**values, **named, **({} if features is None else {"features": features.model_dump()})})
    truth = truth_of(answers)
    template, sources = read_sources(options, root or Path(), answers)
    source = sources["train"]
    source.parts = {name: _rows_of(name, source, options)}
    read_keys(options, sources, like=time[1] if time else None)
    refuse_no_numbers(sources, numbers)
    schema = schema_of(options, sources, truth, template, of=name) if labels is None else _renamed(labels, positive, favourable)
    read_truth(options, schema, sources, truth, whose=known(template, "that the model knows"))
    judge_bad_rows(options, sources, ignore)
    for warning in far_labels(truth, sources, options.label, of=name):
        emit("warning", text=warning)
    return make_split(name, options, schema, template, source, 0, truth)[0], schema, template


def _divided_by(entity: str | None, time: tuple[str, str] | None) -> dict[str, Any]:
    """The option by which entities or times of rows are read."""
    by = {"time": time[0]} if time else {"entity": entity} if entity else None
    return {} if by is None else {"split": {"by": by}}


def _rows_of(name: str, source: Source, options: DataOptions) -> NDArray[np.int64]:
    """Rows of the part that is read, where a sample has one of that name; all of them where it has none."""
    if options.split.column is None:
        return source.rows()
    parts, _ = split.by_column(source.coded(options.split.column, trimmed=False))
    return parts.get(name, source.rows())


def _texts(text: str, answers: str) -> dict[str, Any]:
    """The options that say what the model reads, from what `DataOptions.reading` makes of them."""
    if (named := three_columns(text)) is not None:
        return dict(zip(("text", "head", "tail"), named, strict=True))
    first, *others = sides(text)
    if answers == "span" and len(others) == 1:
        return {"question": first, "text": others[0]}
    return {"text": first, "text_pair": others[0] if len(others) == 1 else None, "choices": others if len(others) > 1 else []}


def _renamed(schema: LabelSchema, positive: str | None, favourable: str | None) -> LabelSchema:
    """A model's own labels, with the positive and favourable ones that the caller names."""
    if positive is None and favourable is None:
        return schema
    one, other = positive or schema.positive, favourable or schema.favourable
    named = make_schema(schema.names, positive=one, favourable=other, neutral=schema.neutral)
    assumed = (positive is None and schema.positive_assumed, favourable is None and schema.favourable_assumed)
    return replace(named, names=schema.names, positive_assumed=assumed[0], favourable_assumed=assumed[1])
