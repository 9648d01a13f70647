"""An ordered list of rules: the first whose conditions all hold answers, with the smoothed shares of the training rows that it answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase.model.plain.options import MOST_CONDITIONS, MOST_RULES
from trustbase.model.plain.readers import Feature, dense
from trustbase.model.plain.shared import Part, PlainModel, Told, answer_line, smoothed_logits
from trustbase.records import LabelSchema


class RulesModel(PlainModel):
    """Conditions of all rules end to end, where each rule's begin, and what each answers.

    Arrays: `feature`, `threshold`, `above` `(conditions,)`; `bounds` `(rules + 1,)`; `counts` `(rules + 1, classes)`, of which the last
    are those of the rows that no rule held for.
    """

    kind = "rules"
    view = "flags"
    parts: ClassVar[Mapping[str, Part]] = {
        "feature": ("int32", "conditions"),
        "threshold": ("float64", "conditions"),
        "above": ("uint8", "conditions"),
        "bounds": ("int32", "bounds"),
        "counts": ("float64", "bounds", "classes"),
    }

    @classmethod
    def most(cls, outputs: int) -> Mapping[str, int]:
        return {"conditions": MOST_RULES * MOST_CONDITIONS, "bounds": MOST_RULES + 1}

    def _check(self) -> None:
        self._feature, self._above = self.arrays["feature"], self.arrays["above"].astype(np.bool_)
        self._threshold, self._bounds, self._counts = self.arrays["threshold"], self.arrays["bounds"], self.arrays["counts"]
        steps = np.diff(self._bounds.astype(np.int64), prepend=0)
        rising = len(steps) > 0 and steps[0] == 0 and bool((steps[1:] > 0).all()) and self._bounds[-1] == len(self._feature)
        within = bool(((self._feature >= 0) & (self._feature < self.width)).all())
        if not rising or not within:
            raise ValueError("its rules point outside of it")
        self._logits = smoothed_logits(self._counts)

    def fired(self, matrix: sparse.csr_matrix) -> NDArray[np.int64]:
        """The rule that answers each row, `(rows,)`; the number of rules where none holds.

        Values are compared in float32, as they were when the rules were learned.
        """
        values = dense(matrix).astype(np.float32)
        rules = len(self._bounds) - 1
        answers = np.full(len(values), rules, np.int64)
        for rule in reversed(range(rules)):  # an earlier rule overrules a later one
            part = slice(int(self._bounds[rule]), int(self._bounds[rule + 1]))
            above = values[:, self._feature[part]] > self._threshold[part]
            answers[(above == self._above[part]).all(axis=1)] = rule
        return answers

    def logits(self, matrix: sparse.csr_matrix) -> NDArray[np.float64]:
        return np.asarray(self._logits[self.fired(matrix)], dtype=np.float64)

    def told(self, features: Sequence[Feature], labels: LabelSchema) -> Told:
        rules = len(self._bounds) - 1
        lines = [f"{rule + 1:>2}. if {self._said(rule, features)}: {answer_line(self._counts[rule], labels)}" for rule in range(rules)]
        last = f"{rules + 1:>2}. otherwise: {answer_line(self._counts[rules], labels)}"
        return Told(f"{rules} rules in order, and an answer for the rest", "All rules; the first that holds answers", (*lines, last))

    def _said(self, rule: int, features: Sequence[Feature]) -> str:
        part = range(int(self._bounds[rule]), int(self._bounds[rule + 1]))
        return " and ".join(features[self._feature[i]].condition(float(self._threshold[i]), above=bool(self._above[i])) for i in part)
