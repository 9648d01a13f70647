"""What stands between scores and answers, whatever the answer kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.outputs.options import DecisionOptions
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import Decision, LabelSchema

#: `(rows, len(labels.names))`; where an answer is a table, `(rows,)` of such (`model.ragged`)
Scores = NDArray[Any]


class Answering(ABC):
    """One answer kind's way from scores to answers."""

    #: what a score is, for messages and findings
    unit = "probability"
    #: sections and keys of a recipe that mean nothing for it → why
    refuses: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def decide(self, scores: Scores, labels: LabelSchema, decision: Decision) -> NDArray[Any]:
        """The answer of each row, of the form that `Split.labels` has for the kind."""

    @abstractmethod
    def choose(self, scores: Scores, truth: NDArray[Any], labels: LabelSchema, options: DecisionOptions) -> Decision:
        """The decision that the recipe asks for, from scores and truth of validation rows.

        Raises:
            RecipeError: a decision that the kind does not have.
            DataError: rows that it cannot be chosen on.
        """

    @abstractmethod
    def line(self, scores: NDArray[np.float64], labels: LabelSchema, decision: Decision) -> dict[str, Any]:
        """One row's answer as JSON, from its scores `(len(labels.names),)`."""

    @abstractmethod
    def columns(self, answers: NDArray[Any], labels: LabelSchema) -> pa.Array:
        """Answers (or truths) as a column of `scores.parquet`."""

    def together(self, rows: Sequence[Any], labels: LabelSchema) -> Scores:
        """What one input after another was answered with, as lists or arrays, as scores."""
        return np.array(rows, dtype=np.float64).reshape(len(rows), -1) if len(rows) else np.zeros((0, len(labels.names)))

    def score_names(self, labels: LabelSchema) -> list[str]:
        """The columns of `scores.parquet` that hold scores."""
        return [f"score:{name}" for name in labels.names]

    def score_columns(self, scores: Scores, labels: LabelSchema) -> dict[str, pa.Array]:
        """Scores as columns of `scores.parquet`, by name."""
        return {name: pa.array(scores[:, index]) for index, name in enumerate(self.score_names(labels))}

    def read_scores(self, table: pa.Table, labels: LabelSchema) -> Scores:
        """Inverse of `score_columns`.

        Raises:
            KeyError: a column is not there.
        """
        return np.stack([table[name].to_numpy().astype(np.float64) for name in self.score_names(labels)], axis=1)

    def differences(self, scores: Scores, reference: Scores, labels: LabelSchema) -> NDArray[np.float64]:
        """How far two answers of one row lie apart, in `unit`, `(rows,)`."""
        return np.asarray(np.abs(scores - reference).max(axis=1), dtype=np.float64)

    def flips(self, answers: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows have other answers, bool `(rows,)`."""
        return np.asarray(answers != others, dtype=bool)

    def near(self, scores: Scores, labels: LabelSchema, decision: Decision, tolerance: float) -> int:
        """Rows whose answer a difference of `tolerance` in each score may turn."""
        return 0

    def counted(self, truth: NDArray[Any]) -> int:
        """What a share of right answers is a share of: rows."""
        return len(truth)

    def smallest(self, truth: NDArray[Any], labels: LabelSchema) -> int:
        """Rows of the smallest label; all rows where there are no labels."""
        return len(truth)

    def default(self) -> Decision:
        """The decision where nobody asked for one."""
        return Decision()


def answering(kind: str) -> Answering:
    """The way from scores to answers of an answer kind."""
    return cast(Answering, load(ANSWER_KINDS[kind]))


def decided(scores: Scores, labels: LabelSchema, decision: Decision, kind: str) -> NDArray[Any]:
    """The answer of each row."""
    return answering(kind).decide(scores, labels, decision)
