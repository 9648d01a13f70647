"""Which row of a recipe's files is for which part: as files, a column, texts, entities or times say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data import split
from trustbase.data.gather import Source, bad_problems
from trustbase.data.options import DataOptions
from trustbase.data.rows import in_quotes
from trustbase.data.times import moments_of
from trustbase.data.truth.base import Truth
from trustbase.errors import DataError
from trustbase.records import LabelSchema

LEAST_CALIBRATION = 30  # rows under which a part for calibration is not worth taking from training


def divide(options: DataOptions, sources: Mapping[str, Source]) -> None:
    """Say for every row which part it is for; parts that are not given are cut from the training rows."""
    read_keys(options, sources)
    for name, source in sources.items():
        source.parts = {name: source.rows()}
    train = sources["train"]
    if options.split.column is not None:
        _by_column(options.split.column, train)
    present = {part for source in sources.values() for part in source.parts}
    shares = {name: 0.0 if name in present else getattr(options.split, name) for name in ("test", "validation")}
    rows = train.parts.get("train", np.zeros(0, np.int64))
    if any(shares.values()):
        cut = _cut(train, rows, shares)
        train.parts.update({name: rows[picked] for name, picked in cut.items() if name == "train" or shares[name]})


def _by_column(column: str, train: Source) -> None:
    """The parts that a column names; rows in which it names none are bad."""
    train.parts, unknown = split.by_column(train.coded(column, trimmed=False))
    kind = f"column '{column}' (split) is neither train, validation, calibration nor test"
    train.bad += [train.raw.as_bad(row, kind, f"got {in_quotes(value)}" if value else "got nothing") for row, value in unknown.items()]
    train.named = tuple(train.parts)
    if "test" not in train.parts:
        message = f"column '{column}' of {train.reference} names no test rows"
        raise DataError(message, hint="name train and test rows in it", problems=bad_problems(train))


def _cut(train: Source, rows: NDArray[np.int64], shares: Mapping[str, float]) -> Mapping[str, NDArray[Any]]:
    """What picks each part from `rows`, as indices or a mask; rows that have no entity or time are bad, and in no part."""
    if train.entities is not None:
        own = train.entities[rows]
        return {name: mask & (own != 0) for name, mask in split.by_keys(own, **shares).items()}
    if train.moments is not None:
        ranks = train.moments.ranks[rows]
        there = np.flatnonzero(ranks >= 0)
        times, parts = len(np.unique(ranks[there])), 1 + sum(share > 0 for share in shares.values())
        if len(there) and times < parts:
            hint = "rows of one time stay together: give files of their own, or divide in another way (data.split)"
            message = f"{train.reference} holds rows of {times} distinct times, too few for {parts} parts"
            raise DataError(message, hint=hint, problems=bad_problems(train))
        return {name: there[index] for name, index in split.by_time(ranks[there], **shares).items()}
    return split.by_keys(train.keys(rows), **shares)


def cut_calibration(options: DataOptions, sources: Mapping[str, Source], truth: Truth, schema: LabelSchema) -> str:
    """Keep a share of the training rows apart for thresholds, once bad rows are gone; why there is no such part, or "".

    It follows from a hash of each row's entity, where rows are divided by entity, else of its text; of times it takes some of all that
    are trained on. What no other training row shows (a label) stays with training, and all rows of that text or entity with it.
    """
    share, train = options.split.calibration, sources["train"]
    if any(split.CALIBRATION in source.parts for source in sources.values()):
        return ""
    if not share:
        return "data.split.calibration is 0"
    rows = train.parts.get("train", np.zeros(0, np.int64))
    keys = train.keys(rows) if train.entities is None else train.entities[rows]
    taken = split.for_calibration(keys, share)
    needed = train.needed(truth, options.label, schema, rows, taken)
    if needed.any():
        taken &= ~np.isin(keys, keys[needed])
    if (count := int(taken.sum())) < LEAST_CALIBRATION:
        return f"a share of {share:g} of {len(rows):,} training rows is {count}, fewer than the minimum of {LEAST_CALIBRATION}"
    train.parts = {**train.parts, "train": rows[~taken], split.CALIBRATION: rows[taken]}
    return ""


def read_keys(options: DataOptions, sources: Mapping[str, Source], like: str | None = None) -> None:
    """Entities or times of all rows; a row without one is bad, also where its file is a part of its own.

    Args:
        options: the recipe's `data` section.
        sources: what was read.
        like: a time of the kind that all must be of; that of most rows where there is none.
    """
    by = options.split.by
    if isinstance(by, str):
        return
    if by.entity is not None:
        for source in sources.values():
            source.entities = source.entity_keys(by.entity)
            empty = np.flatnonzero(source.entities == 0)
            source.bad += [source.raw.as_bad(row, f"column '{by.entity}' (entity) is empty") for row in empty.tolist()]
        return
    assert by.time is not None
    column = by.time
    found = moments_of([item.coded(column, trimmed=False) for item in sources.values()], like)
    for source, moments in zip(sources.values(), found, strict=True):
        source.moments = moments
        for row, (kind, detail) in moments.faults.items():
            source.bad.append(source.raw.as_bad(row, f"column '{column}' (time) {kind}", f"got {in_quotes(detail)}" if detail else ""))
