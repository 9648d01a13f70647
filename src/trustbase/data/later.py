"""A set of its own beside the test rows: later rows, by which it shows how a model holds once time has gone on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data import split
from trustbase.data.load import Dataset, dataset_digest, load_single
from trustbase.data.options import DataOptions
from trustbase.data.reference import Format, says_format
from trustbase.data.source import read_table
from trustbase.data.times import read_moments
from trustbase.errors import DataError
from trustbase.events import Emit
from trustbase.finding_id import OUT_OF_TIME

_AT_ONCE = 16_384  # texts


def load_later(options: DataOptions, dataset: Dataset, *, root: Path, emit: Emit) -> Dataset:
    """Read the file that `data.out_of_time` names, whole, as the training rows were read.

    Args:
        options: the recipe's `data` section.
        dataset: the splits of the run, whose labels and text these rows must have.
        root: folder that relative paths start from.
        emit: told of texts that training saw too, and of rows that are not later than all test rows.

    Raises:
        DataError: the file, a column, or any row cannot be used; every problem is in it.
    """
    assert options.out_of_time is not None
    column = None if options.split.by_entity else options.split.key
    last = dataset.facts["splits"]["test"]["order"]["last"] if column else ""
    try:
        part, labels, template = load_single(
            options.out_of_time,
            text=options.reading,
            label=options.label,
            groups=options.groups,
            labels=dataset.labels,
            name=OUT_OF_TIME,
            root=root,
            format=_format_of(options, options.out_of_time),
            missing=options.missing,
            quoted=options.quoted,
            entity=options.split.key if options.split.by_entity else None,
            answers=dataset.answers,
            features=options.features,
            time=(column, last) if column else None,
        )
    except DataError as error:
        raise DataError(f"data.out_of_time: {error.message}", hint=error.hint, problems=error.problems) from error
    if template.source != dataset.template.source:
        raise DataError(f"data.out_of_time: its text is '{template.source}', that of the training rows '{dataset.template.source}'")
    seen = split.overlap_of_keys(_keys(dataset.splits["train"].texts), _keys(part.texts))
    if seen:
        emit("note", text=f"{seen:,} of {len(part):,} rows of data.out_of_time have a text that also stands in train")
    if column:
        _warn_of_early(options, options.out_of_time, column, last, root, emit)
    splits = {OUT_OF_TIME: part}
    return Dataset(
        splits, labels, template, {"rows": len(part), "in_train": seen}, dataset_digest(splits, labels, template), dataset.answers
    )


def _format_of(options: DataOptions, reference: str) -> Format | None:
    """What the file is where its name does not say it."""
    return None if says_format(reference) else options.format


def _keys(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Keys of texts that need not all stand in memory."""
    return np.concatenate([split.keys(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE)])


def _warn_of_early(options: DataOptions, reference: str, column: str, last: str, root: Path, emit: Emit) -> None:
    """Where rows are divided by time, the last test row says from when on rows are later."""
    times = read_table(reference, root=root, columns=[column], format=_format_of(options, reference), quoted=options.quoted).table[column]
    (moments,) = read_moments([pa.chunked_array([*times.chunks, pa.array([last], times.type)])])
    early = int(np.sum(moments.ranks[:-1] <= moments.ranks[-1]))
    if early:
        emit(
            "warning", text=f"{early:,} of {len(times):,} rows of data.out_of_time are not later (column '{column}') than the last of test"
        )
