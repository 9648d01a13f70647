"""From texts and cells to numbers, as a plain model reads them. What a reader knows was learned from the training rows alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase.data.columns import number_of
from trustbase.data.terms import Finder, Manner, finder

#: scaled: for weights. flags: for conditions that are read. raw: for trees that know missing values and categories themselves.
View = Literal["scaled", "flags", "raw"]
Triples = tuple[list[int], list[int], list[float]]  # rows, features, values; what is not named is 0
_LARGEST = float(np.finfo(np.float32).max)
MISSING, ANOTHER, FIRST = 0, 1, 2  # codes of a category: an empty cell, a name that has no code, the first name


@dataclass(frozen=True)
class Feature:
    """One number that a model reads, for people: what it says where it is above a half, and where not; or its name, of a quantity."""

    name: str
    otherwise: str = ""
    scale: float = 1.0  # what one unit of a weight stands for

    @property
    def is_flag(self) -> bool:
        return bool(self.otherwise)

    def condition(self, threshold: float, *, above: bool) -> str:
        """What holds of a row whose value is above `threshold`, or not."""
        if self.is_flag:
            return self.name if above else self.otherwise
        return f"{self.name} {'>' if above else '<='} {threshold:.6g}"


class Reader(ABC):
    """One column, or the text."""

    column: str | None  # None: the text itself

    @abstractmethod
    def features(self, view: View) -> list[Feature]:
        """What it makes of a value, in order."""

    @abstractmethod
    def triples(self, view: View, values: Sequence[str]) -> Triples:
        """The numbers of each value, with features counted from 0."""

    @property
    def is_code(self) -> bool:
        """Whether its raw number is the code of a category."""
        return False

    @abstractmethod
    def examples(self) -> list[str]:
        """Values that it knows, made from what ships with the model."""

    def to_json(self) -> dict[str, Any]:
        """As `described` reads it."""
        return {"reads": type(self).__name__.lower(), **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Numbers(Reader):
    """A quantity; an empty cell, or one that is no number, is a state of its own."""

    column: str
    fill: float  # the median
    mean: float
    scale: float  # standard deviation
    cuts: tuple[float, ...] = ()  # between intervals that weights are given to, in place of the number itself

    def features(self, view: View) -> list[Feature]:
        name, scale = _one_line(self.column), self.scale if view == "scaled" else 1.0
        value = Feature(name, scale=scale)
        if view == "scaled" and self.cuts:
            return [*self._intervals(name), Feature(f"{name} is missing", f"{name} is given")]
        return [value] if view == "raw" else [value, Feature(f"{name} is missing", f"{name} is given")]

    def triples(self, view: View, values: Sequence[str]) -> Triples:
        found = [read_number(value) for value in values]
        rows = list(range(len(found)))
        if view == "raw":
            return rows, [0] * len(rows), [math.nan if number is None else number for number in found]
        if view == "scaled" and self.cuts:
            places = [len(self.cuts) + 1 if number is None else bisect_left(self.cuts, number) for number in found]
            return rows, places, [1.0] * len(rows)
        missing = [row for row, number in enumerate(found) if number is None]
        filled = [self.fill if number is None else number for number in found]
        if view == "scaled":  # a missing one adds nothing but its own weight
            filled = [0.0 if number is None else (number - self.mean) / self.scale for number in found]
        return rows + missing, [0] * len(rows) + [1] * len(missing), filled + [1.0] * len(missing)

    def _intervals(self, name: str) -> list[Feature]:
        """One for each interval, `low < x <= high`."""
        ends = [f"{cut:.6g}" for cut in self.cuts]
        said = [f"<= {ends[0]}", *(f"over {low}, up to {high}" for low, high in pairwise(ends)), f"> {ends[-1]}"]
        return [Feature(f"{name} {each}", f"{name} not {each}") for each in said]

    def examples(self) -> list[str]:
        return ["", *(f"{self.mean + step * self.scale:.6g}" for step in (-2, -1, -0.5, 0, 0.5, 1, 2))]


@dataclass(frozen=True)
class Categories(Reader):
    """A name out of those that training rows had often enough; any other, and an empty cell, are states of their own."""

    column: str
    names: tuple[str, ...]

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.names, FIRST)}

    def features(self, view: View) -> list[Feature]:
        column, states = _one_line(self.column), ("missing", "another", *map(_one_line, self.names))
        if view == "raw":
            return [Feature(column)]
        return [Feature(f"{column} is {state}", f"{column} is not {state}") for state in states]

    def triples(self, view: View, values: Sequence[str]) -> Triples:
        codes = [self._codes.get(value, ANOTHER) if value else MISSING for value in values]
        rows = list(range(len(codes)))
        return (rows, [0] * len(rows), [float(code) for code in codes]) if view == "raw" else (rows, codes, [1.0] * len(rows))

    @property
    def is_code(self) -> bool:
        return True

    def examples(self) -> list[str]:
        return ["", "another name", *self.names]


@dataclass(frozen=True)
class Words(Reader):
    """Terms of a text: their tf-idf, each text's row of length 1 (scaled), or whether it has them.

    Source: tf-idf as scikit-learn's TfidfVectorizer with sublinear_tf; Salton & Buckley (1988), "Term-weighting approaches".
    """

    column: str | None
    manner: Manner
    longest: int
    pairs: bool
    terms: tuple[str, ...]
    idf: tuple[float, ...]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.terms)}

    @cached_property
    def _find(self) -> Finder:
        return finder(self.manner, longest=self.longest, pairs=self.pairs)

    def features(self, view: View) -> list[Feature]:
        if self.pairs:
            return [_feature_of_pair(*term.split(" ", 1)) for term in self.terms]
        where = _one_line(self.column or "text")
        return [Feature(f"{where} has '{term}'", f"{where} lacks '{term}'") for term in self.terms]

    def triples(self, view: View, values: Sequence[str]) -> Triples:
        rows: list[int] = []
        places: list[int] = []
        numbers: list[float] = []
        for row, value in enumerate(values):
            found = Counter(self._places[term] for term in self._find(value) if term in self._places)
            order = sorted(found)
            weights = [(1 + math.log(found[place])) * self.idf[place] for place in order] if view == "scaled" else [1.0] * len(order)
            length = math.sqrt(math.fsum(weight * weight for weight in weights)) if view == "scaled" else 1.0
            rows += [row] * len(order)
            places += order
            numbers += [weight / length for weight in weights]
        return rows, places, numbers

    def examples(self) -> list[str]:
        terms = [term for term in self.terms if " " not in term] if not self.pairs else [term.partition(" ")[2] for term in self.terms]
        sign = "" if self.manner == "characters" else " "
        return [sign.join(terms[start : start + 4]) for start in range(0, len(terms), 4)][:100] or ["text"]


def _feature_of_pair(place: str, word: str) -> Feature:
    """A term of a pair as `data.terms` marks it: by the side it stands on, both, or how many tenths of all words are in both."""
    if place == "shared":
        return Feature(f"{word} tenths of the words are in both texts", f"other than {word} tenths of the words are in both texts")
    if place == "both":
        return Feature(f"both texts have '{word}'", f"not both texts have '{word}'")
    side = ("first", "second")[int(place)]
    return Feature(f"{side} text has '{word}'", f"{side} text lacks '{word}'")


def read_number(value: str | None) -> float | None:
    """A number as far as float32 reaches, in which trees compare; None where the cell is none."""
    number = number_of(value)
    return None if number is None else max(-_LARGEST, min(_LARGEST, number))


def _one_line(text: str) -> str:
    """Somebody's own words where a line says one thing."""
    return " ".join(text.split())


def all_features(readers: Sequence[Reader], view: View) -> list[Feature]:
    """What a row becomes, in the order of the matrix's columns."""
    return [feature for reader in readers for feature in reader.features(view)]


def read_all(readers: Sequence[Reader], view: View, texts: Sequence[str], cells: Mapping[str, Sequence[str]]) -> sparse.csr_matrix:
    """The numbers of all rows, float64 `(rows, features)`; NaN and 0 of a number are stored, absent words are not."""
    rows: list[int] = []
    places: list[int] = []
    numbers: list[float] = []
    width = 0
    for reader in readers:
        found = reader.triples(view, texts if reader.column is None else cells[reader.column])
        rows += found[0]
        places += [width + place for place in found[1]]
        numbers += found[2]
        width += len(reader.features(view))
    return sparse.csr_matrix((np.array(numbers, np.float64), (rows, places)), shape=(len(texts), width))


def dense(matrix: sparse.csr_matrix) -> NDArray[np.float64]:
    """The same with every number written out, `(rows, features)`."""
    return np.asarray(matrix.toarray(), dtype=np.float64)
