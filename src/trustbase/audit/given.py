"""Somebody else's answers, read from a file: labels, and scores or predicted labels. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase import files
from trustbase.audit.context import Answers
from trustbase.data.groups import read_groups
from trustbase.data.labels import label_codes, label_texts, make_schema
from trustbase.data.rows import BadRow, RawTable, check_rows
from trustbase.data.source import read_columns, read_table
from trustbase.data.template import unknown_column
from trustbase.errors import DataError
from trustbase.records import LabelSchema, Split

_SHOWN = 50  # bad rows named in the error; the count is exact


@dataclass(frozen=True, eq=False)
class Given:
    """What a file of answers holds.

    Attributes:
        test: the rows; their texts are empty, as nobody gave them.
        digest: of the file, which stands for the unknown model.
    """

    test: Split
    labels: LabelSchema
    answers: Answers
    digest: str


def read_given(
    path: str | Path,
    *,
    label: str,
    score: str | None = None,
    predicted: str | None = None,
    groups: Sequence[str] = (),
    positive: str | None = None,
    favourable: str | None = None,
    root: Path | None = None,
) -> Given:
    """Read a csv, tsv, jsonl or parquet file of answers.

    Args:
        path: the file.
        label: column of the true label.
        score: column with the probability of the positive label (two labels only).
        predicted: column of the predicted label, where there are no scores.
        groups: columns to audit by.
        positive: the positive label; by default the last in sorted order, which is marked as assumed.
        favourable: the outcome that counts as selected; by default the positive label, marked as assumed.
        root: folder that relative paths start from.

    Raises:
        DataError: missing columns, or rows that cannot be used; every one with `file:line: reason`.
    """
    answer = score if score is not None else predicted
    assert answer is not None
    names = list(dict.fromkeys([label, answer, *groups]))
    _refuse_missing(str(path), names, root or Path())
    raw = check_rows(
        read_table(str(path), root=root or Path(), columns=names, optional=groups, whole=[label, *([predicted] if predicted else [])]),
        label=label,
    )
    numbers = None
    if score is not None:
        raw, numbers = _scores(raw, score)
    else:
        raw = _no_empty(raw, answer)
    _refuse_bad(raw)
    truth = label_texts(raw.table[label])[0]
    said = None if predicted is None else label_texts(raw.table[predicted])[0]
    found = set(truth.unique().to_pylist()) | (set() if said is None else set(said.unique().to_pylist()))
    schema = make_schema(sorted(found), positive=positive, favourable=favourable, source=raw.source)
    codes = label_codes(truth, schema)
    test = _split(raw, codes, schema, groups)
    answers = _from_scores(numbers, schema, raw) if numbers is not None else Answers(None, label_codes(said, schema))
    return Given(test, schema, answers, raw.digest)


def _refuse_missing(reference: str, names: Sequence[str], root: Path) -> None:
    columns = read_columns(reference, root=root)
    missing = [unknown_column(reference, name, columns) for name in names if name not in columns]
    if missing:
        raise DataError(f"{reference} does not hold the columns that are asked for", problems=missing)


def _scores(raw: RawTable, column: str) -> tuple[RawTable, NDArray[np.float64]]:
    """The score column as probabilities; rows where it is none join the bad rows."""
    import pandas as pd

    text = raw.table[column].to_pandas()
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
    good = np.isfinite(numbers) & (numbers >= 0) & (numbers <= 1)
    bad: list[BadRow] = []
    for index in np.flatnonzero(~good).tolist():
        value = text.iloc[index]
        kind = (
            f"column '{column}' (score) is empty"
            if value is None or pd.isna(value)
            else f"column '{column}' (score) is no probability in [0, 1]"
        )
        bad.append(raw.as_bad(index, kind, "" if value is None or pd.isna(value) else f"got {str(value)[:40]!r}"))
    return raw.without(bad), numbers[good]


def _no_empty(raw: RawTable, column: str) -> RawTable:
    empty = np.flatnonzero(raw.table[column].is_null().to_numpy()).tolist()
    return raw.without([raw.as_bad(index, f"column '{column}' (predicted label) is empty") for index in empty])


def _refuse_bad(raw: RawTable) -> None:
    problems = raw.bad
    if problems:
        more = f" (the first {_SHOWN} are listed)" if len(problems) > _SHOWN else ""
        raise DataError(
            f"{len(problems)} of {raw.total} rows of {raw.source} cannot be audited{more}",
            problems=problems[:_SHOWN],
            hint="mend these rows; an audit leaves none out",
        )


def _split(raw: RawTable, codes: NDArray[np.int64], schema: LabelSchema, groups: Sequence[str]) -> Split:
    parts = read_groups(raw.table, groups)
    columns = {"label": codes.tobytes(), **{f"group:{name}": "\x1f".join(values).encode() for name, values in parts.items()}}
    hashes = {name: files.sha256_bytes(data) for name, data in columns.items()}
    digest = files.digest_json({"labels": list(schema.names), "rows": len(raw), "columns": hashes})
    return Split("test", [""] * len(raw), codes, parts, pa.table({}), raw.row_numbers, raw.source, digest)


def _from_scores(numbers: NDArray[np.float64], schema: LabelSchema, raw: RawTable) -> Answers:
    if not schema.binary:
        raise DataError(
            f"a score column speaks of two labels, and {raw.source} has {len(schema.names)}: {', '.join(schema.names[:10])}",
            hint="give the predicted labels instead: --predicted COL",
        )
    positive = schema.index(schema.positive)
    scores = np.empty((len(numbers), 2))
    scores[:, positive], scores[:, 1 - positive] = numbers, 1 - numbers
    # One half and above is the positive label, as a threshold is read everywhere else; argmax would depend on label order.
    return Answers(scores, np.where(numbers >= 0.5, positive, 1 - positive).astype(np.int64))
