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
#: How an array must be: its type, then the names of its sizes. Equal names are equal sizes; a number is that size.
Part = tuple[str, *tuple[str | int, ...]]

_LARGEST = 1e30  # of a weight: the sum of as many as a model may have is still a number in float32
_MOST_ROWS = 2**53  # whole numbers are told apart in float64 up to here


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
    parts: ClassVar[Mapping[str, Part]]

    def __init__(self, arrays: Arrays, features: int, classes: int) -> None:
        """Check and keep the arrays.

        Raises:
            ValueError: they are no model of so many features and classes.
        """
        self.arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self.width, self.classes = features, classes
        self.check_form({name: (str(array.dtype), array.shape) for name, array in self.arrays.items()}, features, classes)
        for name, array in self.arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"a number in '{name}' is not finite")
            if array.dtype.kind == "f" and name not in ("threshold", "counts") and (np.abs(array) > _LARGEST).any():
                raise ValueError(f"a number in '{name}' is beyond {_LARGEST:g}, which no training gives")
        counts = self.arrays.get("counts")
        if counts is not None and not ((counts >= 0) & (counts <= _MOST_ROWS) & (counts == np.floor(counts))).all():
            raise ValueError("its counts are no numbers of rows")
        self._check()

    @classmethod
    def check_form(cls, found: Mapping[str, tuple[str, tuple[int, ...]]], features: int, classes: int) -> None:
        """Refuse arrays of other names, types and sizes than this model has, from what a file says of them: before any is read.

        Raises:
            ValueError: they are no model of so many features and classes.
        """
        if set(found) != set(cls.parts):
            raise ValueError(f"it must hold {', '.join(sorted(cls.parts))}, found {', '.join(sorted(found)) or 'nothing'}")
        outputs = 1 if classes == 2 else classes
        sizes: dict[str | int, int] = {"features": features, "classes": classes, "outputs": outputs}
        for name, (dtype, *wanted) in cls.parts.items():
            kind, shape = found[name]
            fits = len(shape) == len(wanted) and all(
                size == (want if isinstance(want, int) else sizes.setdefault(want, size)) for want, size in zip(wanted, shape, strict=True)
            )
            if kind != dtype or not fits:
                said = tuple(sizes.get(want, want) for want in wanted)
                raise ValueError(f"'{name}' must be {dtype} of the shape {said}, found {kind} of {tuple(shape)}")
        over = [f"{sizes[name]:,} {name} where {most:,} are the most" for name, most in cls.most(outputs).items() if sizes[name] > most]
        if over:
            raise ValueError(f"it has {', '.join(over)}")

    @classmethod
    def most(cls, outputs: int) -> Mapping[str, int]:
        """The largest that sizes of `parts` may be, where nothing else says it."""
        return {}

    @abstractmethod
    def _check(self) -> None:
        """Raise ValueError where an array points outside of another, and make ready what answers need."""

    @abstractmethod
    def logits(self, matrix: sparse.csr_matrix) -> NDArray[np.float64]:
        """Scores whose softmax are the probabilities, float64 `(rows, classes)`; a row's do not depend on the others."""

    @abstractmethod
    def told(self, features: Sequence[Feature], labels: LabelSchema) -> Told:
        """What it says to somebody who reads it."""


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
