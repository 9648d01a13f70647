"""Gradient-boosted trees: the sum of many small trees' answers, for each label (of two, for the second alone)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase.model.plain.descent import Forest
from trustbase.model.plain.options import MOST_CATEGORIES, MOST_LEAVES, MOST_ROUNDS
from trustbase.model.plain.readers import FIRST, Feature, dense
from trustbase.model.plain.shared import Part, PlainModel, Told
from trustbase.records import LabelSchema

_SHOWN = 20


class BoostingModel(PlainModel):
    """The nodes of a `Forest`; the `value` of each, the `output` of each tree, the `start` of each output, the `gain` of each feature."""

    kind = "boosting"
    view = "raw"
    parts: ClassVar[Mapping[str, Part]] = {
        **dict.fromkeys(("feature", "left", "right", "mask"), ("int32", "nodes")),
        **dict.fromkeys(("threshold", "value"), ("float64", "nodes")),
        "missing_left": ("uint8", "nodes"),
        "masks": ("uint8", "masks", "codes"),
        **dict.fromkeys(("roots", "output"), ("int32", "trees")),
        "start": ("float64", "outputs"),
        "gain": ("float64", "features"),
    }

    @classmethod
    def most(cls, outputs: int) -> Mapping[str, int]:
        trees = MOST_ROUNDS * outputs
        nodes = trees * (2 * MOST_LEAVES - 1)
        return {"trees": trees, "nodes": nodes, "masks": nodes, "codes": FIRST + MOST_CATEGORIES}

    def _check(self) -> None:
        self._output, self._start, self._gain = self.arrays["output"], self.arrays["start"], self.arrays["gain"]
        self._forest = Forest(self.arrays, self.width, deepest=MOST_LEAVES - 1)
        if not ((self._output >= 0) & (self._output < len(self._start))).all() or (self._gain < 0).any():
            raise ValueError("its trees answer for labels that are not there, or gain less than nothing")

    def logits(self, matrix: sparse.csr_matrix) -> NDArray[np.float64]:
        found = self.arrays["value"][self._forest.leaves(dense(matrix))]
        scores = np.column_stack([start + found[:, self._output == output].sum(axis=1) for output, start in enumerate(self._start)])
        return scores if self.classes > 2 else np.column_stack([np.zeros(len(scores)), scores[:, 0]])

    def told(self, features: Sequence[Feature], labels: LabelSchema) -> Told:
        trees = len(self._forest.roots)
        total = float(self._gain.sum()) or 1.0
        order = [place for place in np.argsort(-self._gain, kind="stable").tolist() if self._gain[place] > 0][:_SHOWN]
        lines = [f"{self._gain[place] / total:7.1%}  {features[place].name}" for place in order]
        summary = f"gradient boosting of {trees:,} trees with {int(self._forest.is_leaf.sum()):,} leaves: too many to read one by one"
        return Told(summary, "What was asked, by its share of the gain in training loss; not in which direction it counts", tuple(lines))
