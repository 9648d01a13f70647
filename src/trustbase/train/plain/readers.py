"""What a plain model reads, chosen on the training rows: how numbers are scaled, which names and words occur often enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustbase.data.columns import Kind
from trustbase.data.terms import are_pairs, finder, manner_of
from trustbase.errors import DataError
from trustbase.model.plain.options import MOST_CATEGORIES
from trustbase.model.plain.readers import Categories, Numbers, Reader, View, Words, read_number
from trustbase.records import Split

_LEAST_INTERVAL = 50  # rows of an interval, where there are many


@dataclass(frozen=True)
class Wanted:
    """What of the training rows may be read, and how.

    Attributes:
        view: how the model takes numbers.
        terms: most terms of each text.
        least_rows: rows that a term or a category must occur in.
        steps: intervals of a number that are given weights; 0 keeps the number as it is.
    """

    view: View
    terms: int
    least_rows: int
    steps: int = 0


def choose_readers(train: Split, columns: Mapping[str, Kind], wanted: Wanted) -> tuple[Reader, ...]:
    """A reader for each column, by what it is taken for; one for the text where no columns are named.

    Raises:
        DataError: nothing is left to read.
    """
    if not columns:
        found: list[Reader] = [_words(None, train.texts, train.labels, wanted)]
    else:
        found = [_reader(name, kind, train.table.column(name).to_pylist(), train.labels, wanted) for name, kind in columns.items()]
    if not any(reader.features(wanted.view) for reader in found):
        raise DataError(
            f"no word and no column of the training rows can be read: nothing occurs in {wanted.least_rows} rows",
            hint="give more rows, or lower base.least_rows",
        )
    return tuple(found)


def _reader(name: str, kind: Kind, values: Sequence[str | None], labels: NDArray[np.int64], wanted: Wanted) -> Reader:
    if kind == "texts":
        return _words(name, [value or "" for value in values], labels, wanted)
    if kind == "categories":
        counts = Counter(value for value in values if value)
        often = [value for value in sorted(counts) if counts[value] >= wanted.least_rows]
        return Categories(name, tuple(sorted(often, key=lambda value: -counts[value])[:MOST_CATEGORIES]))
    read = np.array([math.nan if (number := read_number(value)) is None else number for value in values], dtype=np.float64)
    given = ~np.isnan(read)
    numbers = read[given]
    cuts = _cuts(numbers, labels[given], wanted) if wanted.steps > 1 else ()
    return Numbers(name, float(np.median(numbers)), float(numbers.mean()), float(numbers.std()) or 1.0, cuts)


def _cuts(numbers: NDArray[np.float64], labels: NDArray[np.int64], wanted: Wanted) -> tuple[float, ...]:
    """Where intervals of a number end: the thresholds of a small tree of this number alone; none where no threshold tells anything.

    Source: Fayyad & Irani (1993), "Multi-interval discretization of continuous-valued attributes", IJCAI; here the number of intervals is
    bounded in place of their stopping rule.
    """
    from sklearn.tree import DecisionTreeClassifier

    least = max(wanted.least_rows, min(_LEAST_INTERVAL, len(numbers) // 10), 1)
    if len(numbers) < 2 * least:
        return ()
    tree = DecisionTreeClassifier(max_leaf_nodes=wanted.steps, min_samples_leaf=least, criterion="entropy", random_state=0)
    inner = tree.fit(numbers[:, None], labels).tree_
    return tuple(sorted(float(threshold) for threshold in inner.threshold[inner.children_left >= 0]))


def _words(column: str | None, texts: Sequence[str], labels: NDArray[np.int64], wanted: Wanted) -> Words:
    """Terms that occur often enough: for weights the most frequent, for conditions those that tell most of the labels."""
    pairs, manner = are_pairs(texts), manner_of(texts)
    longest = 2 if wanted.view == "scaled" and not pairs else 1
    find = finder(manner, longest=longest, pairs=pairs)
    found = [sorted(set(find(text))) for text in texts]
    counts = Counter(term for row in found for term in row)
    often = sorted(term for term, rows in counts.items() if rows >= wanted.least_rows and rows < len(texts))
    if len(often) > wanted.terms:
        rank = [-float(counts[term]) for term in often] if wanted.view == "scaled" else _telling(often, found, labels)
        often = sorted(often[place] for place in np.argsort(rank, kind="stable")[: wanted.terms].tolist())
    idf = tuple(float(np.log((1 + len(texts)) / (1 + counts[term])) + 1) for term in often)
    return Words(column, manner, longest, pairs, tuple(often), idf)


def _telling(terms: Sequence[str], found: Sequence[Sequence[str]], labels: NDArray[np.int64]) -> list[float]:
    """Negated chi-squared of having each term against the label."""
    from scipy import sparse
    from sklearn.feature_selection import chi2

    places = {term: place for place, term in enumerate(terms)}
    pairs = [(row, places[term]) for row, words in enumerate(found) for term in words if term in places]
    rows, columns = zip(*pairs, strict=True)
    matrix = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(found), len(terms)))
    return [-float(value) for value in np.nan_to_num(chi2(matrix, labels)[0])]
