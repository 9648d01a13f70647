"""From sources that were read to a data set: which part each row is for, which rows are bad, and what is known of all splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from trustbase.data import split
from trustbase.data.apart import take_columns, told
from trustbase.data.choices import choice_names, known
from trustbase.data.dataset import Dataset, dataset_digest
from trustbase.data.divide import cut_calibration, divide
from trustbase.data.doubtful import far_labels
from trustbase.data.facts import facts_across, source_facts
from trustbase.data.gather import Source, judge_bad_rows
from trustbase.data.options import DataOptions
from trustbase.data.order import order_facts
from trustbase.data.schema import read_truth, schema_of
from trustbase.data.template import TextTemplate
from trustbase.data.truth.base import Truth, truth_of
from trustbase.errors import DataError, Problem
from trustbase.events import Emit
from trustbase.records import LabelSchema, Split

_FEWEST = 2  # rows of a split

_S = TypeVar("_S", bound=Source)

Made = tuple[dict[str, Split], dict[str, dict[str, Any]], Callable[[], dict[str, int]]]  # splits, their facts, texts that they share


def assemble(
    options: DataOptions,
    template: TextTemplate,
    sources: Mapping[str, Source],
    make: Callable[[LabelSchema], Made],
    *,
    answers: str,
    apart: bool,
    calibrate: bool,
    emit: Emit,
) -> Dataset:
    """Divide rows, read their labels, judge the bad ones, and make the splits of the others.

    Args:
        options: the recipe's `data` section.
        template: how columns become text.
        sources: what was read.
        make: the splits, once every row is known to be for a part and every label is known.
        answers: answer kind of the task.
        apart: whether the model reads the columns of a template one by one.
        calibrate: whether training rows are kept apart for calibration.
        emit: told what a reader of the log should know.

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
    _refuse_few({name: len(source_of(name, sources).parts.get(name, ())) for name in split.SPLITS})
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


def source_of(name: str, sources: Mapping[str, _S]) -> _S:
    """Where the rows of a part come from: a file of its own, else that of the training rows."""
    return sources.get(name, sources["train"])


def _add_order(facts: dict[str, Any], order: Mapping[str, Any], emit: Emit) -> None:
    """What entities or times say, among the facts of each part, of all of them, and in the log."""
    if not order:
        return
    for name, found in order["parts"].items():
        facts["splits"][name]["order"] = found
    facts["order"] = {"shared": order["shared"], "warnings": order["warnings"]}
    for text in order["warnings"]:
        emit("warning", text=text)


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
