"""What data, training and audits need of a truth, whatever its kind."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data import labels
from trustbase.data.rows import in_quotes
from trustbase.errors import Problem
from trustbase.recipe.entries import load_named
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import LabelSchema, Split

_LONGEST = 100  # digits of a number in a cell of JSON


@dataclass(frozen=True)
class Named:
    """What the recipe says of its labels, beside the column.

    Attributes:
        column: the label column.
        positive, favourable, neutral: labels with a role; None where none is named.
        source: the file, for messages.
        choices: names of the choices of a question, in the order that the model scores them; none where labels are found in the rows.
    """

    column: str
    positive: str | None = None
    favourable: str | None = None
    source: str = "train"
    neutral: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Read:
    """A label column as truth.

    Attributes:
        values: `(rows, …)`, as `Split.labels`; of a bad row anything.
        bad: row → (kind, detail) of what cannot be used; `kind` never holds a value of the data.
        trimmed: cells that had blanks around what they say.
        notes: what a reader of the log should know.
    """

    values: NDArray[Any]
    bad: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    trimmed: int = 0
    notes: tuple[str, ...] = ()


class Truth(ABC):
    """One answer kind's truth."""

    #: whether every label of the schema must occur in the training rows
    needs_every_label = False
    #: whether a cell may be a list or an object, which is then given as a text of JSON
    nested = False
    #: whether those of the text may be, too: a text told as its words
    nested_text = False

    @abstractmethod
    def schema(self, column: pa.ChunkedArray, named: Named) -> LabelSchema:
        """What the scores stand for, from the training rows' label cells.

        Raises:
            DataError: nothing can be learned from them, or a named label is none of them.
        """

    @abstractmethod
    def read(self, column: pa.ChunkedArray, schema: LabelSchema, texts: Sequence[str], *, whose: str) -> Read:
        """The truth of label cells.

        Args:
            column: label cells, none empty, `(rows,)`.
            schema: from the training rows, or of the model that is audited.
            texts: what the model reads of each row, `(rows,)`.
            whose: whose labels the schema's are, for messages: "of the training rows".
        """

    @abstractmethod
    def write(self, values: NDArray[Any], schema: LabelSchema) -> list[str]:
        """Each row's truth as one canonical text, from which `read` makes it again; digests are made of it, `(rows,)`."""

    @abstractmethod
    def counts(self, values: NDArray[Any], schema: LabelSchema) -> dict[str, Any]:
        """What the data card says of a split's truth: `labels` (name → rows, or what `counted` names), and numbers of its own."""

    def tidy(self, table: pa.Table, text: Sequence[str], label: str) -> tuple[pa.Table, tuple[str, ...]]:
        """Rows as they were read in the form that `read` takes, where files have another too; and what a reader of the log should know.

        Args:
            table: string columns, `(rows, columns)`.
            text: columns that are shown to the model as they stand.
            label: the label column.
        """
        return table, ()

    def to_arrow(self, values: NDArray[Any], schema: LabelSchema) -> pa.Array:
        """As it is kept in a run's `data/`."""
        return pa.array(self.write(values, schema), pa.large_string())

    def from_arrow(self, column: pa.ChunkedArray, schema: LabelSchema) -> NDArray[Any]:
        """Inverse of `to_arrow`."""
        return self.read(column, schema, [""] * len(column), whose="saved").values

    def codes(self, values: NDArray[Any], schema: LabelSchema) -> NDArray[np.int64]:
        """A number for each row, the same for equal truths, int64 `(rows,)`."""
        return np.unique(np.array(self.write(values, schema), dtype=object), return_inverse=True)[1].astype(np.int64)

    def doubtful(self, values: NDArray[Any], known: NDArray[Any]) -> list[int]:
        """Rows of `values` whose truth is so far from all of `known`, the training rows', that it may be a slip."""
        return []

    def needed(self, values: NDArray[Any], taken: NDArray[np.bool_], schema: LabelSchema) -> NDArray[np.bool_]:
        """Which of the taken rows training cannot do without, as no row that is left shows what they do, `(rows,)`."""
        return np.zeros(len(values), dtype=bool)

    def refused(self, values: NDArray[Any], schema: LabelSchema) -> list[Problem]:
        """Why nothing can be learned from these training rows; empty where it can."""
        return []


def truth_of(kind: str) -> Truth:
    """The truth of an answer kind.

    Raises:
        KeyError: no task of this version has answers of that kind.
    """
    return cast(Truth, load_named(ANSWER_KINDS[kind].truth))


def written(split: Split, labels: LabelSchema, kind: str) -> list[str]:
    """Each row's truth as one canonical text, `(rows,)`."""
    return truth_of(kind).write(split.labels, labels)


def assumed(names: Sequence[str], **fields: Any) -> LabelSchema:
    """A schema of names without roles."""
    return LabelSchema(tuple(names), names[-1], names[-1], **fields)


def trimmed(column: pa.ChunkedArray | pa.Array) -> tuple[list[str], int]:
    """The cells without blanks around them, and how many had some."""
    texts, changed = labels.label_texts(column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column]))
    return cast("list[str]", texts.to_pylist()), changed


def read_json(cell: str) -> Any:
    """What a cell of JSON says.

    Raises:
        ValueError: it is no JSON, lists in it stand deeper in each other than the parser goes, or a number is too long to be a place.
    """
    try:
        return json.loads(cell, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _integer(digits: str) -> int:
    """A whole number; Python itself refuses those of over some thousand digits, with advice that is not for whoever wrote the row."""
    if len(digits) > _LONGEST:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def got(cell: str, error: ValueError | None = None) -> str:
    """A cell for a message, with why `read_json` refused it, where that is more than that it is no JSON."""
    why = "" if error is None or isinstance(error, json.JSONDecodeError) else f", {error}"
    return f"got {in_quotes(cell)}{why}"
