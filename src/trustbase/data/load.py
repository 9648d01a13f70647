"""From files to splits: read, check, render, divide, and only then make the records that every later stage uses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from trustbase.data import large, split
from trustbase.data.assemble import Made, assemble, parts_of, source_of
from trustbase.data.dataset import Dataset
from trustbase.data.facts import shared_texts
from trustbase.data.gather import Source, read_sources, template_of
from trustbase.data.making import make_split
from trustbase.data.options import DataOptions
from trustbase.data.source import source_digest
from trustbase.data.template import TextTemplate
from trustbase.data.truth.base import truth_of
from trustbase.errors import DataError
from trustbase.events import Emit, ignore
from trustbase.records import LabelSchema


def load(
    options: DataOptions,
    *,
    root: Path,
    seed: int,
    store: Path | None = None,
    answers: str = "classes",
    apart: bool = False,
    calibrate: bool = False,
    emit: Emit = ignore,
) -> Dataset:
    """Read the rows that the recipe describes: as a whole, or streamed into files of `store`. Both give the same splits.

    Args:
        options: the recipe's `data` section; `memory` says how, or leaves it to the size of the files.
        root: folder that relative paths start from.
        seed: seed of the run; only `data.sample` uses it.
        store: a folder for the rows of large sources, until `save_dataset` takes them from there; without one all rows are read whole.
        answers: answer kind of the task: how the label column is read; of classes alone rows are streamed.
        apart: whether the model reads the columns of a template one by one; rows are then read whole.
        calibrate: whether training rows are kept apart for calibration (`data.split.calibration`).
        emit: told what a reader of the log should know.

    Raises:
        DataError: files, columns, labels or rows are not as described; every problem is in it.
    """
    finish = partial(assemble, options, answers=answers, apart=apart, calibrate=calibrate, emit=emit)
    if store is not None:
        template = template_of(options, root)
        if large.is_streamed(options, template, root, answers=answers, apart=apart):
            emit("note", text="the rows are streamed: their texts stay on disk")
            surveyed = large.survey_all(options, template, root)
            return finish(template, surveyed, partial(large.make_streamed, options, template, surveyed, seed, store))
    template, sources = read_sources(options, root, answers)
    return finish(template, sources, partial(_make_whole, options, template, sources, seed, answers))


def _make_whole(
    options: DataOptions, template: TextTemplate, sources: Mapping[str, Source], seed: int, answers: str, schema: LabelSchema
) -> Made:
    """Every split in memory, and what is known of it."""
    truth = truth_of(answers)
    made = {name: make_split(name, options, schema, template, source_of(name, sources), seed, truth) for name in parts_of(sources)}
    splits = {name: part for name, (part, _) in made.items()}
    return splits, {name: facts for name, (_, facts) in made.items()}, lambda: shared_texts(splits)


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
