"""What every plain model is to the rest of the house: arrays on disk, scores of rows, and what it says to a reader."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase.model.plain.readers import Feature, View
from trustbase.records import LabelSchema

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Told:
    """A model in words.

    Attributes:
        summary: what it is, in one line.
        title: of the lines.
        lines: the rules, the tree or the largest weights, to be shown as they stand.
    """

    summary: str
    title: str
    lines: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"summary": self.summary, "title": self.title, "lines": list(self.lines)}


class PlainModel(ABC):
    """A model of plain numbers. `arrays` are all that is kept of it; the constructor takes them and refuses what cannot be one."""

    kind: ClassVar[str]
    view: ClassVar[View]

    def __init__(self, arrays: Arrays, features: int, classes: int) -> None:
        """Check and keep the arrays.

        Raises:
            ValueError: they are no model of so many features and classes.
        """
        self.arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self.width, self.classes = features, classes
        if any(array.dtype.kind == "f" and not np.isfinite(array).all() for array in self.arrays.values()):
            raise ValueError("a number in it is not finite")
        self._check()

    @abstractmethod
    def _check(self) -> None:
        """Raise ValueError where an array is missing, has another shape, or points outside of another."""

    @abstractmethod
    def logits(self, matrix: sparse.csr_matrix) -> NDArray[np.float64]:
        """Scores whose softmax are the probabilities, float64 `(rows, classes)`; a row's do not depend on the others."""

    @abstractmethod
    def told(self, features: Sequence[Feature], labels: LabelSchema) -> Told:
        """What it says to somebody who reads it."""

    def array(self, name: str, *shape: int | None) -> NDArray[Any]:
        """One of its arrays, if it has this shape (None: any length).

        Raises:
            ValueError: it has not.
        """
        found = self.arrays.get(name)
        have = () if found is None else found.shape
        if found is None or len(have) != len(shape) or any(want not in (None, size) for want, size in zip(shape, have, strict=True)):
            raise ValueError(f"'{name}' must have the shape {shape}, found {have}")
        return found


def smoothed_logits(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of the share of each class where so many training rows arrived, one more of each counted: no answer is ever certain.

    Args:
        counts: training rows of each class `(places, classes)`.

    Source: Laplace's rule; Provost & Domingos (2003), "Tree induction for probability-based ranking", Machine Learning 52.
    """
    counted = np.asarray(counts, dtype=np.float64) + 1
    return np.asarray(np.log(counted / counted.sum(axis=1, keepdims=True)), dtype=np.float64)


def answer_line(counts: NDArray[np.float64], labels: LabelSchema) -> str:
    """The answer of one place: label, its smoothed share, and of how many training rows."""
    shares = np.exp(smoothed_logits(counts[None])[0])
    best = int(shares.argmax())
    shown = labels.index(labels.positive) if labels.binary else best
    named = "" if shown == best else f", {labels.names[shown]} {shares[shown]:.2f}"
    return f"{labels.names[best]} {shares[best]:.2f}{named} ({int(counts.sum()):,} rows)"
