"""A set of its own beside the test rows: later rows, by which it shows how a model holds once time has gone on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data import split
from trustbase.data.apart import kinds_of
from trustbase.data.cells import with_cells
from trustbase.data.dataset import Dataset, dataset_digest
from trustbase.data.facts import public_name
from trustbase.data.markdown import in_code, plain, section
from trustbase.data.options import DataOptions
from trustbase.data.reference import Format, says_format
from trustbase.data.single import load_single
from trustbase.data.source import read_table
from trustbase.data.times import read_moments
from trustbase.errors import DataError
from trustbase.events import Emit
from trustbase.finding_id import OUT_OF_TIME
from trustbase.records import Split

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
            emit=emit,
            features=options.features,
            numbers=[name for name, kind in kinds_of(dataset.facts.get("columns", {})).items() if kind == "numbers"],
            time=(column, last) if column else None,
        )
    except DataError as error:
        raise DataError(f"data.out_of_time: {error.message}", hint=error.hint, problems=error.problems) from error
    if template.source != dataset.template.source:
        raise DataError(f"data.out_of_time: its text is '{template.source}', that of the training rows '{dataset.template.source}'")
    seen = split.overlap_of_keys(_keys(dataset.splits["train"]), _keys(part))
    if seen:
        emit("note", text=f"{seen:,} of {len(part):,} rows of data.out_of_time have a text that also stands in train")
    order = _order(options, dataset, root)
    if order and order["early"]:
        emit("warning", text=_early(order, len(part)))
    facts = {"source": public_name(options.out_of_time), "rows": len(part), "in_train": seen, "order": order}
    splits = {OUT_OF_TIME: part}
    return Dataset(splits, labels, template, facts, dataset_digest(splits, labels, template), dataset.answers)


def later_page(card: Mapping[str, Any]) -> str:
    """Which rows are audited beside the test rows, on the page of the data card; empty where none are."""
    later = card.get("out_of_time")
    if not later:
        return ""
    order = later["order"] or {}
    times = [plain(str(order.get(name, "not known"))) for name in ("first", "last")]
    row = [in_code(later["source"]), f"{later['rows']:,}", *times, f"{later['in_train']:,}"]
    heads = ["file", "rows", "first", "last", "rows with a text that also stands in train"]
    told = f"Audited for quality and fairness beside the test rows, in findings that end in `@{OUT_OF_TIME}`; nothing else reads them."
    warning = [f"**Warning**: {plain(_early(order, later['rows']))}"] if order.get("early") else []
    return "\n\n".join([section("Later rows", heads, [row]), told, *warning])


def _format_of(options: DataOptions, reference: str) -> Format | None:
    """What the file is where its name does not say it."""
    return None if says_format(reference) else options.format


def _keys(part: Split) -> NDArray[np.uint64]:
    """Keys of what a model reads of each row, which need not all stand in memory."""
    starts = range(0, len(part), _AT_ONCE)
    read = (with_cells(part.texts[i : i + _AT_ONCE], part.table.slice(i, _AT_ONCE), part.features) for i in starts)
    return np.concatenate([split.keys(texts) for texts in read])


def _early(order: Mapping[str, Any], rows: int) -> str:
    of = f"{order['early']:,} of {rows:,} rows of data.out_of_time"
    return f"{of} are not later (column '{order['column']}') than the last of test"


def _order(options: DataOptions, dataset: Dataset, root: Path) -> dict[str, Any] | None:
    """Where rows are divided by time: from when to when these are, and how many are not later than the last test row."""
    column = None if options.split.by_entity else options.split.key
    if column is None or options.out_of_time is None:
        return None
    order = dataset.facts["splits"]["test"].get("order") or {}
    times = read_table(
        options.out_of_time, root=root, columns=[column], format=_format_of(options, options.out_of_time), quoted=options.quoted
    ).table[column]
    with_last = pa.chunked_array([*times.chunks, pa.array([order["last"]], times.type)])
    (moments,) = read_moments([with_last])
    ranks, last = moments.ranks[:-1], moments.ranks[-1]
    known = ranks[ranks >= 0]
    first, latest = (moments.names[int(end)] for end in (known.min(), known.max())) if len(known) else ("none", "none")
    times = {"first": first, "last": latest, "times": len(np.unique(known))}
    return {"column": column, **times, "early": int(np.sum(ranks <= last))}
