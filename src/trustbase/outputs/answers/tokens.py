"""Entities: spans of characters with a type, from the probabilities of tags.

The scores of a row are a table `(units, 2 + tags)`: the first character of each unit and the one after its last, then the probability of
each tag. So an answer needs no second look at the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data.tags import Entity, types_of
from trustbase.errors import RecipeError
from trustbase.model.decoding import best_tags, entities_in
from trustbase.model.ragged import largest_difference, ragged
from trustbase.outputs.answers.base import Answering, Scores
from trustbase.outputs.options import DecisionOptions
from trustbase.records import Decision, LabelSchema

BOUNDS = 2  # columns before the probabilities
_NO_LABEL = "is a label of whole rows, and here entities within them are answered"


class Tokens(Answering):
    """The tags that fit together and are likeliest, unit by unit."""

    refuses: ClassVar = {
        "decision.threshold": "turns the probability of one label into an answer, and here tags of units are weighed against each other",
        "decision.cost": "weighs two kinds of wrong labels, and an entity can be wrong in more ways",
        "decision.coverage": "belongs to numbers, whose answers are told with an interval",
        "train.class_weights": "weighs labels of whole rows, and here each unit of a row has a tag",
        "train.label_smoothing": "was never tried with tags of units",
        "train.r_drop": "was never tried with tags of units",
        "data.features": "are columns of a whole row, and here units of its text are answered",
        "data.positive": _NO_LABEL,
        "data.favourable": _NO_LABEL,
        "data.no_relation": "is a label of a whole text, and here each entity has a type",
    }

    def decide(self, scores: Scores, labels: LabelSchema, decision: Decision) -> NDArray[Any]:
        found = np.empty(len(scores), dtype=object)
        for row, table in enumerate(scores):
            found[row] = tuple(entity for entity, _ in answered(table, labels.names))
        return found

    def choose(self, scores: Scores, truth: NDArray[Any], labels: LabelSchema, options: DecisionOptions) -> Decision:
        if options.threshold is not None or options.cost is not None:
            raise RecipeError(
                "decision.threshold and decision.cost are of labels, and the answer is a set of entities", hint="leave them out"
            )
        return self.default()

    def line(self, scores: NDArray[np.float64], labels: LabelSchema, decision: Decision) -> dict[str, Any]:
        found = answered(scores, labels.names)
        return {"entities": [{"start": start, "end": end, "label": name, "score": chance} for (start, end, name), chance in found]}

    def columns(self, answers: NDArray[Any], labels: LabelSchema) -> pa.Array:
        kind = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("label", pa.string())]))
        rows = [[{"start": start, "end": end, "label": name} for start, end, name in row] for row in answers]
        return pa.array(rows, kind)

    def together(self, rows: Sequence[Any], labels: LabelSchema) -> Scores:
        return ragged(np.array(row, dtype=np.float64).reshape(-1, BOUNDS + len(labels.names)) for row in rows)

    def score_names(self, labels: LabelSchema) -> list[str]:
        return ["scores"]

    def score_columns(self, scores: Scores, labels: LabelSchema) -> dict[str, pa.Array]:
        return {"scores": pa.array([table.tolist() for table in scores], pa.list_(pa.list_(pa.float64())))}

    def read_scores(self, table: pa.Table, labels: LabelSchema) -> Scores:
        return self.together(table["scores"].to_pylist(), labels)

    def differences(self, scores: Scores, reference: Scores, labels: LabelSchema) -> NDArray[np.float64]:
        return largest_difference(scores, reference)

    def flips(self, answers: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
        return np.array([one != other for one, other in zip(answers, others, strict=True)], dtype=bool)

    def near(self, scores: Scores, labels: LabelSchema, decision: Decision, tolerance: float) -> int:
        return sum(_near(table[:, BOUNDS:], tolerance) for table in scores)  # units: each may turn the entity that it is in

    def counted(self, truth: NDArray[Any]) -> int:
        return sum(len(row) for row in truth)  # entities

    def smallest(self, truth: NDArray[Any], labels: LabelSchema) -> int:
        named = [name for row in truth for _, _, name in row]
        return min(named.count(name) for name in types_of(labels.names))

    def default(self) -> Decision:
        return Decision(None, "likeliest tags that fit together")


def answered(table: NDArray[np.float64], names: Sequence[str]) -> list[tuple[Entity, float]]:
    """The entities of one row in characters, each with the mean probability of its tags."""
    chances = table[:, BOUNDS:]
    tags = best_tags(chances, names)
    found = []
    for start, end, name in entities_in(tags, names):
        chance = float(chances[np.arange(start, end), tags[start:end]].mean())
        found.append(((int(table[start, 0]), int(table[end - 1, 1]), name), chance))
    return found


def _near(chances: NDArray[np.float64], tolerance: float) -> int:
    """Units whose two likeliest tags lie within twice the tolerance."""
    first = np.sort(chances, axis=1)
    return int((first[:, -1] - first[:, -2] <= 2 * tolerance).sum())


TOKENS = Tokens()
