"""Labels: their names in score order, and which of them thresholds and fairness speak about."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trustbase.data.coded import Coded
from trustbase.errors import DataError, Problem
from trustbase.records import LabelSchema

#: Words that YAML reads as a boolean where they stand without quotes, by what a recipe then holds.
_BOOLEANS = {"true": ("yes", "on", "true"), "false": ("no", "off", "false")}
#: Words that stand for "nothing" more often than for a class; kept as labels, but never without a warning.
SUSPECT = ("nan", "null", "none", "n/a", "na", "<na>", "?")


def make_schema(
    found: Sequence[str],
    *,
    positive: str | None = None,
    favourable: str | None = None,
    neutral: str | None = None,
    source: str = "train",
) -> LabelSchema:
    """The label schema of these labels, sorted by name.

    Where the recipe names no positive label the last by name is taken, where it names no favourable one the positive is; both are
    marked as assumed.

    Raises:
        DataError: fewer than two labels, or a name that is no label.
    """
    names = tuple(sorted(set(found)))
    problems = []
    if len(names) < 2:
        problems.append(
            Problem(source, f"needs at least two labels, found {len(names)}: {', '.join(names) or 'none'}", "is this the column of labels?")
        )
    for where, name in (("data.positive", positive), ("data.favourable", favourable), ("data.no_relation", neutral)):
        if name is not None and name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"labels: {', '.join(names[:20])}"
            quoted = [each for each in names if each.lower() in _BOOLEANS.get(name, ())]
            if quoted:
                hint = f'write "{quoted[0]}" in quotes: YAML reads {quoted[0]} without them as {name}'
            problems.append(Problem(where, f"'{name}' is no label of the training rows", hint))
    if problems:
        raise DataError("the labels are not as described", problems=problems)
    chosen = positive if positive is not None else names[-1]
    return LabelSchema(
        names, chosen, favourable if favourable is not None else chosen, positive is None, favourable is None, neutral=neutral
    )


def assumed(schema: LabelSchema, *, groups: bool, options: str = "data.") -> list[str]:
    """What is taken of these labels although nobody named it, each with the way to name it.

    Args:
        schema: labels of which each row has one.
        groups: whether groups are audited; the favourable label means nothing else.
        options: what stands before `positive` and `favourable` where they are named: `data.` of a recipe, `--` of a command.
    """
    told = []
    if schema.binary and schema.positive_assumed:
        what = "AUROC, average precision, recall, costs and a threshold on it are about that label"
        told.append(f"no positive label was named, and '{schema.positive}' is taken as it: {what} (name it: {options}positive)")
    if groups and schema.favourable_assumed:
        what = "who is selected, and the gaps between groups, are about it"
        told.append(f"no favourable label was named, and '{schema.favourable}' is taken as it: {what} (name it: {options}favourable)")
    return told


def label_texts(column: pa.ChunkedArray) -> tuple[pa.Array, int]:
    """Labels without blanks around them, and how many had some."""
    trimmed = pc.utf8_trim_whitespace(column)
    changed = int(pc.sum(pc.not_equal(trimmed, column)).as_py() or 0)
    return trimmed.combine_chunks(), changed


def label_codes(texts: pa.Array, schema: LabelSchema) -> NDArray[np.int64]:
    """Index of each label in the schema, int64 `(rows,)`; -1 where it is none of them."""
    codes = pc.fill_null(pc.index_in(texts, value_set=pa.array(schema.names, texts.type)), -1)
    return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)


def codes_of(found: Coded, schema: LabelSchema) -> NDArray[np.int64]:
    """`label_codes` of a column whose distinct values are known."""
    index = {name: code for code, name in enumerate(schema.names)}
    return found.translated([index.get(word, -1) for word in found.words])


def count_trimmed(column: pa.ChunkedArray) -> int:
    """How many labels have blanks around them."""
    return label_texts(column)[1]


def suspects(names: Sequence[str]) -> list[str]:
    """Labels that look like missing values."""
    return [name for name in names if name.lower() in SUSPECT]
