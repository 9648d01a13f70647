"""Gradient-boosted trees: the sum of many small trees' answers, for each label (of two, for the second alone)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase.model.plain.descent import Forest
from trustbase.model.plain.readers import Feature, dense
from trustbase.model.plain.shared import PlainModel, Told
from trustbase.records import LabelSchema

_SHOWN = 20


class BoostingModel(PlainModel):
    """The nodes of a `Forest`; `value` `(nodes,)`, `output` of each tree `(trees,)`, `start` `(outputs,)`, `gain` `(features,)`."""

    kind = "boosting"
    view = "raw"

    def _check(self) -> None:
        nodes, trees = len(self.array("feature", None)), len(self.array("roots", None))
        outputs = 1 if self.classes == 2 else self.classes
        for name in ("threshold", "left", "right", "missing_left", "mask", "value"):
            self.array(name, nodes)
        self._output, self._start, self._gain = self.array("output", trees), self.array("start", outputs), self.array("gain", self.width)
        self._forest = Forest(self.arrays, self.width)
        if not ((self._output >= 0) & (self._output < outputs)).all():
            raise ValueError("its trees answer for labels that are not there")

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
