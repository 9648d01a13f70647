"""One decision tree. Its leaves keep how many training rows of each label arrived, and answer with their smoothed shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase.model.plain.descent import Forest
from trustbase.model.plain.options import MOST_DEPTH
from trustbase.model.plain.readers import Feature, dense
from trustbase.model.plain.shared import Part, PlainModel, Told, answer_line, smoothed_logits
from trustbase.records import LabelSchema


class TreeModel(PlainModel):
    """The nodes of a `Forest` of one tree, and `counts` `(nodes, classes)`."""

    kind = "tree"
    view = "flags"
    parts: ClassVar[Mapping[str, Part]] = {
        **dict.fromkeys(("feature", "left", "right"), ("int32", "nodes")),
        "threshold": ("float64", "nodes"),
        "counts": ("float64", "nodes", "classes"),
        "roots": ("int32", 1),
    }

    @classmethod
    def most(cls, outputs: int) -> Mapping[str, int]:
        return {"nodes": 2 ** (MOST_DEPTH + 1) - 1}

    def _check(self) -> None:
        self._counts = self.arrays["counts"]
        self._forest = Forest(self.arrays, self.width, deepest=MOST_DEPTH)
        self._logits = smoothed_logits(self._counts)

    def leaves(self, matrix: sparse.csr_matrix) -> NDArray[np.int64]:
        """The leaf of each row, `(rows,)`; values are compared in float32, as they were when the tree was learned."""
        return self._forest.leaves(dense(matrix).astype(np.float32))[:, 0]

    def logits(self, matrix: sparse.csr_matrix) -> NDArray[np.float64]:
        return np.asarray(self._logits[self.leaves(matrix)], dtype=np.float64)

    def told(self, features: Sequence[Feature], labels: LabelSchema) -> Told:
        leaves = int(self._forest.is_leaf.sum())
        summary = f"decision tree of depth {self._forest.depth} with {leaves} leaves"
        return Told(summary, "The whole tree", tuple(self._lines(int(self._forest.roots[0]), 0, features, labels)))

    def _lines(self, node: int, depth: int, features: Sequence[Feature], labels: LabelSchema) -> Iterator[str]:
        forest, indent = self._forest, "  " * depth
        if forest.left[node] == node:
            yield f"{indent}→ {answer_line(self._counts[node], labels)}"
            return
        feature, threshold = features[forest.feature[node]], float(forest.threshold[node])
        sides = [(int(forest.left[node]), False), (int(forest.right[node]), True)]
        for child, above in reversed(sides) if feature.is_flag else sides:  # what a flag says first, then that it does not
            yield f"{indent}if {feature.condition(threshold, above=above)}:"
            yield from self._lines(child, depth + 1, features, labels)
