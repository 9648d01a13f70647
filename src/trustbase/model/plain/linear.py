"""Logistic regression: one weight for each number that is read, and for each label (of two, for the second alone)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase.model.plain.readers import Feature
from trustbase.model.plain.shared import Part, PlainModel, Told
from trustbase.records import LabelSchema

_SHOWN = 12  # weights of each sign and label


class LinearModel(PlainModel):
    """`weights` `(outputs, features)` and `intercepts` `(outputs,)`; one output where there are two labels."""

    kind = "linear"
    view = "scaled"
    parts: ClassVar[Mapping[str, Part]] = {"weights": ("float64", "outputs", "features"), "intercepts": ("float64", "outputs")}

    def _check(self) -> None:
        self._weights, self._intercepts = self.arrays["weights"], self.arrays["intercepts"]
        self._columns = np.ascontiguousarray(self._weights.T)

    def logits(self, matrix: sparse.csr_matrix) -> NDArray[np.float64]:
        scores = np.asarray(matrix @ self._columns, dtype=np.float64) + self._intercepts
        return scores if self.classes > 2 else np.column_stack([np.zeros(len(scores)), scores[:, 0]])

    def told(self, features: Sequence[Feature], labels: LabelSchema) -> Told:
        if labels.binary:
            sign = 1 if labels.index(labels.positive) == 1 else -1
            shown = [(labels.positive, sign * self._weights[0], sign * self._intercepts[0])]
        else:
            shown = list(zip(labels.names, self._weights, self._intercepts, strict=True))
        lines = [line for name, weights, intercept in shown for line in _weight_lines(name, weights, float(intercept), features)]
        summary = f"logistic regression with {self._weights.size:,} weights over {len(features):,} words, numbers and categories"
        return Told(summary, "Largest weights (log-odds; of a number, for one standard deviation)", tuple(lines))


def _weight_lines(label: str, weights: NDArray[np.float64], intercept: float, features: Sequence[Feature]) -> list[str]:
    order = np.argsort(-np.abs(weights), kind="stable")
    lines = [f"{label}: {intercept:+.3f} to begin with"]
    for sign in (1, -1):
        best = [place for place in order.tolist() if sign * weights[place] > 0][:_SHOWN]
        lines += [f"  {weights[place]:+.3f}  {_unit(features[place])}" for place in best]
    return lines


def _unit(feature: Feature) -> str:
    return feature.name if feature.is_flag else f"{feature.name} (for {feature.scale:.4g} more)"
