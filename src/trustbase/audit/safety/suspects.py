"""Words that training rows make suspect: they determine the label, or stand in rows that are unlike the others of their class.

Source: Tran, Li & Madry (2018), "Spectral signatures in backdoor attacks", NeurIPS, algorithm 1; Chen et al. (2018), "Detecting backdoor
attacks on deep neural networks by activation clustering", arXiv 1811.03728, section 3.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.explain.units import words
from trustbase.audit.safety.asking import Floats, Indices
from trustbase.audit.stats import proportion_bounds
from trustbase.data.pair import CELL, SEPARATOR

MOST = 120  # words that each way makes suspect, at most
OUTLYING = 0.05  # of the rows of a class, those that stand out most
SMALLER = 0.35  # share of a class up to which its smaller cluster is looked at (Chen et al., section 3)
LEAST = 3  # rows in which a suspect word stands
LEAST_OF_CLASS = 20
Span = tuple[int, int]  # first character, and the one after the last
_PARTS = 10  # principal directions that clusters are sought in
_STOPS = re.compile("[,.;:!?，。；：！？、…]")  # neighbours across one of these are no pair
_MARKS = re.compile(
    r"(?:(?![\x02\x0e\x0f\x1e\x1f])[^\w\s.,;:!?，。！？；：、()（）\"'“”‘’-]){1,8}"
)  # signs that are neither words nor usual marks


def terms_of(text: str) -> tuple[set[str], set[str]]:
    """Words of a text as they are written, with runs of unusual signs; and pairs of neighbouring words."""
    singles, pairs = spans_of(text)
    return {text[start:end] for start, end in singles}, {text[start:end] for start, end in pairs}


@lru_cache(maxsize=8192)
def spans_of(text: str) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Where these words and signs, and these pairs, begin and end in the text."""
    singles: list[Span] = []
    pairs: list[Span] = []
    for part in re.finditer(f"[^{CELL}{SEPARATOR}]+", text):
        at, side = part.start(), part[0]
        spans = [(at + span[0], at + span[1]) for span in words(side).spans if span is not None]
        singles += [*spans, *((at + match.start(), at + match.end()) for match in _MARKS.finditer(side))]
        pairs += [(one[0], other[1]) for one, other in pairwise(spans) if not _STOPS.search(side[one[1] - at : other[0] - at])]
    return tuple(singles), tuple(pairs)


@dataclass(frozen=True, eq=False)
class Held:
    """Which terms stand in which rows.

    Attributes:
        terms: those of at least `LEAST` rows, in order.
        matrix: `(rows, terms)`, sparse, 1 where a term stands.
    """

    terms: tuple[str, ...]
    matrix: Any

    @classmethod
    def of(cls, sets: Sequence[set[str]]) -> Held:
        from scipy.sparse import csr_matrix

        counts = Counter(term for each in sets for term in each)
        terms = tuple(sorted(term for term, count in counts.items() if count >= LEAST))
        place = {term: index for index, term in enumerate(terms)}
        rows = [(row, place[term]) for row, each in enumerate(sets) for term in each if term in place]
        index = np.array(rows, dtype=np.int64).reshape(-1, 2)
        return cls(terms, csr_matrix((np.ones(len(index)), (index[:, 0], index[:, 1])), shape=(len(sets), len(terms))))

    def counts(self, rows: NDArray[np.bool_]) -> Floats:
        """Rows of some in which each term stands, `(terms,)`."""
        return np.asarray(self.matrix.T @ rows.astype(np.float64))

    def first(self, worth: Floats, most: int) -> list[str]:
        """The terms of the highest worth above 0."""
        order = np.argsort(-worth, kind="stable")[:most]
        return [self.terms[int(index)] for index in order if worth[index] > 0]


def deciding(held: Held, given: Indices) -> list[str]:
    """Terms whose presence almost determines the label: by the lower bound of that label's share among rows that hold them."""
    rows = np.asarray(held.matrix.sum(0)).ravel()
    best, surprise = np.zeros(len(held.terms)), np.zeros(len(held.terms))
    for label in np.unique(given):
        own, base = held.counts(given == label), float((given == label).mean())
        low, _ = proportion_bounds(own, rows, 1.96)
        best = np.maximum(best, (low - base) / max(1 - base, 1e-9))
        surprise = np.maximum(surprise, (own - rows * base) / np.sqrt(np.maximum(rows * base * (1 - base), 1e-9)))
    return list(dict.fromkeys([*held.first(best, MOST // 2), *held.first(surprise, MOST // 2)]))


def _of_rows(held: Held, some: NDArray[np.bool_], rest: NDArray[np.bool_], most: int) -> list[str]:
    """Terms that stand more often in some rows than in the rest, by the difference in standard errors."""
    one, other = held.counts(some), held.counts(rest)
    both = (one + other) / max(some.sum() + rest.sum(), 1)
    error = np.sqrt(np.maximum(both * (1 - both), 1e-9) * (1 / max(some.sum(), 1) + 1 / max(rest.sum(), 1)))
    return held.first((one / max(some.sum(), 1) - other / max(rest.sum(), 1)) / error - 2, most)


def outlying(held: Held, given: Indices, vectors: Floats) -> tuple[list[str], dict[int, float]]:
    """Terms of the rows that stand out most along the first direction of their class; and how much of the spread that direction has."""
    found: list[str] = []
    spread: dict[int, float] = {}
    labels = [int(label) for label in np.unique(given) if (given == label).sum() >= LEAST_OF_CLASS]
    for label in labels:
        own = np.flatnonzero(given == label)
        centred = vectors[own] - vectors[own].mean(0)
        _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
        spread[label] = float(sizes[0] ** 2 / max((sizes**2).sum(), 1e-30))
        scores = (centred @ directions[0]) ** 2
        some = np.zeros(len(given), dtype=bool)
        some[own[np.argsort(-scores, kind="stable")[: max(5, round(OUTLYING * len(own)))]]] = True
        found += _of_rows(held, some, (given == label) & ~some, max(8, MOST // len(labels)))
    return list(dict.fromkeys(found)), spread


def clustered(held: Held, given: Indices, vectors: Floats, state: int) -> tuple[list[str], dict[int, tuple[float, float]]]:
    """Terms of the smaller of two clusters of each class; and that cluster's share with the silhouette of both."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.metrics import silhouette_score

    found: list[str] = []
    shapes: dict[int, tuple[float, float]] = {}
    labels = [int(label) for label in np.unique(given) if (given == label).sum() >= LEAST_OF_CLASS]
    for label in labels:
        own = np.flatnonzero(given == label)
        if len(np.unique(vectors[own], axis=0)) < 3:
            continue
        parts = PCA(min(_PARTS, vectors.shape[1], len(own) - 1), random_state=state).fit_transform(vectors[own])
        side = KMeans(2, n_init=4, random_state=state).fit_predict(parts)
        small = side == int(side.mean() < 0.5)
        shapes[label] = (float(small.mean()), float(silhouette_score(parts, side, sample_size=min(1000, len(own)), random_state=state)))
        some = np.zeros(len(given), dtype=bool)
        some[own[small]] = True
        if small.mean() <= SMALLER:
            found += _of_rows(held, some, (given == label) & ~some, max(8, MOST // len(labels)))
    return list(dict.fromkeys(found)), shapes
